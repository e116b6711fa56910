"""What was measured, and how it is shown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One line of the result.

    Attributes:
        what: is measured.
        synccr: the value with synccr, a median where there are several runs.
        bare: the same without it; None when there is nothing to compare with.
        unit: of both, for example ``ms``.
        target: what is to be reached; None for a figure that is only told.
        better: which way is better.
        judged: the value that the target is for, when it is not ``synccr`` itself.
        runs: each run's value with synccr.
        bare_runs: each run's value without it.
        note: what a reader has to know.
    """

    what: str
    synccr: float
    bare: float | None = None
    unit: str = ""
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"
    judged: float | None = None
    runs: Sequence[float] = ()
    bare_runs: Sequence[float] = ()
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """With synccr to without; None where that says nothing."""
        return self.synccr / self.bare if self.bare else None

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None without one."""
        if self.target is None:
            return None
        value = self.synccr if self.judged is None else self.judged
        return value <= self.target if self.better == "lower" else value >= self.target

    def as_json(self) -> dict[str, Any]:
        """Everything, and what follows from it."""
        return asdict(self) | {"ratio": self.ratio, "reached": self.reached}


def median_of(
    what: str, runs: Sequence[float], bare_runs: Sequence[float] = (), **more: Any
) -> Figure:
    """A figure whose values are the medians of its runs."""
    bare = statistics.median(bare_runs) if bare_runs else None
    return Figure(
        what, statistics.median(runs), bare, runs=list(runs), bare_runs=list(bare_runs), **more
    )


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    text = f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".strip()


def table(figures: Iterable[Figure]) -> str:
    """One line for each figure."""
    rows = [("", "synccr", "bare CCR", "ratio", "target", "")]
    for f in figures:
        sign = "<=" if f.better == "lower" else ">="
        target = "" if f.target is None else f"{sign} {f.target:g}"
        if f.judged is not None:
            target += f" (is {_number(f.judged)})"
        verdict = {None: "", True: "reached", False: "MISSED"}[f.reached]
        rows.append(
            (
                f.what,
                _number(f.synccr, f.unit),
                _number(f.bare, f.unit),
                "" if f.ratio is None else f"{f.ratio:.2f}",
                target,
                verdict,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 4, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
