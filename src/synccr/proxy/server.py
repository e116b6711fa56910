"""The public port: a listener that outlives every backend behind it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping

from synccr.proxy.buffer import Budget
from synccr.proxy.connection import ClientConnection, NewOwner
from synccr.proxy.framing import RequestHead
from synccr.proxy.own_answers import Guard, Handler, path_of
from synccr.proxy.resend import TurnKeeper
from synccr.proxy.shared import Shared, Stats
from synccr.proxy.switch import Switch

Observer = Callable[[int, float, bytes], None]
"""Called when an answer begins: status, seconds since the request's head, path."""


class Proxy:
    """Carries HTTP/1.1 between clients and the current backend.

    No request of which no response byte has reached its client is lost when the backend
    changes, closes or dies: it is kept and sent again.

    Args:
        hold_timeout: seconds a request waits for a backend before it is answered 503.
        carry_limit: bytes of one request that are kept; a larger one is not sent again.
        budget: bytes kept for all requests together.
        header_timeout: seconds in which the head of a request must arrive.
        most_clients: connections at one time; further ones are closed at once.
        clock: monotonic seconds.
        guard: sees each request's head; returns how it is refused, or None.
        handlers: (method, path) to the hook that answers in the backend's place.
        observer: called when an answer begins.
        turns: keeps account of requests to models; None when CCR asks providers by itself.
        on_backend_lost: see `Switch`.

    Attributes:
        switch: which backend gets the next request.
        clients: the connections that are served here.
        new_owner: takes the connections; None while they are served here.
    """

    def __init__(
        self,
        *,
        hold_timeout: float,
        carry_limit: int = 32 << 20,
        budget: int = 256 << 20,
        header_timeout: float = 30.0,
        most_clients: int = 1 << 20,
        clock: Callable[[], float] = time.monotonic,
        guard: Guard | None = None,
        handlers: Mapping[tuple[bytes, bytes], Handler] | None = None,
        observer: Observer | None = None,
        turns: TurnKeeper | None = None,
        on_backend_lost: Callable[[int], None] | None = None,
    ) -> None:
        self.switch = Switch(clock, on_backend_lost)
        self.shared = Shared(self.switch, clock, hold_timeout, carry_limit, Budget(budget), turns)
        self.header_timeout = header_timeout
        self.guard = guard
        self.handlers = dict(handlers or {})
        self.new_owner: NewOwner | None = None
        self.clients: set[ClientConnection] = set()
        self._most_clients = most_clients
        self._observer = observer
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    # For the supervisor.

    @property
    def stats(self) -> Stats:
        """Counts since the start."""
        return self.shared.stats

    def set_limits(self, *, hold_timeout: float, carry_limit: int) -> None:
        """Go on with other limits: requests that come, and that begin to wait, have them."""
        self.shared.hold_timeout = hold_timeout
        self.shared.carry_limit = carry_limit

    async def start(self, sock: socket.socket) -> None:
        """Accept clients on *sock*, a bound TCP socket, which the proxy then owns."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientConnection(self), sock=sock, backlog=1024
        )

    async def adopt(self, connection: socket.socket, ahead: bytes) -> None:
        """Serve a client that another proxy has accepted; *ahead* has been read from it."""
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: ClientConnection(self, ahead), connection)
        except OSError:
            connection.close()

    def hand_over(self, new_owner: NewOwner) -> None:
        """Accept no more, and give each connection away unless its request is being answered.

        That is finished here; then, or should its backend be lost, the connection follows. When
        *new_owner* takes no more, what is left is ended as by `close`, without a time limit.
        """
        self.new_owner = new_owner
        if self._server is not None:
            # Not closed yet: asyncio would drop connections that it has accepted and not made.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener)
        self.switch.hold()
        for client in tuple(self.clients):
            client.hand_over()

    def stop_handing_over(self) -> None:
        """The new owner takes no more; see `hand_over`."""
        self.new_owner = None
        self._shut_down()

    async def emptied(self) -> None:
        """Wait until no client is left."""
        await self._empty.wait()

    async def close(self, timeout: float) -> None:
        """Stop accepting, let requests in flight finish for *timeout* seconds, then abort."""
        if self._server is not None:
            self._server.close()
        self._shut_down()
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            for client in tuple(self.clients):
                client.transport.abort()
            await self._empty.wait()
        self.switch.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.sleep(0)  # aborted connections close their sockets in the next round

    # For connections.

    def joined(self, client: ClientConnection) -> None:
        """A client has connected."""
        if self.shared.closing or len(self.clients) >= self._most_clients:
            client.transport.abort()
            return
        self.clients.add(client)
        self._empty.clear()
        if self._sweeper is None:
            self._sweep()
        self.switch.prefetch()

    def left(self, client: ClientConnection) -> None:
        """A client has gone."""
        self.clients.discard(client)
        if not self.clients:
            self._empty.set()

    def observe(self, status: int, started: float, head: RequestHead | None) -> None:
        """An answer begins."""
        self.stats.statuses[status // 100] += 1
        if self._observer is not None:
            path = b"" if head is None else path_of(head.target)
            self._observer(status, self.shared.clock() - started, path)

    def _shut_down(self) -> None:
        self.shared.closing = True
        for client in tuple(self.clients):
            client.shut_down()

    def _sweep(self) -> None:
        self._sweeper = None
        if self.clients:  # first: whatever becomes of one client, the others are looked at again
            self._sweeper = asyncio.get_running_loop().call_later(
                self.header_timeout / 4, self._sweep
            )
        now = self.shared.clock()
        for client in tuple(self.clients):
            if 0.0 < client.head_deadline < now:
                client.head_timed_out()
