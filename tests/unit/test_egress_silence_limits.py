"""How long a model may be silent: learned, never small, never without an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synccr.egress.silence_limits import BYTES_A_SECOND, ENOUGH, FLOOR, MARGIN, SilenceLimits
from synccr.models.report import ModelRef

SLOW = ModelRef("acme", "slow")
SMALL, LARGE = 2_000, 400_000


def limits() -> SilenceLimits:
    return SilenceLimits(45.0, 180.0)


def learned(seconds: float, size: int, count: int = ENOUGH) -> SilenceLimits:
    found = limits()
    for _ in range(count):
        found.answered(SLOW, size, seconds, seconds, streamed=True)
    return found


def test_a_model_of_which_nothing_is_known() -> None:
    """Its first word may take 25 s, and longer for a large request."""
    assert 25 < limits().first(SLOW, SMALL, streamed=True) < 50
    assert limits().first(SLOW, LARGE, streamed=True) == 45 + LARGE / BYTES_A_SECOND


def test_a_quick_model_gets_the_floor() -> None:
    """Only once enough answers to requests of that size were seen."""
    found = learned(0.5, LARGE)
    assert found.first(SLOW, SMALL, streamed=True) == FLOOR + SMALL / BYTES_A_SECOND
    assert found.gap(SLOW, streamed=True) == FLOOR
    assert learned(0.5, SMALL).first(SLOW, LARGE, streamed=True) >= 45
    assert learned(0.5, LARGE, ENOUGH - 1).first(SLOW, SMALL, streamed=True) >= 45


def test_a_slow_model_gets_what_it_needs() -> None:
    """Several times the longest wait of late, up to the ceiling."""
    assert learned(20.0, SMALL).first(SLOW, SMALL, streamed=True) >= MARGIN * 20
    assert learned(170.0, SMALL).first(SLOW, SMALL, streamed=True) == 180


def test_a_probe_that_took_long_grants_as_much() -> None:
    """What the preflight waited for is no silence."""
    found = limits()
    found.probed(SLOW, 29.0)
    assert found.first(SLOW, SMALL, streamed=True) >= MARGIN * 29


def test_one_that_was_given_up_may_only_be_slow() -> None:
    """The next time it gets twice as long, until it answers."""
    found = limits()
    found.gave_up(SLOW, 45.0, streamed=True)
    assert found.first(SLOW, SMALL, streamed=True) >= 90
    found.answered(SLOW, SMALL, 1.0, 1.0, streamed=True)
    assert found.first(SLOW, SMALL, streamed=True) < 50


def test_an_answer_that_is_not_streamed_is_silent_until_it_is_whole() -> None:
    """It gets all the time there is, while its usual time is not known."""
    assert limits().first(SLOW, SMALL, streamed=False) == 180
    assert learned(0.5, LARGE).first(SLOW, SMALL, streamed=False) == 180


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 1000), st.floats(0, 1000))),
    st.integers(0, 10**7),
    st.booleans(),
)
def test_whatever_was_seen(
    samples: list[tuple[int, float, float]], size: int, streamed: bool
) -> None:
    """Never below the floor, never above the ceiling."""
    found = limits()
    for known, first, gap in samples:
        found.answered(SLOW, known, first, gap, streamed=streamed)
    assert FLOOR <= found.first(SLOW, size, streamed=streamed) <= 180
    assert FLOOR <= found.gap(SLOW, streamed=streamed) <= 180
