"""What scripts/bench-check takes for worse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.chart import chart
from benchmarks.check import CHECKED, COMMITTED, PAUSES, PICTURE, RUNS, complaints
from benchmarks.figures import Figure

NAME = "part: speed"


def figure(ratio: float, **more: Any) -> Figure:
    return Figure("speed", ratio, 1.0, **{"judged": ratio, "target": 0.8, **more})


def check(measured: list[Figure], committed: float | None) -> tuple[dict[str, str], list[int]]:
    """The complaints about a part that is measured so, one after the other; the runs it took."""
    asked: list[int] = []
    given: Iterator[Figure] = iter(measured)

    def measure(_part: str, runs: int) -> list[Figure]:
        asked.append(runs)
        return [next(given)]

    rests: list[float] = []
    known = {} if committed is None else {NAME: committed}
    found = complaints("part", measure, known, rests.append)
    assert rests == list(PAUSES[: len(asked)])
    return found, asked


@pytest.mark.parametrize(
    ("ratios", "committed", "bad"),
    [
        ([0.70], 0.70, False),
        ([0.83], 0.70, False),  # not over 20 % worse
        ([0.50], 0.70, False),  # better
        ([0.90, 0.72], 0.70, False),  # noise
        ([0.90, 0.95, 0.80], 0.70, False),
        ([0.90, 0.95, 0.86, 0.91, 0.84], 0.70, False),
        ([0.90, 0.95, 0.86, 0.91, 0.85], 0.70, True),
    ],
)
def test_lower_is_better(ratios: list[float], committed: float, bad: bool) -> None:
    """Over 20 % more each time, with more runs each time, is worse; one good time is noise gone."""
    found, asked = check([figure(ratio) for ratio in ratios], committed)
    assert (set(found), asked) == ({NAME} if bad else set(), list(RUNS[: len(ratios)]))


@pytest.mark.parametrize(("ratio", "bad"), [(0.9, False), (0.73, False), (0.71, True), (2, False)])
def test_higher_is_better(ratio: float, bad: bool) -> None:
    """Over 20 % less is worse where more is better."""
    found, _ = check([figure(ratio, better="higher")] * len(RUNS), 0.9)
    assert bool(found) == bad


def test_absolute_targets() -> None:
    """A figure without a ratio has to reach its target."""
    slow = Figure("speed", 31.0, unit="ms", target=30.0)
    assert "31 ms, the target is 30" in check([slow] * len(RUNS), None)[0][NAME]
    assert check([slow, Figure("speed", 29.0, unit="ms", target=30.0)], None)[0] == {}


def test_what_is_only_told_is_not_compared() -> None:
    """A figure without a target may be anything."""
    assert check([figure(9.0, target=None)], 0.7)[0] == {}


def test_a_new_figure_is_not_worse() -> None:
    """What is not committed yet has nothing to be compared with."""
    assert check([figure(9.0)], None)[0] == {}


def test_committed_figures() -> None:
    """The file holds ratios of parts that are checked."""
    ratios = json.loads(COMMITTED.read_text())["ratios"]
    assert {name.partition(":")[0] for name in ratios} == CHECKED.keys()
    assert all(0 < ratio < 3 for ratio in ratios.values())


def test_picture() -> None:
    """The picture in the pages shows the committed figures."""
    document = json.loads(COMMITTED.read_text())
    drawn = chart(document["ratios"], document["targets"])
    assert drawn == PICTURE.read_text()
    assert all(f">{ratio:.2f}<" in drawn for ratio in document["ratios"].values())
