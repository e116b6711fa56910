"""How long an allowance lasts at the recent pace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.models import quota_forecast as pace
from synccr.models.quota_forecast import Sample
from synccr.models.report import FIVE_HOURS, RATE, Quota

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
T = NOW.timestamp()
times = st.floats(T - 1e6, T + 1e6)
amounts = st.floats(0, 1e9)


def gathered(*pairs: tuple[float, float]) -> tuple[Sample, ...]:
    samples: tuple[Sample, ...] = ()
    for at, used in pairs:
        samples = pace.add(samples, Sample(at, used))
    return samples


def quota(
    used: float | None, *, limit: float | None = 135.0, hours: float | None = 3, window: str = ""
) -> Quota:
    renews = None if hours is None else NOW + timedelta(hours=hours)
    return Quota(provider="acme", limit=limit, used=used, renews_at=renews, window=window)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=300))
def test_samples_stay_few_rising_and_in_order(pairs: list[tuple[float, float]]) -> None:
    """Whatever is added: a bounded number, times strictly rising, never a fall in use."""
    samples = gathered(*pairs)
    assert len(samples) <= pace.MOST
    for one, other in pairwise(samples):
        assert one.at < other.at
        assert one.used <= other.used


@given(st.lists(st.tuples(times, amounts), max_size=30), amounts)
def test_exhaustion_is_never_in_the_past(pairs: list[tuple[float, float]], limit: float) -> None:
    """An end that is named is at or after the latest sample."""
    samples = gathered(*pairs)
    end = pace.exhaustion(samples, limit)
    assert end is None or end >= samples[-1].at


@given(st.floats(0.01, 100), st.floats(1, 2000), st.floats(1, 1e5))
def test_a_steady_pace_ends_when_arithmetic_says(rate: float, step: float, left: float) -> None:
    """Use that rises evenly reaches the limit after what is left divided by the pace."""
    samples = gathered(*((T + n * step, n * step * rate) for n in range(4)))
    limit = samples[-1].used + left
    end = pace.exhaustion(samples, limit)
    if left / rate < 399 * 86400:
        assert end is not None
        assert end - samples[-1].at == pytest.approx(left / rate, rel=1e-3, abs=1e-2)


@given(amounts, amounts, st.floats(1, 3000))
def test_the_quicker_the_sooner(one: float, other: float, span: float) -> None:
    """Of two that stand at the same use, the one that rose more ends no later."""
    slow, quick = sorted((one, other))
    limit = quick * 2 + 1
    ends = [
        pace.exhaustion((Sample(T, quick - rise), Sample(T + span, quick)), limit)
        for rise in (slow, quick)
    ]
    if ends[0] is not None:
        assert ends[1] is not None
        assert ends[1] <= ends[0]


def test_a_renewal_starts_the_pace_anew() -> None:
    """What was used before the allowance renewed says nothing about after."""
    samples = gathered((T, 100), (T + 60, 130), (T + 120, 2))
    assert samples == (Sample(T + 120, 2),)
    assert pace.exhaustion(samples, 135) is None


def test_what_is_long_ago_is_no_recent_pace() -> None:
    """A burst of two hours ago does not count."""
    samples = gathered((T, 0), (T + 60, 100), (T + 7200, 100), (T + 7260, 100))
    assert pace.exhaustion(samples, 135) is None


@pytest.mark.parametrize(
    ("row", "samples", "expected"),
    [
        (quota(10), gathered((T, 0), (T + 60, 10)), False),  # a busy first minute
        (quota(80), gathered((T, 70), (T + 600, 80)), True),  # 55 left at 60 an hour
        (quota(80, hours=0.5), gathered((T, 70), (T + 600, 80)), False),  # renews before
        (quota(80), gathered((T, 80), (T + 600, 80)), False),  # nobody uses it
        (quota(125), (), True),  # nearly spent
        (quota(130, hours=0.1), (), False),  # in six minutes it renews
        (quota(130, hours=0.1, window=FIVE_HOURS), (), True),  # only the next bit renews
        (quota(135, window=RATE + "requests"), (), False),  # lasts a minute
        (quota(None), (), False),
        (quota(5, limit=None), (), False),
        (quota(5, limit=0.0), (), False),
        (quota(130, hours=None), (), True),
    ],
)
def test_who_is_warned(row: Quota, samples: tuple[Sample, ...], expected: bool) -> None:
    """Nearly spent, or half spent and running out before it renews."""
    assert pace.warns(row, samples, NOW) is expected


@given(amounts, st.one_of(st.none(), amounts), st.lists(st.tuples(times, amounts), max_size=9))
def test_nothing_breaks(used: float, limit: float | None, pairs: list[tuple[float, float]]) -> None:
    """Any numbers give an answer; an end lies before the renewal."""
    row = quota(used, limit=limit)
    samples = gathered(*pairs)
    pace.warns(row, samples, NOW)
    end = pace.runs_out_at(row, samples)
    assert end is None or row.renews_at is None or end < row.renews_at
