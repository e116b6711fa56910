"""Connections that wait for their next request."""

from __future__ import annotations

import asyncio
from typing import Final

from synccr.transport.connection import ProviderConnection
from synccr.transport.outbound_proxy import NamedProxy

MOST_IDLE: Final = 64
"""Idle connections that are kept, of all providers together."""
IDLE_AGE: Final = 30.0
"""Seconds that one is kept: a pause between two turns; many servers close after 60."""

Key = tuple[NamedProxy | None, str, str, int]
"""Proxy, scheme, host, port."""


class Pool:
    """Idle connections by where they lead; the one used last goes first."""

    def __init__(self, most: int, age: float) -> None:
        self._most = most
        self._age = age
        self._idle: dict[Key, list[ProviderConnection]] = {}
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def acquire(self, key: Key) -> ProviderConnection | None:
        """A connection that seems alive."""
        waiting = self._idle.get(key)
        while waiting:
            connection = waiting.pop()
            self._count -= 1
            if not connection.closed and not connection.transport.is_closing():
                return connection
        return None

    def release(self, key: Key, connection: ProviderConnection) -> None:
        """Keep a connection, or close it when there are enough."""
        if self._count >= self._most:
            self._sweep()
        if self._count >= self._most:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        connection.transport.resume_reading()  # its end is to be seen
        self._idle.setdefault(key, []).append(connection)
        self._count += 1
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._age, self._sweep_again)

    def close(self) -> None:
        """Close all."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for waiting in self._idle.values():
            for connection in waiting:
                connection.abort()
        self._idle.clear()
        self._count = 0

    def _sweep_again(self) -> None:
        self._sweeper = None
        self._sweep()
        if self._count:
            # Half the age, so that none is kept much longer than it.
            delay = self._age / 2
            self._sweeper = asyncio.get_running_loop().call_later(delay, self._sweep_again)

    def _sweep(self) -> None:
        """Close what has waited too long or is dead."""
        oldest = asyncio.get_running_loop().time() - self._age
        for key, waiting in list(self._idle.items()):
            kept = [c for c in waiting if not c.closed and c.idle_since > oldest]
            for connection in set(waiting).difference(kept):
                connection.abort()
            self._count -= len(waiting) - len(kept)
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
