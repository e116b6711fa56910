"""The public port: a listener that outlives every backend behind it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from synccr.proxy.backend_set import Backend, BackendSet
from synccr.proxy.buffer import Budget
from synccr.proxy.connection import Client
from synccr.proxy.framing import RequestHead
from synccr.proxy.messages import Guard, Interceptor, path_of
from synccr.proxy.resend import TurnKeeper
from synccr.proxy.stream import Carriage

RETRY_FIRST: Final = 0.1
"""Seconds before the current backend is tried again after it refused or dropped a request."""

RETRY_MAX: Final = 1.0
"""Longest such pause in seconds; each is twice the one before."""

Observer = Callable[[int, float, bytes], None]
"""Called when an answer begins: status, seconds since the request's head, path."""


Heir = Callable[[socket.socket, bytes], bool]
"""Takes a connection over: its socket, and what has been read from it already. False when it
did not, and takes no other."""


@dataclass(slots=True)
class Stats:
    """What the relay has done since it was made, as counts.

    Attributes:
        requests: requests with a whole head.
        held: requests that had to wait for a backend.
        carried: times a request was taken back from a backend and placed again.
        not_carried: requests too large to be kept.
        cut: connections aborted because an answer that had begun broke off.
        refused: requests, malformed ones included, that the relay answered with an error.
        statuses: answers by status class; index 2 counts 2xx.
    """

    requests: int = 0
    held: int = 0
    carried: int = 0
    not_carried: int = 0
    cut: int = 0
    refused: int = 0
    statuses: list[int] = field(default_factory=lambda: [0] * 10)


