"""The one way to providers: calls, and the connections that they share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Final, Self

from synccr.errors import ConfigError
from synccr.transport import connect
from synccr.transport.collector import Collector, Enough
from synccr.transport.connection import ProviderConnection
from synccr.transport.http_types import (
    Answer,
    Broken,
    CannotReach,
    Headers,
    Outgoing,
    Receiver,
    Target,
    head_of,
    target_of,
)
from synccr.transport.outbound_proxy import NamedProxy, named_proxy_for
from synccr.transport.pool import IDLE_AGE, MOST_IDLE, Key, Pool
from synccr.transport.tls import Trust, shared_trust

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for name, TCP, proxy and TLS together."""
_MOST_PROXIES: Final = 256

Failure = CannotReach | Broken


class Transport:
    """Sends requests; one for each event loop, shared by all that is sent on it.

    Follows no redirect and sends nothing again, but for one case: a connection that had served
    before and ends before a byte of an answer is replaced by a new one, once.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        environ: Mapping[str, str] = os.environ,
        connect_timeout: float = CONNECT_TIMEOUT,
        most_idle: int = MOST_IDLE,
        idle_age: float = IDLE_AGE,
        trust: Callable[[], Trust] = shared_trust,
    ) -> None:
        """Open nothing yet.

        Args:
            proxy: the profile's own, for calls that name none; may be set anew at any time.
            environ: where else proxies are named.
            connect_timeout: seconds.
            most_idle: connections that are kept for the next request.
            idle_age: seconds that they are kept.
            trust: whom to trust.
        """
        self.proxy = proxy
        self.trust = trust
        self.connect_timeout = connect_timeout
        self.pool = Pool(most_idle, idle_age)
        self.calls: set[Call] = set()
        self._environ = environ
        self._proxies: dict[tuple[str, str, int, str | None], NamedProxy | None] = {}

    def start(self, request: Outgoing, receiver: Receiver, *, proxy: str | None = None) -> Call:
        """Send a request; ``receiver`` is told of its answer, never before this returns.

        Args:
            request: what to send.
            receiver: whom to tell.
            proxy: the profile's own proxy, for this call.
        """
        return self._start(request, receiver, proxy, self.connect_timeout)

    async def fetch(
        self,
        request: Outgoing,
        *,
        timeout: float,
        limit: int,
        proxy: str | None = None,
        enough: Enough | None = None,
    ) -> Answer | CannotReach | Broken:
        """Send a request and read its answer, or the first ``limit`` bytes of it, or as much
        as is ``enough``.

        Raises:
            TimeoutError: no whole answer within ``timeout`` seconds.
        """
        collector = Collector(limit, enough)
        # Half the time at most for connecting, so that there is some for a second try.
        connect_timeout = min(self.connect_timeout, timeout / 2)
        call = self._start(request, collector, proxy, connect_timeout)
        try:
            async with asyncio.timeout(timeout):
                return await collector.done
        finally:
            call.abort()

    async def close(self) -> None:
        """End every call and connection; whoever waits is told that it was cut."""
        for call in list(self.calls):
            call.on_cut(Broken("the transport was closed", began=False), untouched=False)
        self.pool.close()
        for _ in range(2):  # the loop closes sockets in its next round, those of TLS one later
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _start(
        self, request: Outgoing, receiver: Receiver, proxy: str | None, connect_timeout: float
    ) -> Call:
        call = Call(self, request, receiver, connect_timeout)
        self.calls.add(call)
        try:
            target = target_of(request.url)
            call.begin(target, head_of(request, target), self.proxy_to(request.url, target, proxy))
        except ConfigError as error:
            call.cut_soon(CannotReach("proxy", error.what))
        except ValueError as error:
            call.cut_soon(CannotReach("address", str(error)))
        return call

    def proxy_to(self, url: str, target: Target, proxy: str | None) -> NamedProxy | None:
        """The proxy that leads there, remembered."""
        key = (target.scheme, target.host, target.port, proxy or self.proxy)
        if key not in self._proxies:
            if len(self._proxies) >= _MOST_PROXIES:
                self._proxies.clear()
            self._proxies[key] = named_proxy_for(url, self._environ, key[3])
        return self._proxies[key]


class Call:
    """One request and its answer. Made by ``Transport.start``."""

    __slots__ = (
        "_bodiless",
        "_body",
        "_connect_timeout",
        "_connecting",
        "_connection",
        "_head",
        "_key",
        "_paused",
        "_receiver",
        "_target",
        "_transport",
    )

    _target: Target
    _head: bytes
    _key: Key

    def __init__(
        self, transport: Transport, request: Outgoing, receiver: Receiver, connect_timeout: float
    ) -> None:
        self._transport = transport
        self._body = request.body
        self._bodiless = request.method == "HEAD"
        self._receiver: Receiver | None = receiver
        self._connect_timeout = connect_timeout
        self._connection: ProviderConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._paused = False

    def abort(self) -> None:
        """End the request at once, also while connecting; the receiver hears nothing more."""
        self._receiver = None
        self._leave()

    def pause(self) -> None:
        """Read no more for now; what has been read already may still come."""
        self._paused = True
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._connection is not None:
            self._connection.transport.resume_reading()

    def join_pieces(self) -> None:
        """From now on what arrives together is told as one ``body``: each costs a judgement and a
        write."""
        if self._connection is not None:
            self._connection.join_pieces()

    # ------------------------------------------------------------ for Transport

    def begin(self, target: Target, head: bytes, proxy: NamedProxy | None) -> None:
        """Send on an idle connection, or make one."""
        self._target, self._head = target, head
        self._key = (proxy, target.scheme, target.host, target.port)
        connection = self._transport.pool.acquire(self._key)
        if connection is not None:
            self._send(connection)
        else:
            self._connect()

    def cut_soon(self, failure: CannotReach) -> None:
        """Tell the receiver in the loop's next round."""
        asyncio.get_running_loop().call_soon(self._cut, failure)

    # ------------------------------------------------------------ for ProviderConnection

    def on_head(self, status: int, headers: Headers) -> None:
        self._head = self._body = b""  # never sent again from here on
        if self._receiver is not None:
            self._receiver.head(status, headers)

    def on_body(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.body(data)

    def on_end(self) -> None:
        self._connection = None
        receiver, self._receiver = self._receiver, None
        self._leave()
        if receiver is not None:
            receiver.end()

    def on_cut(self, failure: Broken, *, untouched: bool) -> None:
        if untouched and self._receiver is not None:
            self._connection = None
            self._connect()
        else:
            self._cut(failure)

    # ------------------------------------------------------------ within

    def _connect(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect_and_send())

    async def _connect_and_send(self) -> None:
        transport, key = self._transport, self._key
        try:
            connection = await connect.connect(
                self._target,
                key[0],
                make=lambda: ProviderConnection(lambda free: transport.pool.release(key, free)),
                trust=transport.trust,
                timeout=self._connect_timeout,
            )
        except connect.ConnectFailed as failed:
            self._connecting = None
            self._cut(failed.failure)
        else:
            self._connecting = None
            if connection.closed:
                detail = "the connection was cut before an answer came"
                self._cut(Broken(detail, began=False))
            else:
                self._send(connection)

    def _send(self, connection: ProviderConnection) -> None:
        self._connection = connection
        if self._paused:
            connection.transport.pause_reading()
        connection.send(self, self._head, self._body, bodiless=self._bodiless)

    def _cut(self, failure: Failure) -> None:
        receiver, self._receiver = self._receiver, None
        self._leave()
        if receiver is not None:
            receiver.cut(failure)

    def _leave(self) -> None:
        """Let go of connection and task."""
        self._transport.calls.discard(self)
        connection, self._connection = self._connection, None
        if connection is not None and connection.owner is self:
            connection.abort()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
