"""An HTTP/1.1 server on loopback: requests in, replies out, nothing known of their meaning."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Self

import httptools
import msgspec

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BACKLOG = 2048

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked body."""


class HttpRequest(msgspec.Struct, frozen=True):
    """One whole request. Header names are lower case; ``query`` is as it was sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class HttpReply(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent back: ``body`` with its length, or chunked, if given, ``pieces`` instead."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    pieces: list[bytes] | None = None

    @property
    def phrase(self) -> str:
        """The words after the status."""
        return _PHRASES.get(self.status, "Unknown")


def json_reply(status: int, body: bytes) -> HttpReply:
    """A plain answer in JSON."""
    return HttpReply(status=status, headers={"content-type": "application/json"}, body=body)


def framed(reply: HttpReply, method: str, *, keep_alive: bool) -> tuple[bytes, list[bytes]]:
    """A reply as bytes: the head, and the body in parts; a HEAD request gets none."""
    lines = [f"HTTP/1.1 {reply.status} {reply.phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if not keep_alive:
        lines.append("connection: close")
    if reply.pieces is None:
        parts = [reply.body]
        lines.append(f"content-length: {len(reply.body)}")
    else:
        parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in reply.pieces if piece] or [b""]
        parts[-1] += LAST_CHUNK
        lines.append("transfer-encoding: chunked")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head, [] if method == "HEAD" else parts


class HttpConnection(asyncio.Protocol):
    """One client connection: keep-alive, requests answered in order.

    Args:
        handle: gives the reply to a request, without waiting.
        open_connections: this connection is in there while it lives.
    """

    transport: asyncio.Transport

    def __init__(
        self, handle: Callable[[HttpRequest], HttpReply], open_connections: set[HttpConnection]
    ) -> None:
        self._handle = handle
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[HttpRequest, bool]] = deque()
        self._broken = False

    @property
    def is_busy(self) -> bool:
        """A reply is still being sent; the next request waits."""
        return False

    def send(self, reply: HttpReply, method: str, *, keep_alive: bool) -> None:
        """Send the reply to a request."""
        head, parts = framed(reply, method, keep_alive=keep_alive)
        self.transport.write(b"".join([head, *parts]))
        if not keep_alive:
            self.transport.close()

    def answer_waiting(self) -> None:
        """Answer, in order, what can be answered now."""
        while self._waiting and not (self.is_busy or self.transport.is_closing()):
            request, keep_alive = self._waiting.popleft()
            self.send(self._handle(request), request.method, keep_alive=keep_alive)
        if self._broken and not (self._waiting or self.is_busy):
            self.transport.write(_BAD_REQUEST)
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server gives
        self.transport = transport
        self._open.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._broken = True
        # Not inside the parser's callbacks, which would swallow what the handler raises.
        self.answer_waiting()

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        self._url = b""
        self.headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("ascii")
        request = HttpRequest(method, path, query, self.headers, b"".join(self._body))
        self._waiting.append((request, self._parser.should_keep_alive()))


class LocalServer(ABC):
    """Answers on 127.0.0.1; ``with`` gives it an event loop and a thread of its own.

    Args:
        port: 0 for any free one; kept over a ``stop`` and ``start``.
    """

    connection: type[HttpConnection] = HttpConnection

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[HttpConnection] = set()

    @abstractmethod
    def handle(self, request: HttpRequest) -> HttpReply:
        """The reply to a request."""

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT``, once started."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
            OverflowError: it is not a port's number.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self.connection(self.handle, self._connections),
            "127.0.0.1",
            self.port,
            backlog=_BACKLOG,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and break every connection: a server that is gone."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None
        await asyncio.sleep(0)  # the transports close their sockets in the next turn of the loop

    def __enter__(self) -> Self:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="local-server", daemon=True
        )
        self._thread.start()
        self._loop, self._done = ready.result()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        try:
            await self.start()
        except (OSError, OverflowError) as error:
            ready.set_exception(error)
            return
        done = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), done))
        await done.wait()
        await self.stop()
