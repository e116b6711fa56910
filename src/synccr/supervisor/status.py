"""The contract's ``status --json``, made from what the supervisor knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from synccr.clock import now, utc_now
from synccr.journal import stamp
from synccr.models.report import ModelRef, Report, Status
from synccr.policy.breaker import breaker_of, rests
from synccr.policy.events import Now
from synccr.policy.machine import Phase, PolicyState
from synccr.policy.model_health import Health
from synccr.supervisor.backend_lifecycle import Backends
from synccr.supervisor.swaps import SwapLog

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
        "ccr": {
            "version": version,
            "pid": None,
            "port": None,
            "started_at": None,
            "restarts": 0,
            "judged": None,
        },
        "routes": {},
        "models": [],
        "breakers": {},
        "plan": {},
        "swaps": 0,
        "last_swap": None,
    }


def serving(
    start: dict[str, Any],
    state: PolicyState,
    swaps: SwapLog,
    backends: Backends,
    more: dict[str, Any],
    first_bytes: Mapping[str, int],
) -> dict[str, Any]:
    """From the first backend on.

    Args:
        start: what `starting` says.
        more: what is told besides, as it is to stand there.
        first_bytes: milliseconds to the first byte of traffic, by ``provider,model``.
    """
    backend, stats, at = backends.current, backends.proxy.stats, now()
    return start | {
        "state": state_word(state),
        "profile": state.current.profile.role,
        "ccr": start["ccr"]
        | {
            "pid": backend.pid if backend else None,
            "port": backend.port if backend else None,
            "started_at": stamp(backend.started_at) if backend else None,
            "restarts": backends.restarts,
            "judged": backend.led if backend else None,
        },
        "routes": {name: str(ref) for name, ref in state.current.routes.items()},
        "models": model_rows(state, at, first_bytes),
        "breakers": breakers(state),
        "plan": plan_rows(state, at),
        "swaps": swaps.count,
        "last_swap": swaps.last,
        "why": state.why,
        "pinned": state.pinned,
        "preferred": {name: str(ref) for name, ref in state.primary.routes.items()},
        **more,
        "relay": {
            "requests": stats.requests,
            "carried": stats.carried,
            "not_carried": stats.not_carried,
            "held": stats.held,
            "cut": stats.cut,
            "refused": stats.refused,
        },
    }


def state_word(state: PolicyState) -> str:
    """One of the contract's words."""
    word = _STATES[state.phase]
    return "degraded" if word == "running" and state.degraded else word


def model_rows(state: PolicyState, at: Now, first_bytes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every configured model and its state.

    Args:
        at: the present, on both clocks.
        first_bytes: milliseconds to the first byte of traffic, by ``provider,model``.
    """
    rows = []
    for ref in state.models:
        health = state.health.get(ref)
        times = _times(health, at) | {"ttft_ms": first_bytes.get(str(ref))}
        rows.append(_row(health.report if health else _unknown(ref)) | times)
    return rows


def breakers(state: PolicyState) -> dict[str, str]:
    """The circuit breaker of every configured model: its health in the field's words."""
    return {str(ref): breaker_of(state, ref).value for ref in state.models}


def plan_rows(state: PolicyState, at: Now) -> dict[str, list[dict[str, Any]]]:
    """For each of CCR's scenarios its candidates, best first.

    Args:
        at: the present: a model that has just failed a request rests for a moment.
    """
    return {
        name: [
            {
                "model": str(one.ref),
                "reason": one.reason,
                "breaker": one.breaker.value,
                "rests": rests(state, one.ref, at.mono),
            }
            for one in candidates
        ]
        for name, candidates in state.route_plan.scenarios.items()
    }


def _row(report: Report) -> dict[str, Any]:
    return {
        "provider": report.provider,
        "model": report.model,
        "status": report.status.value,
        "http_status": report.http_status,
        "latency_ms": report.latency_ms,
        "checked_at": stamp(report.checked_at),
        "detail": report.detail,
        "retry_at": stamp(report.retry_at) if report.retry_at else None,
    }


def _times(health: Health | None, at: Now) -> dict[str, str | None]:
    return {
        "away_since": _stamp_of(health.unavailable_since if health else None, at),
        "next_probe_at": _stamp_of(health.probe_at if health else None, at),
    }


def _stamp_of(mono: float | None, at: Now) -> str | None:
    """A time of the clock that never goes back, on the wall clock."""
    return None if mono is None else stamp(at.wall + timedelta(seconds=mono - at.mono))


def _unknown(ref: ModelRef) -> Report:
    return Report(
        provider=ref.provider,
        model=ref.model,
        status=Status.UNVERIFIED,
        checked_at=utc_now(),
        detail="not checked yet",
    )
