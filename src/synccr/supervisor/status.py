"""The contract's ``status --json``, made from what the supervisor knows."""

from __future__ import annotations

from typing import Any

from synccr.journal import stamp, utc_now
from synccr.policy.machine import Phase, State
from synccr.report import ModelRef, Report, Status

_STATES = {
    Phase.STARTING: "starting",
    Phase.SERVING: "running",
    Phase.EXHAUSTED: "degraded",
    Phase.SWAPPING: "swapping",
    Phase.RESTARTING: "degraded",
    Phase.STOPPING: "stopped",
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
