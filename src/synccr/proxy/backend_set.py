"""Connections to backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from synccr.proxy.framing import ResponseFramer

if TYPE_CHECKING:
    from synccr.proxy.stream import Carriage

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection to loopback: only a backend that takes none at all needs longer."""

SPARE_AGE: Final = 20.0
"""Seconds a spare connection may wait for use. Node answers 408 on a connection that has been
silent for 60 s (`headersTimeout`), and that answer must not meet a request."""

MOST_SPARE: Final = 32
"""Spare connections that are kept: as many clients at once find one that is ready."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a CCR process listens.

    Attributes:
        generation: a number of its own, never used again for another process.
        host: an IP address.
        port: its private port.
    """

    generation: int
    host: str
    port: int


class BackendSet:
    """One backend as the relay knows it.

    Attributes:
        backend: where it listens.
        retired: it gets no further requests; its 503 means that it is closing.
        lost: it refused the last connection.
        failures: connections in a row that could not be made.
        in_flight: the requests that it has and whose answers are not whole.
    """

    __slots__ = (
        "_clock",
        "_connecting",
        "_drained",
        "_on_refused",
        "_spares",
        "backend",
        "failures",
        "in_flight",
        "lost",
        "retired",
    )

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        on_refused: Callable[[BackendSet], None],
    ) -> None:
        self.backend = backend
        self.retired = False
        self.lost = False
        self.failures = 0
        self.in_flight: set[Carriage] = set()
        self._clock = clock
        self._on_refused = on_refused
        self._spares: list[BackendConnection] = []
        self._connecting: asyncio.Task[None] | None = None
        self._drained: list[asyncio.Future[None]] = []

    async def connect(self) -> BackendConnection:
        """A new connection. Raises OSError, TimeoutError included, when there is none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, upstream = await loop.create_connection(
                    lambda: BackendConnection(self), self.backend.host, self.backend.port
                )
        except OSError as error:
            self.failures += 1
            if isinstance(error, ConnectionRefusedError):
                self._on_refused(self)
            raise
        self.failures = 0
        return upstream

    def take(self) -> BackendConnection | None:
        """The spare connection used last, if there is one; another is made ready."""
        spare = None
        oldest = self._clock() - SPARE_AGE
        while spare is None and self._spares:
            spare = self._spares.pop()
            if spare.closed or spare.idle_since < oldest:
                spare.abort()
                spare = None
        self.warm()
        return spare

    def warm(self) -> None:
        """Have a spare connection ready, so that a new client does not wait for one."""
        if self._connecting is None and (not self._spares or self._spares[-1].closed):
            self._connecting = asyncio.get_running_loop().create_task(self._make_spare())

    def give(self, upstream: BackendConnection) -> None:
        """Keep a connection that carries no request as a spare one."""
        self._spares = [spare for spare in self._spares if not spare.closed]
        if self.retired or upstream.closed or len(self._spares) >= MOST_SPARE:
            upstream.abort()
            return
        upstream.idle_since = self._clock()
        upstream.transport.resume_reading()  # its end is to be seen
        self._spares.append(upstream)

    def cool(self) -> None:
        """Drop the spare connections."""
        if self._connecting is not None:
            self._connecting.cancel()
        for spare in self._spares:
            spare.abort()
        self._spares.clear()

    def leave(self, carriage: Carriage) -> None:
        """A request is no longer in flight here."""
        self.in_flight.discard(carriage)
        if not self.in_flight and self._drained:
            for waiter in self._drained:
                if not waiter.done():
                    waiter.set_result(None)
            self._drained.clear()

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        if self.in_flight:
            waiter = asyncio.get_running_loop().create_future()
            self._drained.append(waiter)
            await waiter

    async def _make_spare(self) -> None:
        try:
            self.give(await self.connect())
        except OSError:
            return  # counted by connect; whoever needs a connection tries again
        finally:
            self._connecting = None


class BackendConnection(asyncio.Protocol):
    """One connection to a backend; it serves one carriage at a time, or none.

    Attributes:
        generation: the backend at the other end.
        idle_since: clock reading when it became a spare one.
        framer: cuts what the backend sends.
        owner: the carriage whose request is on this connection.
        transport: the connection itself.
        closed: it takes nothing more.
        full: the backend reads more slowly than is written to it.
    """

    __slots__ = (
        "_ended",
        "closed",
        "framer",
        "full",
        "generation",
        "idle_since",
        "owner",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, generation: BackendSet) -> None:
        self.generation = generation
        self.idle_since = 0.0
        self.framer = ResponseFramer()
        self.owner: Carriage | None = None
        self.closed = False
        self.full = False
        self._ended = False

    def abort(self) -> None:
        """Drop the connection at once, whatever is on it."""
        self.owner = None
        self.closed = True
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.owner is None:
            self.abort()  # nothing was asked
        else:
            self.owner.upstream_data(self, data)

    def eof_received(self) -> None:
        """Called by the loop. A server that ends its side takes no request any more."""
        self._ended = True
        self.closed = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.closed = True
        self.framer.close()
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.upstream_lost(self, clean=self._ended and exc is None)

    def pause_writing(self) -> None:
        """Called by the loop."""
        self.full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self.full = False
        if self.owner is not None:
            self.owner.pump()
