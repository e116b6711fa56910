"""Ratios of what was measured in turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def median_ratio(values: Sequence[float], bare: Sequence[float]) -> float:
    """The median of the ratios of neighbours: what else the machine does hits both of a pair."""
    return statistics.median(a / b for a, b in zip(values, bare, strict=True))
