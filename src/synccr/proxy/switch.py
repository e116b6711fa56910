"""Which backend gets the next request, and who waits for one.

At most one backend is the current one. `use` makes it so, `hold` and `retire` end that; the
requests that another backend has stay there until they are answered (`drained`), or are taken
from it (`abandon`). A backend that refuses a connection is lost: what comes then waits, and the
switch alone tries it again, one connection at a time for all who wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from synccr.proxy.backend_pool import BackendAddress, BackendPool

RETRY_FIRST: Final = 0.1
"""Seconds before the current backend is tried again after it refused or dropped a request."""

RETRY_MAX: Final = 1.0
"""Longest such pause in seconds; each is twice the one before."""


class Waiter(Protocol):
    """A request that waits for a backend."""

    def place(self, *, paused: bool = False) -> None:
        """There is a backend to try; *paused* when it was found after a pause."""


class Switch:
    """The backends of one proxy.

    Args:
        clock: monotonic seconds.
        on_backend_lost: called with a generation that refuses connections, once each time
            it is found lost. Runs from the loop, not within a call of the switch.

    Attributes:
        waiters: the requests that wait, in the order in which they came.
    """

    def __init__(
        self, clock: Callable[[], float], on_backend_lost: Callable[[int], None] | None = None
    ) -> None:
        self.waiters: dict[Waiter, None] = {}
        self._clock = clock
        self._on_backend_lost = on_backend_lost
        self._current: BackendPool | None = None
        self._pools: dict[int, BackendPool] = {}  # by generation
        self._retry_timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.Task[None] | None = None
        self._pause = RETRY_FIRST

    # For the supervisor.

    def use(self, address: BackendAddress) -> None:
        """Make the backend at *address* the current one.

        Requests in flight finish where they are; everything else goes to it.
        Raises ValueError when its generation is that of another backend.
        """
        pool = self._pools.get(address.generation)
        if pool is None:
            pool = BackendPool(address, self._clock, self._refused)
            self._pools[address.generation] = pool
        elif pool.address != address:
            raise ValueError(f"generation {address.generation} is another backend's")
        self._replace(pool)
        pool.retired = pool.lost = False
        pool.prefetch()
        self._wake()

    def hold(self) -> None:
        """Have no current backend: requests wait for the next `use`."""
        self._replace(None)

    def retire(self, generation: int) -> None:
        """Give *generation* nothing more and take a 503 from it as "closing"."""
        pool = self._pools.get(generation)
        if pool is not None:
            pool.retired = True
            pool.close_idle()
            if pool is self._current:
                self._replace(None)

    def abandon(self, generation: int) -> None:
        """Take everything from *generation* now.

        Requests without a response byte are sent again; answers that have begun are cut.
        """
        self.retire(generation)
        pool = self._pools.get(generation)
        if pool is not None:
            for user in tuple(pool.in_flight):
                user.abandon()

    async def drained(self, generation: int, timeout: float | None = None) -> bool:
        """Wait until *generation* has nothing in flight; False when *timeout* seconds pass."""
        pool = self._pools.get(generation)
        if pool is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await pool.drained()
        except TimeoutError:
            return False
        return True

    def in_flight(self, generation: int) -> int:
        """How many requests *generation* has whose answers are not whole."""
        pool = self._pools.get(generation)
        return 0 if pool is None else len(pool.in_flight)

    def connect_failures(self, generation: int) -> int:
        """How many connections to *generation* in a row could not be made."""
        pool = self._pools.get(generation)
        return 0 if pool is None else pool.failures

    def oldest_unanswered(self, generation: int) -> float | None:
        """Seconds since the longest silent request was given to *generation*, or None."""
        pool = self._pools.get(generation)
        if pool is None:
            return None
        since = [at for user in pool.in_flight if (at := user.silent_since) is not None]
        return self._clock() - min(since) if since else None

    # For connections and streams.

    @property
    def available(self) -> BackendPool | None:
        """The backend that requests go to now."""
        current = self._current
        return None if current is None or current.lost else current

    def prefetch(self) -> None:
        """A client has come: have a connection ready for its request."""
        if (pool := self.available) is not None:
            pool.prefetch()

    def wait(self, waiter: Waiter) -> None:
        """Place *waiter* when there is a backend to try."""
        self.waiters[waiter] = None
        if self._current is not None and self._retry_timer is None and self._retry is None:
            self._retry_later()

    def forget(self, waiter: Waiter) -> None:
        """*waiter* waits no longer."""
        self.waiters.pop(waiter, None)

    def close(self) -> None:
        """End idle connections and try nothing more."""
        for pool in self._pools.values():
            pool.close_idle()
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        if self._retry is not None:
            self._retry.cancel()

    def _replace(self, pool: BackendPool | None) -> None:
        previous, self._current = self._current, pool
        self._pause = RETRY_FIRST
        if previous is not None and previous is not pool:
            previous.retired = True
            previous.close_idle()
        others = [(number, known) for number, known in self._pools.items() if known is not pool]
        for number, known in others:
            if pool is not None:
                for user in tuple(known.in_flight):
                    user.backend_replaced()
            if not known.in_flight:
                del self._pools[number]

    def _wake(self, *, paused: bool = False) -> None:
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            waiter.place(paused=paused)

    def _refused(self, pool: BackendPool) -> None:
        if pool.lost:
            return
        pool.lost = True
        if self._on_backend_lost is not None:
            asyncio.get_running_loop().call_soon(self._on_backend_lost, pool.address.generation)

    def _retry_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._retry_timer = loop.call_later(self._pause, self._try_again)

    def _try_again(self) -> None:
        self._retry_timer = None
        if self._current is not None and self.waiters:
            self._retry = asyncio.get_running_loop().create_task(self._reach(self._current))

    async def _reach(self, pool: BackendPool) -> None:
        """One connection for all who wait, instead of one for each."""
        try:
            connection = await pool.connect()
        except OSError:
            reached = False
            self._pause = min(2 * self._pause, RETRY_MAX)
        else:
            reached = True
            pool.lost = False
            pool.release(connection)
        self._retry = None
        if reached and pool is self._current:
            self._wake(paused=True)
        elif self.waiters and self._current is not None:  # it may be another one by now
            self._retry_later()
