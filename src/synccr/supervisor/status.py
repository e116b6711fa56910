"""The contract's ``status --json``, made from what the supervisor knows."""

from __future__ import annotations

from typing import Any

from synccr.journal import stamp, utc_now
from synccr.policy.machine import Phase, State
from synccr.report import ModelRef, Report, Status
from synccr.supervisor.fleet import Fleet
from synccr.supervisor.loop import Loop

_STATES = {
    Phase.STARTING: "starting",
    Phase.SERVING: "running",
    Phase.EXHAUSTED: "degraded",
    Phase.SWAPPING: "swapping",
    Phase.RESTARTING: "degraded",
    Phase.STOPPING: "stopped",
}


def starting(endpoint: str, version: str, supervisor: dict[str, Any]) -> dict[str, Any]:
    """While there is nothing to say yet."""
    return {
        "state": "starting",
        "profile": "primary",
        "endpoint": endpoint,
        "supervisor": supervisor,
        "ccr": {"version": version, "pid": None, "port": None, "started_at": None, "restarts": 0},
        "routes": {},
        "models": [],
        "swaps": 0,
        "last_swap": None,
    }


def serving(
    endpoint: str,
    version: str,
    supervisor: dict[str, Any],
    loop: Loop,
    fleet: Fleet,
    edges: dict[str, Any],
) -> dict[str, Any]:
    """From the first backend on."""
    state, backend, stats = loop.state, fleet.current, fleet.relay.stats
    return {
        "state": state_word(state),
        "profile": state.current.profile.role,
        "endpoint": endpoint,
        "supervisor": supervisor,
        "ccr": {
            "version": version,
            "pid": backend.pid if backend else None,
            "port": backend.port if backend else None,
            "started_at": stamp(backend.started_at) if backend else None,
            "restarts": fleet.restarts,
        },
        "routes": {name: str(ref) for name, ref in state.current.routes.items()},
        "models": model_rows(state),
        "swaps": loop.swaps,
        "last_swap": loop.last_swap,
        "why": state.why,
        "pinned": state.pinned,
        "preferred": {name: str(ref) for name, ref in state.primary.routes.items()},
        **edges,
        "relay": {
            "requests": stats.requests,
            "carried": stats.carried,
            "not_carried": stats.not_carried,
            "held": stats.held,
            "cut": stats.cut,
            "refused": stats.refused,
        },
    }


def state_word(state: State) -> str:
    """One of the contract's words."""
    word = _STATES[state.phase]
    return "degraded" if word == "running" and state.degraded else word


def model_rows(state: State) -> list[dict[str, Any]]:
    """Every configured model and its state."""
    return [_row(state, ref) for ref in state.models]


def _row(state: State, ref: ModelRef) -> dict[str, Any]:
    health = state.health.get(ref)
    report = health.report if health else _unknown(ref)
    return {
        "provider": ref.provider,
        "model": ref.model,
        "status": report.status.value,
        "http_status": report.http_status,
        "latency_ms": report.latency_ms,
        "checked_at": stamp(report.checked_at),
        "detail": report.detail,
        "retry_at": stamp(report.retry_at) if report.retry_at else None,
    }


def _unknown(ref: ModelRef) -> Report:
    return Report(
        provider=ref.provider,
        model=ref.model,
        status=Status.UNVERIFIED,
        checked_at=utc_now(),
        detail="not checked yet",
    )
