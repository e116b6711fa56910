"""Keeping requests within a budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synccr.proxy.buffer import Budget, RequestBuffer


def drain(buffer: RequestBuffer) -> bytes:
    taken = b""
    while (chunk := buffer.take()) is not None:
        taken += chunk
    return taken


def test_a_kept_request_can_be_sent_again() -> None:
    """What has been sent comes again after a rewind, and what came since with it."""
    buffer = RequestBuffer(Budget(1000), 1000)
    buffer.append(b"one")
    assert drain(buffer) == b"one"
    buffer.append(b"two")
    assert buffer.unsent
    assert drain(buffer) == b"two"
    assert not buffer.unsent
    buffer.rewind()
    assert drain(buffer) == b"onetwo"


def test_a_request_no_longer_kept_forgets_what_was_sent() -> None:
    """After the limit only unsent bytes take memory."""
    budget = Budget(1000)
    buffer = RequestBuffer(budget, 5)
    buffer.append(b"abc")
    assert not buffer.full
    assert buffer.take() == b"abc"
    buffer.append(b"def")
    assert buffer.full
    buffer.stop_keeping()
    assert buffer.size == 3
    assert drain(buffer) == b"def"
    assert budget.used == 0


def test_the_budget_is_shared() -> None:
    """A large request leaves no room for others to be kept."""
    budget = Budget(1000)
    large, small = RequestBuffer(budget, 10_000), RequestBuffer(budget, 10_000)
    large.append(b"x" * 2000)
    small.append(b"y")
    assert small.full
    large.release()
    assert not small.full


def test_many_small_chunks_count_what_they_cost() -> None:
    """A request that comes in single bytes takes more of the budget than its length."""
    budget = Budget(10_000)
    buffer = RequestBuffer(budget, 10_000)
    for _ in range(1000):
        buffer.append(b"x")
    assert budget.used > 10_000


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(["take", "stop", "rewind"])),
        max_size=60,
    )
)
def test_nothing_is_lost_or_doubled(steps: list[bytes | str]) -> None:
    """In any order of steps every byte goes out in its place, and the budget ends at zero."""
    budget = Budget(1 << 20)
    buffer = RequestBuffer(budget, 1 << 20)
    whole = sent = b""
    for step in steps:
        if isinstance(step, bytes):
            buffer.append(step)
            whole += step
        elif step == "take":
            sent += buffer.take() or b""
        elif step == "stop":
            buffer.stop_keeping()
        elif buffer.kept:
            buffer.rewind()
            sent = b""
        assert whole.startswith(sent)
    assert sent + drain(buffer) == whole
    buffer.release()
    assert budget.used == 0
