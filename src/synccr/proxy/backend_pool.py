"""Connections to one backend: those that carry a request, and those that wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from synccr.proxy.framing import ResponseFramer

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection to loopback: only a backend that takes none at all needs longer."""

IDLE_AGE: Final = 20.0
"""Seconds an idle connection may wait for use. Node answers 408 on a connection that has been
silent for 60 s (`headersTimeout`), and that answer must not meet a request."""

MAX_IDLE: Final = 32
"""Idle connections that are kept: as many clients at once find one that is ready."""


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where a CCR process listens.

    Attributes:
        generation: a number of its own, never used again for another process.
        host: an IP address.
        port: its private port.
    """

    generation: int
    host: str
    port: int


class BackendUser(Protocol):
    """A request that a backend has, as its connection and the switch see it."""

    @property
    def silent_since(self) -> float | None:
        """Clock reading when the backend got it; None once its answer has begun."""

    def backend_data(self, data: bytes) -> None:
        """Bytes came from the backend."""

    def backend_ready(self) -> None:
        """The backend takes more of the request."""

    def backend_lost(self, *, clean: bool) -> None:
        """The connection ended and is no longer the user's; *clean* when the backend ended it."""

    def backend_replaced(self) -> None:
        """Another backend serves from now on."""

    def abandon(self) -> None:
        """The backend's time is over: let go of it now."""


class BackendPool:
    """One backend and the connections to it.

    Attributes:
        address: where it listens.
        retired: it gets no further requests; its 503 means that it is closing.
        lost: it refused the last connection.
        failures: connections in a row that could not be made.
        connections: all that are open.
        in_flight: the requests that it has and whose answers are not whole.
    """

    __slots__ = (
        "_clock",
        "_drained",
        "_idle",
        "_on_refused",
        "_prefetching",
        "address",
        "connections",
        "failures",
        "in_flight",
        "lost",
        "retired",
    )

    def __init__(
        self,
        address: BackendAddress,
        clock: Callable[[], float],
        on_refused: Callable[[BackendPool], None],
    ) -> None:
        self.address = address
        self.retired = False
        self.lost = False
        self.failures = 0
        self.connections: set[BackendConnection] = set()
        self.in_flight: set[BackendUser] = set()
        self._clock = clock
        self._on_refused = on_refused
        self._idle: list[BackendConnection] = []
        self._prefetching: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()

    async def connect(self) -> BackendConnection:
        """A new connection. Raises OSError, TimeoutError included, when there is none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    lambda: BackendConnection(self), self.address.host, self.address.port
                )
        except OSError as error:
            self.failures += 1
            if isinstance(error, ConnectionRefusedError):
                self._on_refused(self)
            raise
        self.failures = 0
        return connection

    def acquire(self, preferred: BackendConnection | None) -> BackendConnection | None:
        """*preferred* if it is one to this backend, else the idle connection used last, if any."""
        if preferred is not None:
            if preferred.pool is self and not preferred.closed:
                return preferred
            preferred.abort()
        found = None
        oldest = self._clock() - IDLE_AGE
        while found is None and self._idle:
            found = self._idle.pop()
            if found.closed or found.idle_since < oldest:
                found.abort()
                found = None
        self.prefetch()
        return found

    def prefetch(self) -> None:
        """Have an idle connection ready, so that a new client does not wait for one."""
        if self._prefetching is None and (not self._idle or self._idle[-1].closed):
            self._prefetching = asyncio.get_running_loop().create_task(self._prefetch())

    def release(self, connection: BackendConnection) -> None:
        """Keep *connection*, which can carry a request, for whoever comes next."""
        self._idle = [idle for idle in self._idle if not idle.closed]
        if self.retired or connection.closed or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.detach()
        connection.idle_since = self._clock()
        connection.transport.resume_reading()  # its end is to be seen
        self._idle.append(connection)

    def close_idle(self) -> None:
        """End the connections that carry no request, those that clients keep included."""
        if self._prefetching is not None:
            self._prefetching.cancel()
        for connection in tuple(self.connections):
            if connection.owner is None:
                connection.abort()
        self._idle.clear()

    def joined(self, user: BackendUser) -> None:
        """A request is in flight here from now on."""
        self.in_flight.add(user)
        self._drained.clear()

    def left(self, user: BackendUser) -> None:
        """A request is no longer in flight here."""
        self.in_flight.discard(user)
        if not self.in_flight:
            self._drained.set()

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._drained.wait()

    async def _prefetch(self) -> None:
        try:
            self.release(await self.connect())
        except OSError:
            return  # counted by connect; whoever needs a connection tries again
        finally:
            self._prefetching = None


class BackendConnection(asyncio.Protocol):
    """One connection to a backend; it carries one request at a time, or none.

    Attributes:
        pool: the backend at the other end.
        idle_since: clock reading when it was released last.
        framer: cuts what the backend sends.
        owner: whose request is on this connection.
        transport: the connection itself.
        closed: it takes nothing more.
        full: the backend reads more slowly than is written to it.
    """

    __slots__ = ("_ended", "closed", "framer", "full", "idle_since", "owner", "pool", "transport")

    transport: asyncio.Transport

    def __init__(self, pool: BackendPool) -> None:
        self.pool = pool
        self.idle_since = 0.0
        self.framer = ResponseFramer()
        self.owner: BackendUser | None = None
        self.closed = False
        self.full = False
        self._ended = False

    def attach(self, owner: BackendUser) -> None:
        """*owner* puts its request on this connection."""
        self.owner = owner
        self.pool.joined(owner)

    def detach(self) -> None:
        """The owner has nothing to do with this connection any more."""
        owner, self.owner = self.owner, None
        if owner is not None:
            self.pool.left(owner)

    def abort(self) -> None:
        """Drop the connection at once, whatever is on it. Its owner is not told."""
        self.detach()
        self.closed = True
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.pool.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.owner is None:
            self.abort()  # nothing was asked
        else:
            self.owner.backend_data(data)

    def eof_received(self) -> None:
        """Called by the loop. A server that ends its side takes no request any more."""
        self._ended = True
        self.closed = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.closed = True
        self.framer.close()
        self.pool.connections.discard(self)
        owner = self.owner
        self.detach()
        if owner is not None:
            owner.backend_lost(clean=self._ended and exc is None)

    def pause_writing(self) -> None:
        """Called by the loop."""
        self.full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self.full = False
        if self.owner is not None:
            self.owner.backend_ready()
