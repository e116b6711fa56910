"""``status --json``: what the contract names, from the policy's state."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import policy_kit as kit
import pytest

from synccr.config.profile import SCENARIOS
from synccr.models.report import ModelRef, Status
from synccr.policy import events as e
from synccr.policy.model_health import CONFIRMATIONS, Health, gone, probed
from synccr.policy.state import PolicyState
from synccr.settings import Settings
from synccr.supervisor.status import breakers, model_rows, plan_rows

MAIN, SPARE = ModelRef("a", "main"), ModelRef("a", "spare")
START = 1000.0


def at(mono: float) -> e.Now:
    return e.Now(mono, kit.DAWN + timedelta(seconds=mono))


@pytest.fixture
def state() -> PolicyState:
    """The main model has been away for five minutes."""
    found = kit.started(Settings(), *kit.profiles(), mono=START)
    health = gone(None, kit.report(MAIN, Status.BILLING, kit.DAWN), at(START), found.settings)
    return replace(found, health={**found.health, MAIN: health})


def test_times_of_a_model_that_is_away(state: PolicyState) -> None:
    """On the wall clock of the moment that asks, also when that clock was set meanwhile."""
    later = e.Now(START + 60.0, kit.DAWN + timedelta(hours=5))
    rows = {f"{row['provider']},{row['model']}": row for row in model_rows(state, later, {})}
    assert rows["a,main"]["away_since"] == "2026-01-01T04:59:00.000Z"
    assert rows["a,main"]["next_probe_at"] == "2026-01-01T05:04:00.000Z"
    assert (rows["a,spare"]["away_since"], rows["a,spare"]["next_probe_at"]) == (None, None)


def test_time_to_the_first_byte(state: PolicyState) -> None:
    """Of traffic, where there was any."""
    rows = model_rows(state, at(START), {"a,spare": 120})
    found = {row["model"]: row["ttft_ms"] for row in rows}
    assert (found["spare"], found["main"]) == (120, None)


def test_breakers(state: PolicyState) -> None:
    """Every configured model has one; a good probe half opens it, the next ones close it."""
    found = breakers(state)
    assert list(found) == [str(ref) for ref in state.models]
    assert (found["a,main"], found["a,spare"]) == ("open", "closed")
    health: Health | None = state.health[MAIN]
    words = []
    for number in range(CONFIRMATIONS):
        now = at(START + 300 * (number + 1))
        health = probed(health, kit.report(MAIN, Status.OK, now.wall), now, state.settings)
        words.append(breakers(replace(state, health={MAIN: health}))["a,main"])
    assert words == ["half_open", "closed"]


def test_the_plan(state: PolicyState) -> None:
    """Each scenario has its candidates, best first, and says which of them is left alone."""
    resting = replace(Health(kit.report(SPARE, Status.OK, kit.DAWN)), rest_until=START + 15)
    resting = replace(resting, rest=kit.report(SPARE, Status.OVERLOADED, kit.DAWN))
    rows = plan_rows(replace(state, health={**state.health, SPARE: resting}), at(START))
    assert set(rows) == set(SCENARIOS)
    found = {row["model"]: row for row in rows["default"]}
    assert found["a,main"]["breaker"] == "open"
    assert found["a,main"]["reason"] == "is away: billing"
    assert (found["a,spare"]["breaker"], found["a,spare"]["rests"]) == ("closed", True)
    assert rows["default"][-1] == found["a,main"]
    assert found["a,main"]["rests"] is False
