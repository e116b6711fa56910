"""How many requests may be sent again, over all of them.

As Envoy's retry budget
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking): a share
of the requests of the last seconds, so that a provider that is slow for everybody is not asked
threefold; and a minimum, so that a burst of failures in flight is healed.
"""

from __future__ import annotations

WINDOW = 10
"""Seconds that count, one bucket for each."""
MINIMUM = 50
"""So many in the window may be sent again in any case."""


class RetryBudget:
    """Counts requests and those sent again. Time is given, memory is constant.

    Args:
        share: of the requests in the window that may be sent again, 0 to 1.
        minimum: how many may be in any case.
    """

    def __init__(self, share: float, *, minimum: int = MINIMUM) -> None:
        self._share = share
        self._minimum = minimum
        self._requests = [0] * WINDOW
        self._resent = [0] * WINDOW
        self._second = 0

    def request(self, now: float) -> None:
        """A client's request has come.

        Args:
            now: monotonic seconds.
        """
        self._requests[self._bucket(now)] += 1

    def spend(self, now: float) -> bool:
        """Whether one request may be sent again now; if so, it is counted.

        Args:
            now: monotonic seconds.
        """
        bucket = self._bucket(now)
        if sum(self._resent) >= max(self._minimum, self._share * sum(self._requests)):
            return False
        self._resent[bucket] += 1
        return True

    def _bucket(self, now: float) -> int:
        """The bucket of this second, those in between emptied."""
        second = max(int(now), self._second)
        for passed in range(max(self._second + 1, second - WINDOW + 1), second + 1):
            self._requests[passed % WINDOW] = self._resent[passed % WINDOW] = 0
        self._second = second
        return second % WINDOW
