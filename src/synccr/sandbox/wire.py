"""HTTP/1.1 server side on asyncio: requests in, replies out, nothing known of their meaning."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from http import HTTPStatus

import httptools
import msgspec


class Request(msgspec.Struct, frozen=True):
    """One whole request. Header names are lower case; ``query`` is as it was sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class End(Enum):
    """How the exchange ends."""

    COMPLETE = "complete"
    CUT = "cut"
    """Closed after half of the body, or after the last piece without the end mark."""
    STALL = "stall"
    """As much as of a cut, and then neither a byte nor a close."""
    RESET = "reset"
    """Reset before the first byte."""
    SILENT = "silent"
    """No byte ever."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent back.

    Attributes:
        body: sent with its length.
        pieces: sent chunked instead of ``body`` when given.
        delay: seconds before the first byte.
        chunk_delay: seconds between pieces.
        left: called when the client closes the connection before it has all, or while nothing
            more comes.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    pieces: list[bytes] | None = None
    delay: float = 0.0
    chunk_delay: float = 0.0
    end: End = End.COMPLETE
    left: Callable[[], None] | None = None


Handler = Callable[[Request], Reply]

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LINGER_OFF = struct.pack("ii", 1, 0)
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {529: "Site is overloaded"}


def _frames(reply: Reply, method: str, keep_alive: bool) -> list[bytes]:
    """The bytes of a reply, in the parts between which ``chunk_delay`` passes."""
    if reply.end in (End.RESET, End.SILENT):
        return []
    lines = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if not keep_alive:
        lines.append("connection: close")
    cut = reply.end in (End.CUT, End.STALL)
    if reply.pieces is None:
        parts = [reply.body[: len(reply.body) // 2] if cut else reply.body]
        lines.append(f"content-length: {len(reply.body)}")
    else:
        parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in reply.pieces if piece] or [b""]
        parts[-1] += b"" if cut else b"0\r\n\r\n"
        lines.append("transfer-encoding: chunked")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return [head] if method == "HEAD" else [head + parts[0], *parts[1:]]


class Connection(asyncio.Protocol):
    """One client connection: keep-alive, requests answered in order.

    Args:
        handle: gives the reply to a request, without waiting.
        open_connections: this connection is in there while it lives.
    """

    def __init__(self, handle: Handler, open_connections: set[Connection]) -> None:
        self._handle = handle
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._silent = False
        self._current: Reply | None = None
        self._broken = False
        self._transport: asyncio.Transport

    def abort(self) -> None:
        """Close at once."""
        self._current = None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server gives
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._open.discard(self)
        if self._playing:
            self._playing.cancel()
        if self._current and self._current.left:
            self._current.left()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._broken = True
        # Not inside the parser's callbacks, which would swallow what the handler raises.
        self._answer_waiting()

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("ascii")
        request = Request(method, path, query, self._headers, b"".join(self._body))
        self._waiting.append((request, self._parser.should_keep_alive()))

    # Answering.

    def _answer_waiting(self) -> None:
        while self._waiting and not (self._playing or self._silent or self._transport.is_closing()):
            request, keep_alive = self._waiting.popleft()
            reply = self._current = self._handle(request)
            frames = _frames(reply, request.method, keep_alive)
            if reply.delay or (reply.chunk_delay and len(frames) > 1):
                self._playing = asyncio.create_task(self._play(reply, frames, keep_alive))
            else:
                self._transport.write(b"".join(frames))
                self._finish(reply.end, keep_alive)
        if self._broken and not (self._waiting or self._playing or self._silent):
            self._transport.write(_BAD_REQUEST)
            self._transport.close()

    async def _play(self, reply: Reply, frames: list[bytes], keep_alive: bool) -> None:
        await asyncio.sleep(reply.delay)
        for position, frame in enumerate(frames):
            if position:
                await asyncio.sleep(reply.chunk_delay)
            self._transport.write(frame)
        self._playing = None
        self._finish(reply.end, keep_alive)
        self._answer_waiting()

    def _finish(self, end: End, keep_alive: bool) -> None:
        if end in (End.SILENT, End.STALL):
            self._silent = True
            return
        self._current = None
        if end is End.RESET:
            # Without lingering, closing sends RST rather than FIN.
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF
            )
            self._transport.abort()
        elif end is End.CUT or not keep_alive:
            self._transport.close()
