"""How long a provider may be silent before that is a trouble, learned from each model. Pure.

The first word of a large request comes later than that of a small one, so times are compared
with those of requests that were not much smaller. Reasoning, comments and keep-alive lines are
bytes, so they end a silence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from synccr.models.report import ModelRef

FLOOR: Final = 20.0
"""Seconds; whatever was learned, less is no silence."""

ENOUGH: Final = 8
"""Answers after which what was seen may lower the limit that all models begin with."""

MARGIN: Final = 4.0
"""Times the longest wait seen lately."""

BYTES_A_SECOND: Final = 40_000.0
"""Of a request: some 10,000 tokens of a prompt are read in a second."""

_SAMPLES: Final = 32
_MOST_MODELS: Final = 512


@dataclass(slots=True)
class _Seen:
    first: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    granted: float = 0.0  # seconds after it was given up: it may only be slow


class SilenceLimits:
    """The limits of each model, streamed and not: an answer that is not streamed is silent until
    it is whole.

    Args:
        unknown: seconds granted while little is known of a model.
        ceiling: seconds; never more, whatever was learned.
    """

    def __init__(self, unknown: float, ceiling: float) -> None:
        self.unknown = unknown
        self.ceiling = ceiling
        self._seen: dict[tuple[ModelRef, bool], _Seen] = {}

    def answered(
        self, ref: ModelRef, size: int, first: float, longest_gap: float, *, streamed: bool
    ) -> None:
        """An answer went well: its request's bytes, seconds to its first byte, its longest gap."""
        seen = self._of(ref, streamed)
        seen.first.append((size, first))
        seen.gaps.append(longest_gap)
        seen.granted = 0.0

    def gave_up(self, ref: ModelRef, seconds: float, *, streamed: bool) -> None:
        """It was silent for too long. Should it only be slow, the next one gets twice as long."""
        self._of(ref, streamed).granted = 2 * seconds

    def probed(self, ref: ModelRef, seconds: float) -> None:
        """A probe was answered whole after so many seconds: no model gets less."""
        for streamed in (True, False):
            self._of(ref, streamed).first.append((0, seconds))

    def first(self, ref: ModelRef, size: int, *, streamed: bool) -> float:
        """Seconds until the first byte of an answer to a request of *size* bytes."""
        seen = self._seen.get((ref, streamed)) or _Seen()
        alike = sum(2 * other >= size for other, _ in seen.first)
        if not streamed and alike < ENOUGH:
            return self.ceiling
        longest = max((seconds for _, seconds in seen.first), default=0.0)
        limit = self._limit(alike, longest, seen.granted) + size / BYTES_A_SECOND
        return min(self.ceiling, limit)

    def gap(self, ref: ModelRef, *, streamed: bool) -> float:
        """Seconds between two pieces of an answer."""
        seen = self._seen.get((ref, streamed)) or _Seen()
        longest = max(seen.gaps, default=0.0)
        return min(self.ceiling, self._limit(len(seen.gaps), longest, seen.granted))

    def _limit(self, samples: int, longest: float, granted: float) -> float:
        least = min(FLOOR, self.unknown) if samples >= ENOUGH else self.unknown
        return max(least, MARGIN * longest, granted)

    def _of(self, ref: ModelRef, streamed: bool) -> _Seen:
        key = (ref, streamed)
        if key not in self._seen and len(self._seen) >= _MOST_MODELS:
            del self._seen[next(iter(self._seen))]
        return self._seen.setdefault(key, _Seen())
