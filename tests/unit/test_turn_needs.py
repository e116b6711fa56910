"""What the desk makes of a request's needs, and of what providers say of their limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from policy_kit import DAWN, profiles, report, started

from synccr.clock import now
from synccr.journal import Journal
from synccr.judge.outcome import Trouble, failure
from synccr.models.report import ModelRef, Status
from synccr.policy.state import PolicyState
from synccr.proxy import Response
from synccr.settings import Settings
from synccr.supervisor.turn_desk import TurnDesk
from synccr.turns.trace import TraceLog
from synccr.turns.turn import Try

MAIN, SPARE = ModelRef("a", "main"), ModelRef("a", "spare")


def desk(tmp_path: Path, state: PolicyState) -> TurnDesk:
    found = TurnDesk(Journal(tmp_path / "j"), now, TraceLog(), b"secret")
    found.consult(lambda: state, lambda _: None)
    return found


@pytest.mark.parametrize(
    ("size", "tools", "tried"), [(4000, False, True), (4004, False, False), (4000, True, False)]
)
def test_only_a_request_that_fits_tries_a_model(
    tmp_path: Path, size: int, tools: bool, tried: bool
) -> None:
    """MAIN is half-open, takes 1,000 tokens and no tools; the route leads to SPARE."""
    state = started(Settings(), *profiles())
    told = report(MAIN, Status.OVERLOADED, DAWN, context_length=1000, tools=False, http_status=503)
    known = replace(state.health[MAIN], report=told, unavailable_since=0.0, confirmed=1)
    state = replace(state, health={**state.health, MAIN: known})
    room = desk(tmp_path, state)
    turn = room.turns.begin("s", "/v1/messages", 0.0)
    refused = room.permit(Try(SPARE, 0.0, bytes_out=size, tools=tools), turn)
    assert (refused is not None and refused.trouble is Trouble.TRIAL) is tried
    assert turn.trial == (MAIN if tried else None)


def test_retry_after_reaches_the_client(tmp_path: Path) -> None:
    """When nobody serves: the soonest of what the providers said."""
    state = started(Settings(), *profiles())
    room = desk(tmp_path, state)
    turn = room.turns.begin("s", "/v1/messages", room.clock())
    for ref, seconds in ((MAIN, "70"), (SPARE, "40"), (ModelRef("b", "twin"), "90")):
        refused = failure(Trouble.STATUS, "slow down", http_status=429, body=b"Too many requests")
        attempt = Try(ref, room.clock(), sent=True, failure=refused)
        attempt.headers = {"retry-after": seconds}
        turn.tries.append(attempt)
    answer = room.after_failure(turn, b"{}")
    assert isinstance(answer, Response)
    (name, value) = answer.headers[0]
    assert (answer.status, name) == (429, "retry-after")
    assert 38 <= int(value) <= 40
    assert turn.status == 429
