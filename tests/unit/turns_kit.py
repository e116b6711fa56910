"""Turns for tests."""

from __future__ import annotations

from typing import Any

from synccr.turns.trace import AttemptRow, TurnRow

MAIN, SPARE = "acme,vendor/main-480b", "acme,vendor/spare-32b"


def tried(
    target: str = MAIN, verdict: str = "ok", status: int | None = 200, **more: Any
) -> AttemptRow:
    times = {"started_ms": 0, "first_byte_ms": 120, "took_ms": 1500, **more}
    return AttemptRow(target=target, status=status, verdict=verdict, **times)


def turn(number: int, *attempts: AttemptRow, **more: Any) -> TurnRow:
    """One that the last try served, unless it is said otherwise."""
    good = attempts[-1].target if attempts and attempts[-1].verdict == "ok" else None
    usual: dict[str, Any] = {
        "at": f"2026-01-02T03:04:{number % 60:02}.000Z",
        "route": "default",
        "path": "/v1/messages",
        "stream": True,
        "status": 200,
        "served_by": good,
        "took_ms": 1600,
        "judged": True,
    }
    return TurnRow(turn=number, attempts=list(attempts), **(usual | more))


def moved(number: int, **more: Any) -> TurnRow:
    """The main model failed, the spare one served."""
    return turn(number, tried(verdict="status", status=402), tried(SPARE), **more)
