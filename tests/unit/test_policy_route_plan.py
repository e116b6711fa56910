"""Where a failed request goes: the plan, the next try, the breaker, the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_kit import DAWN, profiles, report, started

from synccr.classify import Scope
from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Status
from synccr.policy.breaker import Permit, allows, trial_for
from synccr.policy.model_health import Trial
from synccr.policy.retry_budget import RetryBudget
from synccr.policy.route_plan import MAX_ANSWERS, Need, Next, RoutePlan, Tried, next_try
from synccr.policy.state import PolicyState
from synccr.settings import Settings

MAIN, SPARE, LONG, TWIN = (
    ModelRef(p, m) for p, m in (("a", "main"), ("a", "spare"), ("a", "long"), ("b", "twin"))
)
FAILED = Tried(MAIN, Trouble.STATUS, 500)
RESTING = [Tried(ref, Trouble.KNOWN, 502) for ref in (MAIN, SPARE, TWIN)]


def state(
    away: tuple[ModelRef, ...] = (), half: tuple[ModelRef, ...] = (), **more: object
) -> PolicyState:
    """All models known, some of them away or half-open; windows of 1,000 tokens, LONG's 9,000."""
    found = started(Settings(**more), *profiles())  # type: ignore[arg-type]  # settings by name
    health = dict(found.health)
    for ref, one in found.health.items():
        tokens = 9000 if ref == LONG else 1000
        gone = ref in away or ref in half
        status = Status.OVERLOADED if gone else Status.OK
        told = report(ref, status, DAWN, context_length=tokens, http_status=503 if gone else 200)
        since = 0.0 if gone else None
        health[ref] = replace(one, report=told, unavailable_since=since, confirmed=int(ref in half))
    return replace(found, health=health)


def plan(**more: object) -> RoutePlan:
    return state(**more).route_plan  # type: ignore[arg-type]


def led(found: Next) -> ModelRef | None:
    return found.candidate.ref if found.candidate else None


def refs(found: RoutePlan, scenario: str) -> list[ModelRef]:
    return [one.ref for one in found.scenarios[scenario]]


def test_candidates_stand_in_the_owners_order() -> None:
    """The route, then both profiles; what is away last; the longest next for what is long."""
    assert refs(plan(), "default") == [MAIN, SPARE, TWIN, LONG]
    assert refs(plan(), "longContext") == [LONG, SPARE, MAIN, TWIN]
    assert refs(plan(away=(MAIN,)), "default") == [SPARE, TWIN, LONG, MAIN]
    reasons = [one.reason for one in plan(away=(MAIN,)).scenarios["default"]]
    assert reasons[0] == "number 2 of its owner's order"
    assert reasons[-1] == "is away: overloaded"
    assert plan().scenario_of(LONG) == "longContext"
    assert plan().scenario_of(TWIN) == "default"
    assert next(iter(plan().lines())).startswith("default: a,main (the route leads there); a,sp")


@pytest.mark.parametrize(
    ("tries", "need", "expected"),
    [
        ([FAILED], Need(), SPARE),
        ([FAILED, replace(FAILED, ref=SPARE)], Need(), TWIN),
        ([FAILED, replace(FAILED, ref=SPARE), replace(FAILED, ref=TWIN)], Need(), None),
        ([Tried(MAIN, Trouble.UNREACHABLE, 502)], Need(), TWIN),
        ([replace(FAILED, scope=Scope.KEY)], Need(), TWIN),
        ([FAILED, replace(FAILED, ref=LONG)], Need(), TWIN),
        ([Tried(MAIN, Trouble.KNOWN, 402), *[Tried(SPARE, Trouble.TRIAL, 502)] * 2], Need(), TWIN),
        ([Tried(MAIN, Trouble.KNOWN, 402)] * MAX_ANSWERS, Need(), None),
        ([Tried(MAIN, Trouble.STATUS, 422)], Need(), SPARE),
        ([Tried(m, Trouble.STATUS, 400) for m in (MAIN, SPARE)], Need(), None),
        ([Tried(MAIN, Trouble.STATUS, 413)], Need(), LONG),
        ([Tried(MAIN, Trouble.STATUS, 400, Scope.REQUEST, too_long=True)], Need(), LONG),
        ([Tried(MAIN, Trouble.STATUS, 413)], Need(tokens=10_000), None),
        ([Tried(LONG, Trouble.STATUS, 413), Tried(MAIN, Trouble.STATUS, 500)], Need(), None),
        ([FAILED], Need(tokens=5000), LONG),
        ([*RESTING, replace(FAILED, ref=LONG)], Need(), MAIN),
        ([*RESTING, replace(FAILED, ref=LONG), RESTING[0]], Need(), SPARE),
        ([*RESTING, replace(FAILED, ref=LONG), *RESTING], Need(), None),
        ([Tried(MAIN, Trouble.EMPTY, 502)], Need(), SPARE),
        ([Tried(m, Trouble.EMPTY, 502) for m in (MAIN, SPARE)], Need(), None),
    ],
)
def test_next_try(tries: list[Tried], need: Need, expected: ModelRef | None) -> None:
    """Each row of the rules."""
    assert led(next_try(plan(), MAIN, tries, need)) == expected


