"""The egress's own port: CCR's requests in, judged answers out (HTTP/1.1, loopback)."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol, cast

import httptools

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's head; CCR's has a few hundred."""

MAX_BODY: Final = 256 * 1024 * 1024
"""Bytes of a request's body, taken from who has shown the secret only."""

TIME_TO_SHOW: Final = 10.0
"""Seconds from a connection's beginning in which the secret has to be shown."""

Headers = list[tuple[bytes, bytes]]


class RequestHandler(Protocol):
    """One request that is being answered."""

    def start(self) -> None:
        """The request is whole."""
        ...

    def left(self) -> None:
        """Who asked has gone."""
        ...

    def throttle(self, *, full: bool) -> None:
        """Who asked reads more slowly than is written, or has caught up."""
        ...


class CcrConnection(asyncio.Protocol):
    """One connection from CCR; its requests are served one after the other.

    Args:
        secret: what has to be shown in the first head, and in each that follows.
        connections: holds this one while it lives.
        handler: made for each whole request.
        unproven: holds this one until it has shown the secret.
        most_unproven: beyond so many the oldest one has to go, for CCR shows it at once.

    Attributes:
        method, target, headers, body: of the current request.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        secret: bytes,
        connections: set[CcrConnection],
        handler: Callable[[CcrConnection], RequestHandler],
        unproven: dict[CcrConnection, None],
        most_unproven: int,
    ) -> None:
        self._secret = secret
        self._connections = connections
        self._unproven = unproven
        self._most_unproven = most_unproven
        self._deadline: asyncio.TimerHandle | None = None
        self._make = handler
        self._handler: RequestHandler | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._head_size = 0
        self._trusted = False
        self._reading_head = False
        self._full = False
        self.method = ""
        self._clear()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """CCR has connected, or somebody else."""
        self.transport = cast("asyncio.Transport", transport)
        sock = cast("socket.socket", transport.get_extra_info("socket"))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)
        if len(self._unproven) >= self._most_unproven:
            oldest = next(iter(self._unproven))
            oldest._settle()  # gone in a moment
            oldest.transport.abort()
        self._unproven[self] = None
        self._deadline = asyncio.get_running_loop().call_later(TIME_TO_SHOW, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone; so goes what was done for it."""
        del exc
        self._connections.discard(self)
        self._settle()
        self._parser = None  # holds this object in a reference cycle
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.left()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._parser is None or self.transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refuse(400, "No other protocol is spoken here.")
        except httptools.HttpParserError:
            self.refuse(400, "This is not HTTP/1.1.")
        else:  # a piece may hold a head and the body after it
            self._head_size += len(data) if self._reading_head else 0
            if self._head_size > MAX_HEAD:
                self.refuse(431, "The head is too large.")

    def pause_writing(self) -> None:
        """CCR reads slowly."""
        self._full = True
        if self._handler is not None:
            self._handler.throttle(full=True)

    def resume_writing(self) -> None:
        """CCR has caught up."""
        self._full = False
        if self._handler is not None:
            self._handler.throttle(full=False)

    # Called by the parser.

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._handler is not None:
            self.refuse(400, "One request at a time.")
            return
        self._reading_head = True
        self._clear()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: only who knows the secret goes on."""
        assert self._parser is not None  # noqa: S101  # it is calling
        self._reading_head = False
        self._head_size = 0
        self.method = self._parser.get_method().decode("ascii", "replace")
        shown = self.header(b"x-synccr-secret") or b""
        self._trusted = hmac.compare_digest(shown, self._secret)
        if self._trusted:
            self._settle()
        else:
            self.refuse(403, "This port is for the router that synccr runs.")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._trusted and self._size <= MAX_BODY:
            self._parts.append(body)
        elif self._trusted:
            self.refuse(413, "The body is too large.")

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._trusted or self.transport.is_closing():
            return
        self.body = b"".join(self._parts)
        self._parts.clear()
        self._handler = self._make(self)
        self._handler.start()

    # For the handler.

    def header(self, name: bytes) -> bytes | None:
        """The first header field *name* (lower case)."""
        return next((value for known, value in self.headers if known == name), None)

    def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """The whole answer."""
        head = _head(status, [*headers, (b"content-length", b"%d" % len(body))])
        self.transport.write(head + body)
        self.finished()

    def begin(self, status: int, headers: Headers, body: bytes) -> None:
        """The head of an answer and its first piece; `write` and `end` follow."""
        head = _head(status, [*headers, (b"transfer-encoding", b"chunked")])
        self.transport.write(head + _chunk(body))

    def write(self, body: bytes) -> None:
        """The next piece of an answer."""
        if body:
            self.transport.write(_chunk(body))

    def end(self, body: bytes) -> None:
        """The last piece of an answer."""
        self.transport.write(_chunk(body) + b"0\r\n\r\n")
        self.finished()

    def abort(self) -> None:
        """End the connection, so that what was passed on is not taken for the whole."""
        self._handler = None
        self.transport.abort()

    def finished(self) -> None:
        """The answer is whole; the next request may come."""
        self._handler = None
        self._clear()

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error of our own and close."""
        body = json.dumps({"error": {"message": message, "type": "synccr"}}).encode()
        fields = [(b"content-type", b"application/json"), (b"connection", b"close")]
        if not self.transport.is_closing():
            length = (b"content-length", b"%d" % len(body))
            self.transport.write(_head(status, [*fields, length]) + body)
            self.transport.close()

    @property
    def full(self) -> bool:
        """Whether CCR reads more slowly than is written to it."""
        return self._full

    def _settle(self) -> None:
        """It is CCR, or it is gone: no deadline, and no place among those that are neither."""
        self._unproven.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _clear(self) -> None:
        self.target = b""
        self.headers: Headers = []
        self.body = b""
        self._parts: list[bytes] = []
        self._size = 0


def _head(status: int, headers: Headers) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [b"HTTP/1.1 %d %b" % (status, phrase.encode()), *(b"%b: %b" % h for h in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""
