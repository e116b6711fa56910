"""Who is asked next: what a request needs, and what providers say of their limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from policy_kit import DAWN, profiles, report, started

from synccr.journal import Journal
from synccr.judge.outcome import Trouble, failure
from synccr.models.report import ModelRef, Status
from synccr.policy.state import PolicyState
from synccr.proxy import Response
from synccr.settings import Settings
from synccr.supervisor.turn_dispatcher import TurnDispatcher
from synccr.turns.attempt import Attempt
from synccr.turns.request_need import named_by_client, need_of
from synccr.turns.trace import TraceLog

MAIN, SPARE = ModelRef("a", "main"), ModelRef("a", "spare")


def dispatcher(tmp_path: Path, state: PolicyState) -> TurnDispatcher:
    found = TurnDispatcher(Journal(tmp_path / "j"), TraceLog(), b"secret")
    found.policy.consult(lambda: state, lambda _: None)
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
    found = dispatcher(tmp_path, state)
    turn = found.turns.begin("s", "/v1/messages", 0.0)
    refused = found.policy.permit(Attempt(SPARE, 0.0, bytes_out=size, tools=tools), turn)
    assert (refused is not None and refused.trouble is Trouble.TRIAL) is tried
    assert turn.trial == (MAIN if tried else None)


def test_retry_after_reaches_the_client(tmp_path: Path) -> None:
    """When nobody serves: the soonest of what the providers said."""
    state = started(Settings(), *profiles())
    found = dispatcher(tmp_path, state)
    turn = found.turns.begin("s", "/v1/messages", found.clock())
    for ref, seconds in ((MAIN, "70"), (SPARE, "40"), (ModelRef("b", "twin"), "90")):
        refused = failure(Trouble.STATUS, "slow down", http_status=429, body=b"Too many requests")
        attempt = Attempt(ref, found.clock(), sent=True, failure=refused)
        attempt.headers = {"retry-after": seconds}
        turn.attempts.append(attempt)
    answer = found.after_failure(turn, b"{}")
    assert isinstance(answer, Response)
    (name, value) = answer.headers[0]
    assert (answer.status, name) == (429, "retry-after")
    assert 38 <= int(value) <= 40
    assert turn.status == 429


def body(content: object, **more: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}], **more}).encode()


def test_the_size_of_a_request_is_that_of_its_text() -> None:
    """A screenshot is worth a few thousand tokens, not one for each four signs of its text."""
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 200_000}
    need = need_of(body([{"type": "image", "source": source}, {"type": "text", "text": "see"}]))
    assert need.tokens < 1000
    assert need_of(body("word " * 20_000)).tokens > 20_000
    assert need_of(body("A" * 40_000)).tokens > 9000


def test_tools_and_names() -> None:
    """Spelled with blanks or without them; a name is one of a provider's model."""
    assert need_of(body("x", tools=[{"name": "note"}])).tools
    assert not need_of(body("x", tools=[])).tools
    assert named_by_client(body("x", model="acme,main"))
    assert not named_by_client(body("x", model="claude-sonnet-4"))
    assert not named_by_client(b"no json")
