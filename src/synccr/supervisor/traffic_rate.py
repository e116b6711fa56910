"""How much is asked and how quickly it is answered: the last minute, second by second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SPAN = 60
"""Seconds that are kept; also the number of slots, so the memory is bounded."""


@dataclass(slots=True)
class _Second:
    number: int = -1
    requests: int = 0
    errors: int = 0
    waited: float = 0.0


class Traffic:
    """Counts answers to API requests.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ring = [_Second() for _ in range(SPAN)]

    def observe(self, status: int, seconds: float, path: bytes) -> None:
        """An answer begins: its HTTP status, seconds since the request's head, its path.

        Health checks and CCR's page are not what a user waits for.
        """
        if not path.startswith(b"/v1/"):
            return
        now = int(self._clock())
        second = self._ring[now % SPAN]
        if second.number != now:
            second.number, second.requests, second.errors, second.waited = now, 0, 0, 0.0
        second.requests += 1
        second.errors += status >= 400
        second.waited += seconds

    def document(self) -> dict[str, Any]:
        """For ``status --json``: each list has one entry a second, oldest first, and ends
        with the running second. ``latency_ms`` is the mean until an answer began, None
        where nothing was answered."""
        now = int(self._clock())
        kept = [self._ring[number % SPAN] for number in range(now - SPAN + 1, now + 1)]
        live = [second if now - SPAN < second.number <= now else _Second() for second in kept]
        return {
            "seconds": SPAN,
            "requests": [second.requests for second in live],
            "errors": [second.errors for second in live],
            "latency_ms": [
                round(second.waited * 1000 / second.requests, 1) if second.requests else None
                for second in live
            ],
        }