class Proxy:
    """Carries HTTP/1.1 between clients and the current backend.

    No request of which no response byte has reached its client is lost when the backend
    changes, closes or dies: it is kept and sent again.

    Args:
        hold_timeout: seconds a request waits for a backend before it is answered 503.
        carry_limit: bytes of one request that are kept; a larger one is not carried over.
        budget: bytes kept for all requests together.
        header_timeout: seconds in which the head of a request must arrive.
        most_clients: connections at one time; further ones are closed at once.
        clock: monotonic seconds.
        guard: sees each request's head; returns why it is refused (403), or None.
        interceptors: (method, path) to the hook that answers in the backend's place.
        observer: called when an answer begins.
        turns: keeps account of requests to models; None when CCR asks providers by itself.
        on_backend_lost: called with a generation that refuses connections, once each time
            it is found lost. Runs from the loop, not within a call of the relay.

    Attributes:
        stats: counts since the start.
        heir: takes the connections; None while they are served here.
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
        interceptors: Mapping[tuple[bytes, bytes], Interceptor] | None = None,
        observer: Observer | None = None,
        turns: TurnKeeper | None = None,
        on_backend_lost: Callable[[int], None] | None = None,
    ) -> None:
        self.hold_timeout = hold_timeout
        self.carry_limit = carry_limit
        self.budget = Budget(budget)
        self.header_timeout = header_timeout
        self.most_clients = most_clients
        self.clock = clock
        self.guard = guard
        self.turns = turns
        self.interceptors = dict(interceptors or {})
        self.stats = Stats()
        self.closing = False
        self.heir: Heir | None = None
        self.clients: set[Client] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.waiters: dict[Carriage, None] = {}
        self._observer = observer
        self._on_backend_lost = on_backend_lost
        self._current: BackendSet | None = None
        self._generations: dict[int, BackendSet] = {}
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._retrier: asyncio.TimerHandle | None = None
        self._retry: asyncio.Task[None] | None = None
        self._pause = RETRY_FIRST

    # For the supervisor.

    async def start(self, sock: socket.socket) -> None:
        """Accept clients on *sock*, a bound TCP socket, which the relay then owns."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Client(self), sock=sock, backlog=1024)

    async def adopt(self, connection: socket.socket, ahead: bytes) -> None:
        """Serve a client that another relay has accepted; *ahead* has been read from it."""
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Client(self, ahead), connection)
        except OSError:
            connection.close()

    def hand_over(self, heir: Heir) -> None:
        """Accept no more, and give each connection to *heir* unless its request is being answered.

        That is finished here; then, or should its backend be lost, the connection follows. When
        the heir takes no more, what is left is ended as by `close`, without a time limit.
        """
        self.heir = heir
        if self._server is not None:
            # Not closed yet: asyncio would drop connections that it has accepted and not made.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener)
        self._replace(None)
        for client in tuple(self.clients):
            client.pass_on()

    def disinherit(self) -> None:
        """The heir takes no more; see `hand_over`."""
        self.heir = None
        self.closing = True
        for client in tuple(self.clients):
            client.shut_down()

    async def emptied(self) -> None:
        """Wait until no client is left."""
        await self._empty.wait()

    def switch(self, backend: Backend) -> None:
        """Make *backend* the current one.

        Requests in flight finish where they are; everything else goes to *backend*.
        Raises ValueError when its generation is that of another backend.
        """
        generation = self._generations.get(backend.generation)
        if generation is None:
            generation = BackendSet(backend, self.clock, self._refused)
            self._generations[backend.generation] = generation
        elif generation.backend != backend:
            raise ValueError(f"generation {backend.generation} is another backend's")
        self._replace(generation)
        generation.retired = generation.lost = False
        generation.warm()
        self._wake()

    def hold(self) -> None:
        """Have no current backend: requests wait for the next `switch`."""
        self._replace(None)

    def retire(self, generation: int) -> None:
        """Give *generation* nothing more and take a 503 from it as "closing"."""
        known = self._generations.get(generation)
        if known is not None:
            known.retired = True
            known.cool()
            if known is self._current:
                self._replace(None)

    def in_flight(self, generation: int) -> int:
        """How many requests *generation* has whose answers are not whole."""
        known = self._generations.get(generation)
        return 0 if known is None else len(known.in_flight)

    async def drained(self, generation: int, timeout: float | None = None) -> bool:
        """Wait until *generation* has nothing in flight; False when *timeout* seconds pass."""
        known = self._generations.get(generation)
        if known is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await known.drained()
        except TimeoutError:
            return False
        return True

    def abandon(self, generation: int) -> None:
        """Take everything from *generation* now.

        Requests without a response byte are carried over; answers that have begun are cut.
        """
        self.retire(generation)
        known = self._generations.get(generation)
        if known is not None:
            for carriage in tuple(known.in_flight):
                carriage.abandon()

    def connect_failures(self, generation: int) -> int:
        """How many connections to *generation* in a row could not be made."""
        known = self._generations.get(generation)
        return 0 if known is None else known.failures

    def oldest_unanswered(self, generation: int) -> float | None:
        """Seconds since the longest silent request was given to *generation*, or None."""
        known = self._generations.get(generation)
        if known is None:
            return None
        since = [c.forwarded_at for c in known.in_flight if not c.exchange.begun]
        return self.clock() - min(since) if since else None

    async def close(self, timeout: float) -> None:
        """Stop accepting, let requests in flight finish for *timeout* seconds, then abort."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        for client in tuple(self.clients):
            client.shut_down()
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            for client in tuple(self.clients):
                client.transport.abort()
            await self._empty.wait()
        for generation in self._generations.values():
            generation.cool()
        for timer in (self._sweeper, self._retrier):
            if timer is not None:
                timer.cancel()
        if self._retry is not None:
            self._retry.cancel()
        await asyncio.sleep(0)  # aborted connections close their sockets in the next round

    # For connections.

    @property
    def available(self) -> BackendSet | None:
        """The backend that requests go to now."""
        current = self._current
        return None if current is None or current.lost else current

    def joined(self, client: Client) -> None:
        """A client has connected."""
        if self.closing or len(self.clients) >= self.most_clients:
            client.transport.abort()
            return
        self.clients.add(client)
        self._empty.clear()
        if self._sweeper is None:
            self._sweep()
        current = self.available
        if current is not None:
            current.warm()

    def left(self, client: Client) -> None:
        """A client has gone."""
        self.clients.discard(client)
        if not self.clients:
            self._empty.set()

    def wait(self, carriage: Carriage) -> None:
        """Wake *carriage* when there is a backend to try."""
        self.waiters[carriage] = None
        if self._current is not None and self._retrier is None and self._retry is None:
            self._retrier = asyncio.get_running_loop().call_later(self._pause, self._try_again)

    def observe(self, status: int, started: float, head: RequestHead | None) -> None:
        """An answer begins."""
        self.stats.statuses[status // 100] += 1
        if self._observer is not None:
            path = b"" if head is None else path_of(head.target)
            self._observer(status, self.clock() - started, path)

    # Its own.

    def _replace(self, generation: BackendSet | None) -> None:
        previous, self._current = self._current, generation
        self._pause = RETRY_FIRST
        if previous is not None and previous is not generation:
            previous.retired = True
            previous.cool()
        for client in tuple(self.clients):
            client.backend_changed(generation)
        for number, known in tuple(self._generations.items()):
            if known is not generation and not known.in_flight:
                del self._generations[number]

    def _wake(self, *, paused: bool = False) -> None:
        waiters, self.waiters = self.waiters, {}
        for carriage in waiters:
            carriage.place(paused=paused)

    def _refused(self, generation: BackendSet) -> None:
        if generation.lost:
            return
        generation.lost = True
        if self._on_backend_lost is not None:
            asyncio.get_running_loop().call_soon(
                self._on_backend_lost, generation.backend.generation
            )

    def _try_again(self) -> None:
        self._retrier = None
        if self._current is not None and self.waiters:
            self._retry = asyncio.get_running_loop().create_task(self._reach(self._current))

    async def _reach(self, generation: BackendSet) -> None:
        """One connection for all who wait, instead of one for each."""
        try:
            upstream = await generation.connect()
        except OSError:
            reached = False
            self._pause = min(2 * self._pause, RETRY_MAX)
        else:
            reached = True
            generation.lost = False
            generation.give(upstream)
        self._retry = None
        if generation is not self._current:
            return
        if reached:
            self._wake(paused=True)
        elif self.waiters:
            self._retrier = asyncio.get_running_loop().call_later(self._pause, self._try_again)

    def _sweep(self) -> None:
        self._sweeper = None
        if self.clients:  # first: whatever becomes of one client, the others are looked at again
            self._sweeper = asyncio.get_running_loop().call_later(
                self.header_timeout / 4, self._sweep
            )
        now = self.clock()
        for client in tuple(self.clients):
            if 0.0 < client.head_deadline < now:
                client.timed_out()