def test_too_long_counts_only_where_it_was_said() -> None:
    """One that holds more than the model that found it too long is asked, though a larger one
    failed for another reason; what was never sent found nothing."""
    found = state()
    spare = found.health[SPARE]
    larger = replace(spare, report=report(SPARE, Status.OK, DAWN, context_length=5000))
    found = replace(found, health={**found.health, SPARE: larger})
    too_long = Tried(MAIN, Trouble.STATUS, 413)
    tries = [replace(FAILED, ref=LONG), too_long]
    assert led(next_try(found.route_plan, MAIN, tries, Need())) == SPARE
    tries = [Tried(LONG, Trouble.KNOWN, 413), too_long]
    assert led(next_try(found.route_plan, MAIN, tries, Need())) == SPARE


def test_a_model_without_tools_gets_no_request_with_tools() -> None:
    """Nor does one below the floor, nor one whose breaker is open."""
    found = state()
    spare = found.health[SPARE]
    no_tools = replace(spare, report=report(SPARE, Status.OK, DAWN, tools=False))
    found = replace(found, health={**found.health, SPARE: no_tools})
    assert led(next_try(found.route_plan, MAIN, [FAILED], Need(tools=True))) == TWIN
    assert led(next_try(plan(on_trouble_floor="a,spare"), MAIN, [FAILED], Need())) == SPARE
    assert led(next_try(plan(on_trouble_floor="a,main"), MAIN, [FAILED], Need())) is None
    assert led(next_try(plan(away=(SPARE,)), MAIN, [FAILED], Need())) == TWIN
    everything = (MAIN, SPARE, TWIN, LONG)
    assert led(next_try(plan(away=everything), MAIN, [FAILED], Need())) == SPARE


def test_a_person_can_say_no() -> None:
    """Stop: nobody else. Wait: the same one, when it said or after a growing pause. A model that
    was named has its own word."""
    assert led(next_try(plan(on_trouble="stop"), MAIN, [FAILED], Need())) is None
    waits = plan(on_trouble={"default": "wait", "named": "stop"})
    once, twice = (next_try(waits, MAIN, [FAILED] * n, Need()) for n in (1, 2))
    assert (led(once), once.after, twice.after) == (MAIN, 2.0, 4.0)
    told = next_try(waits, MAIN, [replace(FAILED, retry_after=7.0)], Need())
    assert (led(told), told.after) == (MAIN, 7.0)
    assert led(next_try(waits, MAIN, [replace(FAILED, retry_after=3600.0)], Need())) is None
    assert led(next_try(waits, MAIN, [replace(FAILED, http_status=400)], Need())) is None
    assert led(next_try(waits, MAIN, [FAILED], Need(), named=True)) is None
    assert led(next_try(waits, LONG, [replace(FAILED, ref=LONG)], Need())) == SPARE


models = st.sampled_from([MAIN, SPARE, LONG, TWIN])
tried = st.builds(
    Tried,
    models,
    st.sampled_from(Trouble),
    st.sampled_from([400, 402, 413, 500, 502]),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(tried, min_size=1, max_size=9), st.frozensets(models), st.integers(0, 9000))
