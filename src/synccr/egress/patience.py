"""How long a provider may be silent before that is a trouble: learned model by model. Pure.

The first word of a large request comes later than that of a small one, so times are compared
with those of requests that were not much smaller. Reasoning, comments and keep-alive lines are
bytes, and bytes are life.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from synccr.report import ModelRef

FLOOR: Final = 20.0
"""Seconds; whatever was learned, less is no silence."""

ENOUGH: Final = 8
"""Answers after which what was seen may make less of the patience that all models get."""

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
    probe: float = 0.0


class Patience:
    """What was seen of each model.

    Args:
        unknown: seconds granted while little is known of a model.
        ceiling: seconds; never more, whatever was learned.
    """

    def __init__(self, unknown: float, ceiling: float) -> None:
        self.unknown = unknown
        self.ceiling = ceiling
        self._seen: dict[ModelRef, _Seen] = {}

    def answered(self, ref: ModelRef, size: int, first: float, longest_gap: float) -> None:
        """An answer went well: its request's bytes, seconds to its first byte, its longest gap."""
        seen = self._of(ref)
        seen.first.append((size, first))
        seen.gaps.append(longest_gap)

    def probed(self, ref: ModelRef, seconds: float) -> None:
        """A probe was answered whole after so many seconds."""
        self._of(ref).probe = seconds

    def first(self, ref: ModelRef, size: int) -> float:
        """Seconds until the first byte of an answer to a request of *size* bytes."""
        seen = self._seen.get(ref) or _Seen()
        alike = [seconds for other, seconds in seen.first if 2 * other >= size]
        longest = max([seen.probe, *(seconds for _, seconds in seen.first)])
        return min(self.ceiling, self._limit(len(alike), longest) + size / BYTES_A_SECOND)

    def gap(self, ref: ModelRef) -> float:
        """Seconds between two pieces of an answer."""
        seen = self._seen.get(ref) or _Seen()
        return min(self.ceiling, self._limit(len(seen.gaps), max(seen.gaps, default=0.0)))

    def _limit(self, samples: int, longest: float) -> float:
        least = min(FLOOR, self.unknown) if samples >= ENOUGH else self.unknown
        return max(least, MARGIN * longest)

    def _of(self, ref: ModelRef) -> _Seen:
        if ref not in self._seen and len(self._seen) >= _MOST_MODELS:
            del self._seen[next(iter(self._seen))]
        return self._seen.setdefault(ref, _Seen())
