"""One model: it does what ``MODEL_TRANSITIONS`` says, all of it and nothing else."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_kit import report

from synccr.judge.outcome import Trouble
from synccr.models.report import FATAL, TRANSIENT, ModelRef, Status
from synccr.policy import model_health as h
from synccr.policy import model_traffic
from synccr.policy.availability import MODEL_TRANSITIONS, Availability, Fact
from synccr.policy.events import Now
from synccr.policy.model_health import Health
from synccr.settings import Settings

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
REF = ModelRef("a", "main")
SETTINGS = Settings()

statuses = {
    Fact.PASSING_TROUBLE: st.sampled_from(sorted(TRANSIENT)),
    Fact.FATAL_STATUS: st.sampled_from(sorted(FATAL)),
    Fact.PROBE_PASSED: st.sampled_from([Status.OK, Status.UNVERIFIED]),
    Fact.PROBE_FAILED: st.sampled_from(sorted(TRANSIENT | FATAL)),
    Fact.REQUEST_SERVED: st.just(Status.OK),
    Fact.REQUEST_FAILED: st.sampled_from(sorted(TRANSIENT)),
}
facts = st.sampled_from(Fact).flatmap(
    lambda fact: st.tuples(
        st.just(fact),
        statuses[fact],
        st.sampled_from([0.0, 1.0, 70.0, 400.0, 4000.0]),  # seconds that pass before
        st.none() | st.sampled_from([-60.0, 1.0, 90.0, 1e5]),  # when the provider says it serves
        st.sampled_from([1, h.CONFIRMATIONS]),
    )
)
Told = tuple[Fact, Status, float, float | None, int]


def learn(health: Health | None, told: Told, mono: float) -> Health:
    """What is known after one more fact."""
    fact, status, _, wait, confirmations = told
    now = Now(mono, DAWN + timedelta(seconds=mono))
    retry_at = None if wait is None else now.wall + timedelta(seconds=wait)
    found = report(REF, status, now.wall, retry_at=retry_at, from_traffic=fact in TRAFFIC)
    if fact is Fact.REQUEST_SERVED:
        return model_traffic.request_served(health or Health(found), "s", now, SETTINGS)
    if fact is Fact.REQUEST_FAILED:
        return model_traffic.request_failed(
            health, found, Trouble.STATUS, next(TURNS), now, SETTINGS, counts=True
        )
    if fact in TRAFFIC:
        return h.seen_failing(health, found, now, SETTINGS)
    return h.probed(health, found, now, SETTINGS, confirmations, traffic=True)


TURNS = count(1)
TRAFFIC = (Fact.PASSING_TROUBLE, Fact.FATAL_STATUS)


def lives(history: list[Told]) -> list[tuple[Availability, Fact, Availability]]:
    """Each step of one model's life."""
    health: Health | None = None
    mono, steps = 0.0, []
    for told in history:
        mono += told[2]
        before = health.availability if health else Availability.AVAILABLE
        health = learn(health, told, mono)
        steps.append((before, told[0], health.availability))
    return steps


@settings(max_examples=50)
@given(st.lists(facts, max_size=12))
def test_a_life_goes_only_where_the_table_says(history: list[Told]) -> None:
    """Whatever is learned in whatever order."""
    for before, fact, after in lives(history):
        assert after in MODEL_TRANSITIONS[before, fact]


def test_the_table_promises_nothing_that_does_not_happen() -> None:
    """Every entry is reached, from four short lives."""
    reached = defaultdict(set)
    failed: Told = (Fact.REQUEST_FAILED, Status.OVERLOADED, 1.0, None, 2)
    served: Told = (Fact.REQUEST_SERVED, Status.OK, 1.0, None, 2)
    here: list[Told] = []
    away: list[Told] = [(Fact.FATAL_STATUS, Status.BILLING, 1.0, None, 2)]
    returning: list[Told] = [*away, (Fact.PROBE_PASSED, Status.OK, 400.0, None, 2)]
    passing: list[Told] = [(Fact.PROBE_FAILED, Status.OVERLOADED, 1.0, None, 2)]
    failing: list[Told] = [failed] * 5
    to_be_tried: list[Told] = [*failing, (Fact.PROBE_PASSED, Status.OK, 400.0, None, 2)]
    tried: list[Told] = [*to_be_tried, *[served] * 4]
    firsts = (here, away, returning, passing, failing[1:], failing, to_be_tried, tried)
    for first in firsts:
        for last in (
            (Fact.PASSING_TROUBLE, Status.RATE_LIMITED, 1.0, None, 2),
            (Fact.FATAL_STATUS, Status.BILLING, 1.0, None, 2),
            (Fact.PROBE_PASSED, Status.OK, 1.0, None, 2),
            (Fact.PROBE_PASSED, Status.OK, 1.0, None, 1),
            (Fact.PROBE_FAILED, Status.BILLING, 1.0, None, 2),
            failed,
            served,
        ):
            before, fact, after = lives([*first, last])[-1]
            reached[before, fact].add(after)
    persists = lives([(Fact.PASSING_TROUBLE, Status.RATE_LIMITED, 1.0, None, 2)] * 5)[-1]
    reached[persists[:2]].add(persists[2])
    assert {key: frozenset(value) for key, value in reached.items()} == MODEL_TRANSITIONS


@settings(max_examples=50)
@given(st.lists(facts, min_size=1, max_size=12))
def test_who_is_away_is_always_asked_again(history: list[Told]) -> None:
    """Within the longest interval, or a day when the provider itself said so."""
    health: Health | None = None
    mono = 0.0
    for told in history:
        mono += told[2]
        health = learn(health, told, mono)
        if health.unavailable:
            assert health.probe_at is not None
            assert health.probe_at <= mono + 86_400.0
        else:
            assert health.probe_at is None


@pytest.mark.parametrize(
    ("status", "wait", "pauses"),
    [
        (Status.BILLING, None, [300, 600, 1200, 2400, 3600, 3600]),
        (Status.RATE_LIMITED, 20.0, [300, 600, 1200]),
        (Status.RATE_LIMITED, 7200.0, [7202, 7202]),
        (Status.RATE_LIMITED, 9e6, [86_400]),
        (Status.QUOTA, 1000.0, [1002, 1002]),
        (Status.QUOTA, 90_000.0, [3600, 3600]),
        (Status.QUOTA, 5.0, [7, 300, 300]),  # a renewal that is always a moment ahead
        (Status.QUOTA, -5.0, [2, 600, 1200]),  # one that has passed
    ],
)
def test_pauses(status: Status, wait: float | None, pauses: list[float]) -> None:
    """Seconds from a failed probe to the next one, when each probe finds the same."""
    health: Health | None = None
    mono = 0.0
    for pause in pauses:
        health = learn(health, (Fact.PROBE_FAILED, status, 0.0, wait, 2), mono)
        assert health.probe_at is not None
        assert health.probe_at == pytest.approx(mono + pause)
        mono = health.probe_at