def test_a_plan_repeats_no_failed_model(
    tries: list[Tried], away: frozenset[ModelRef], tokens: int
) -> None:
    """And leads to no open breaker while there is a closed one; a turn is bounded."""
    found = next_try(plan(away=tuple(away)), tries[0].ref, tries, Need(tokens=tokens))
    if found.candidate:
        assert found.candidate.ref not in {one.ref for one in tries if one.sent}
        assert found.candidate.ref not in away or len(away) == 4
        assert sum(one.sent for one in tries) < 3
    assert found.reason


def test_the_breaker() -> None:
    """Closed: asked. Open: the last verdict. Half-open: one session. None closed: all the same."""
    assert allows(state(), MAIN, session="s", now=0.0) == Permit(allowed=True)
    known = allows(state(away=(MAIN,)), MAIN, session="s", now=0.0)
    assert (known.allowed, known.refused, known.http_status) == (False, Trouble.KNOWN, 503)
    half = state(half=(MAIN,))
    first = allows(half, MAIN, session="s", now=0.0)
    assert (first.allowed, first.trial) == (True, True)
    trial = replace(half.health[MAIN], trial=Trial("s", 0.0))
    half = replace(half, health={**half.health, MAIN: trial})
    assert allows(half, MAIN, session="s", now=1.0) == Permit(allowed=True)
    other = allows(half, MAIN, session="t", now=1.0)
    assert (other.allowed, other.refused) == (False, Trouble.TRIAL)
    assert allows(half, MAIN, session="t", now=500.0).trial
    everything = (MAIN, SPARE, TWIN, LONG)
    assert allows(state(away=everything), MAIN, session="s", now=0.0) == Permit(allowed=True)
    gone = state(away=everything).health
    crowd = replace(
        state(away=everything[1:]),
        health={**half.health, **{ref: gone[ref] for ref in everything[1:]}},
    )
    assert allows(crowd, MAIN, session="t", now=1.0) == Permit(allowed=True)
    assert not allows(crowd, SPARE, session="t", now=1.0).allowed


def test_a_rest_is_over_for_a_request_that_nobody_else_takes() -> None:
    """The others go elsewhere."""
    found = state()
    told = report(MAIN, Status.OVERLOADED, DAWN, http_status=503)
    rests = replace(found.health[MAIN], rest=told, rest_until=5.0)
    found = replace(found, health={**found.health, MAIN: rests})
    assert allows(found, MAIN, session="s", now=1.0).refused is Trouble.KNOWN
    assert allows(found, MAIN, session="s", now=1.0, again=True).allowed
    assert not allows(state(away=(MAIN,)), MAIN, session="s", now=1.0, again=True).allowed


def test_a_trial_leads_to_the_better_model() -> None:
    """Of one session, when the better model is half-open and the request fits into it."""
    half = state(half=(MAIN,))
    assert trial_for(half, SPARE, "s", 0.0) == MAIN
    assert trial_for(half, SPARE, "s", 0.0, Need(tokens=5000)) is None
    assert trial_for(state(), SPARE, "s", 0.0) is None
    assert trial_for(state(half=(TWIN,)), SPARE, "s", 0.0) is None
    trial = replace(half.health[MAIN], trial=Trial("t", 0.0))
    taken = replace(half, health={**half.health, MAIN: trial})
    assert trial_for(taken, SPARE, "s", 1.0) is None


def test_the_budget() -> None:
    """A minimum for bursts; then a share of what came in the last ten seconds."""
    budget = RetryBudget(0.2)
    assert sum(budget.spend(1.0) for _ in range(100)) == 50
    for n in range(1000):
        budget.request(2.0 + n / 1000)
    assert sum(budget.spend(3.0) for _ in range(1000)) == 150
    assert not budget.spend(10.9)
    assert sum(budget.spend(13.5) for _ in range(1000)) == 50
    assert budget.spend(1e6)
    assert not RetryBudget(0.0, minimum=0).spend(0.0)
