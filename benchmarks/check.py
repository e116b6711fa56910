"""``python -m benchmarks.check``: fails when a figure is over 20 % worse than the committed one.

Compared are ratios, so that the file holds on other machines; a figure that has an absolute
target has to reach it. Both sides of a ratio are measured in turns, and the median of the pairs
counts. Other load on the machine makes figures worse, hardly ever better, and passes: a part in
which one looks worse is measured again after a pause, with more runs, and each figure's best
value counts. So a figure is worse when it was so in all of five measurements over three minutes.
``--update`` writes ``benchmarks/figures.json`` and its picture anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.__main__ import PARTS
from benchmarks.chart import chart
from benchmarks.conditions import conditions
from benchmarks.figures import Figure
from benchmarks.scale import Scale
from benchmarks.stage import stage

COMMITTED = Path(__file__).with_name("figures.json")
PICTURE = Path(__file__).parents[1] / "docs" / "figures.svg"
CHECKED = {
    "startup": "2.0.0",
    "commands": "2.0.0",
    "preflight": "2.0.0",
    "watcher": "2.0.0",
    "route": "3.1.1",
}
"""Parts that are quick and steady enough for every change, and the CCR with which."""
MARGIN = 0.2
RUNS = (3, 5, 7, 7, 7)
"""Runs of the first measurement, and of those that doubt it."""
PAUSES = (0.0, 5.0, 15.0, 45.0, 90.0)
"""Seconds of rest before each."""

Measure = Callable[[str, int], Iterable[Figure]]


@dataclass(frozen=True)
class Value:
    """One figure, as far as it is compared.

    Attributes:
        ratio: with synccr to without.
        missed: an absolute target was not reached; the words for it.
        higher: whether a higher ratio is better.
        target: of the ratio, when it has one.
    """

    ratio: float | None
    missed: str = ""
    higher: bool = False
    target: float | None = None

    def better_of(self, other: Value) -> Value:
        """The best of two measurements."""
        ratios = [r for r in (self.ratio, other.ratio) if r is not None]
        best = (max if self.higher else min)(ratios, default=None)
        return replace(self, ratio=best, missed=self.missed and other.missed)

    def complaint(self, committed: float | None) -> str:
        """What is wrong with it, in words; empty when nothing is."""
        if self.missed or self.ratio is None or committed is None:
            return self.missed
        limit = committed * (1 - MARGIN if self.higher else 1 + MARGIN)
        if (self.ratio < limit) if self.higher else (self.ratio > limit):
            return f"{self.ratio:.2f} of bare CCR, {committed:.2f} is committed"
        return ""


def values(part: str, figures: Iterable[Figure]) -> dict[str, Value]:
    """What is compared of a part: the figures that have a target."""
    found = {}
    for figure in figures:
        if figure.target is not None:
            ratio = figure.ratio if figure.judged is None else figure.judged
            absolute = figure.judged is None and not figure.reached
            missed = f"{figure.synccr:.3g} {figure.unit}, the target is {figure.target:g}"
            higher = figure.better == "higher"
            target = None if figure.judged is None else figure.target
            found[f"{part}: {figure.what}"] = Value(
                ratio, missed if absolute else "", higher, target
            )
    return found


def complaints(
    part: str,
    measure: Measure,
    committed: Mapping[str, float],
    rest: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """What is worse than committed, each time it is measured."""
    best: dict[str, Value] = {}
    bad: dict[str, str] = {}
    for runs, pause in zip(RUNS, PAUSES, strict=True):
        rest(pause)
        for name, value in values(part, measure(part, runs)).items():
            best[name] = value.better_of(best[name]) if name in best else value
        found = ((name, value.complaint(committed.get(name))) for name, value in best.items())
        bad = {name: words for name, words in found if words}
        for name, words in bad.items():
            sys.stderr.write(f"after {runs} runs, {name}: {words}\n")
        if not bad:
            break
    return bad


def write(around: dict[str, Any], parts: Iterable[Mapping[str, Value]]) -> None:
    """Keep what was measured: as numbers, and as a picture for the pages."""
    found = {name: value for part in parts for name, value in part.items()}
    ratios = {n: round(v.ratio, 3) for n, v in found.items() if v.ratio is not None}
    targets = {n: v.target for n, v in found.items() if v.target is not None}
    document = {"conditions": around, "ratios": ratios, "targets": targets}
    COMMITTED.write_text(json.dumps(document, indent=1) + "\n")
    PICTURE.write_text(chart(ratios, targets))


def main() -> int:
    """Check, or write what is to be committed; the exit code."""
    parser = argparse.ArgumentParser(prog="bench-check", description=__doc__)
    parser.add_argument("--update", action="store_true", help=f"write {COMMITTED.name} anew")
    update = parser.parse_args().update
    with contextlib.ExitStack() as stack:
        stages = {v: stack.enter_context(stage(v)) for v in sorted(set(CHECKED.values()))}

        def measure(part: str, runs: int) -> list[Figure]:
            return list(PARTS[part](stages[CHECKED[part]], replace(Scale(), runs=runs)))

        if update:
            around = conditions(tuple(stages.values()))
            write(around, (values(part, measure(part, max(RUNS))) for part in CHECKED))
            return 0
        committed = json.loads(COMMITTED.read_text())["ratios"]
        bad: dict[str, str] = {}
        for part in CHECKED:
            bad |= complaints(part, measure, committed)
    for name, words in bad.items():
        print(f"worse: {name}: {words}")
    print(f"{len(committed)} figures compared, {len(bad)} worse by more than {MARGIN:.0%}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
