"""What the benchmarks conclude from what they measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import wire
from benchmarks.figures import Figure, median_of, quantile, table
from benchmarks.seamless import seen
from benchmarks.survey import CUT, OK, Request, failures, longest_gap


def survey(*ends: tuple[float, str]) -> list[Request]:
    return [Request(end - 0.1, end, outcome) for end, outcome in ends]


def test_the_longest_gap_counts_from_edge_to_edge() -> None:
    """A service that is down at the end of the window is down up to there."""
    requests = survey((1, OK), (2, OK), (3, "refused"), (4.5, OK), (9, OK))
    assert longest_gap(requests, 0, 10) == 4.5
    assert longest_gap(requests, 1, 4.5) == 2.5
    assert longest_gap(requests, 5, 8) == 3
    assert longest_gap([], 0, 3) == 3


def test_failures_are_counted_by_what_the_client_got() -> None:
    """Only within the window, and successes not at all."""
    requests = survey((1, "refused"), (2, "refused"), (3, "lost"), (4, OK), (9, "lost"))
    assert failures(requests, 0, 5) == {"refused": 2, "lost": 1}


def test_an_answer_that_broke_off_is_told_apart() -> None:
    """It cannot be carried over, so it is no failed request; the quiet window is as long as
    the event's where there was that much quiet."""
    requests = survey((1, OK), (2, OK), (3, OK), (4, CUT), (5, "lost"), (5.5, OK), (6, OK))
    found = seen(requests, 0.0, 3.0, 6.0)
    assert (found.requests, found.failed, found.cut) == (5, 1, 1)
    assert (found.gap, found.steady) == (2.5, 1.0)
    assert found.above == pytest.approx(1500)


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("a", 1, target=None), None),
        (Figure("a", 0, target=0), True),
        (Figure("a", 1, target=0), False),
        (Figure("a", 0.98, target=0.97, better="higher"), True),
        (Figure("a", 0.96, target=0.97, better="higher"), False),
        (Figure("a", 500, 450, target=1.2, judged=500 / 450), True),
    ],
)
def test_targets(figure: Figure, reached: bool | None) -> None:
    """Which way is better, and what the target is for."""
    assert figure.reached is reached
    assert ("MISSED" in table([figure])) is (reached is False)


def test_medians_and_quantiles() -> None:
    """One slow run moves neither the median nor the ratio."""
    figure = median_of("a", [1, 2, 90], [4, 4, 4])
    assert (figure.synccr, figure.bare, figure.ratio) == (2, 4, 0.5)
    assert median_of("a", [1]).ratio is None
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([1, 2], 1.0) == 2


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_is_whole_with_its_last_byte(response: bytes, size: int) -> None:
    """However it is cut into pieces."""
    answer = wire.Answer()
    pieces = [response[i : i + size] for i in range(0, len(response), size)]
    assert [answer.add(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert answer.status == 200
