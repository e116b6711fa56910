"""The trace: the last turns and their sums."""

from __future__ import annotations

import pytest
from turns_kit import MAIN, SPARE, moved, tried, turn

from synccr.turns.trace import KEPT, TraceLog, TurnCounters, TurnRow


def test_the_last_turns_are_kept_and_all_are_counted() -> None:
    """Bounded; a reader that fell behind gets what there is."""
    log = TraceLog()
    for number in range(1, 3 * KEPT + 1):
        log.add(turn(number, tried()))
    assert [row.turn for row in log.rows()] == list(range(2 * KEPT + 1, 3 * KEPT + 1))
    assert log.counters.requests == 3 * KEPT


def test_a_reader_misses_no_turn_that_ends_late() -> None:
    """Turns end in another order than they began."""
    log = TraceLog()
    log.add(turn(2, tried()))
    seen = log.counters.requests
    log.add(turn(1, tried()))
    assert [row.turn for row in log.rows(seen)] == [1]
    assert log.rows(log.counters.requests) == []
    assert log.rows(99) == []


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        (turn(1, tried()), {}),
        (moved(1), {"resent": 1}),
        (turn(1, tried(verdict="silent"), tried(SPARE)), {"resent": 1, "silent": 1}),
        (turn(1, tried(verdict="cut")), {"cut": 1}),
        (turn(1, tried(verdict="cut"), tried(SPARE)), {"resent": 1}),
        (turn(1, tried(verdict="status"), status=402), {"ended_with_error": 1}),
        (turn(1, judged=False), {"not_judged": 1}),
    ],
)
def test_what_a_turn_counts_as(row: TurnRow, counted: dict[str, int]) -> None:
    """An answer that the client saw broken off is cut; one that another model served is not."""
    counters = TurnCounters()
    counters.count(row)
    assert counters == TurnCounters(requests=1, **counted)


def test_who_served_each_route_last_and_why() -> None:
    """The latest turn of a route that was served says it."""
    log = TraceLog()
    log.add(moved(1))
    log.add(turn(2, tried(SPARE), route="background"))
    log.add(turn(3, tried(verdict="status"), status=500))
    found = log.document()
    assert found["requests"] == 3
    assert found["served"]["default"]["model"] == SPARE
    assert found["served"]["default"]["instead_of"] == MAIN
    assert found["served"]["default"]["verdict"] == "status"
    assert found["served"]["background"]["instead_of"] is None
    log.add(turn(4, tried()))
    assert log.document()["served"]["default"]["instead_of"] is None


def test_times_to_the_first_byte() -> None:
    """Of good answers only, the middle one."""
    log = TraceLog()
    for number, first in enumerate((90, 9000, 100)):
        log.add(turn(number, tried(first_byte_ms=first), tried(SPARE, first_byte_ms=None)))
    log.add(turn(9, tried(verdict="cut", first_byte_ms=1)))
    assert log.first_bytes() == {MAIN: 100}
