"""The clocks: one for times of day, one that never goes back."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import NamedTuple

LATE = 120.0
"""A line of the log, or an answer whose batch took long, may come this late, seconds."""


class Now(NamedTuple):
    """One moment on both clocks.

    Attributes:
        mono: seconds on a clock that never goes back.
        wall: UTC; only for times that a provider names.
    """

    mono: float
    wall: datetime

    def mono_of(self, at: datetime) -> float:
        """When something happened that is told now, on the clock that never goes back. Only a
        clock that was set since lets it seem to lie ahead, or longer ago than ``LATE``."""
        ago = (self.wall - at).total_seconds()
        return self.mono - ago if 0.0 <= ago <= LATE else self.mono


def utc_now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


def now() -> Now:
    """Both clocks. Boot time goes on while a machine sleeps, where there is such a clock."""
    if sys.platform == "linux":
        return Now(time.clock_gettime(time.CLOCK_BOOTTIME), utc_now())
    else:
        return Now(time.monotonic(), utc_now())
