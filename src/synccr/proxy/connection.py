"""Connections from clients; their requests are served one after the other.

The connection reads and writes: it cuts what comes into requests, reads ahead while one is
being answered, and decides whether the connection goes on after the answer. What becomes of a
request is for its `Stream`, or for a handler that answers in the backend's place.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final, Protocol, cast

from synccr.proxy.backend_pool import BackendConnection
from synccr.proxy.framing import ProtocolError, RequestFramer, RequestHead
from synccr.proxy.handlers import HandledRequest
from synccr.proxy.own_answers import CONTINUE, Guard, Handler, Response, encode, error, path_of
from synccr.proxy.shared import Shared
from synccr.proxy.stream import Stream

BACKLOG_LIMIT: Final = 64 * 1024
"""Bytes of pipelined requests that are read ahead of an answer."""

LINGER: Final = 1.0
"""Seconds in which a client that is still sending can read why it is being cut off."""

_PROBE_AGAIN: Final = 0.2
_RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

NewOwner = Callable[[socket.socket, bytes], bool]
"""Takes a connection over: its socket, and what has been read from it already. False when it
did not, and takes no other."""


class Host(Protocol):
    """What a connection needs of its proxy.

    Attributes:
        shared: what all connections and streams have in common.
        header_timeout: seconds in which the head of a request must arrive.
        guard: sees each request's head; returns how it is refused, or None.
        handlers: (method, path) to what answers in the backend's place.
        new_owner: takes the connections; None while they are served here.
    """

    shared: Shared
    header_timeout: float
    guard: Guard | None
    handlers: dict[tuple[bytes, bytes], Handler]
    new_owner: NewOwner | None

    def joined(self, client: ClientConnection) -> None:
        """A client has connected."""

    def left(self, client: ClientConnection) -> None:
        """A client has gone."""

    def observe(self, status: int, started: float, head: RequestHead | None) -> None:
        """An answer begins."""

    def stop_handing_over(self) -> None:
        """The new owner takes no more."""


class ClientConnection(asyncio.Protocol):
    """One connection from a client.

    Args:
        host: the proxy.
        ahead: what another process has read from the client already.

    Attributes:
        transport: the connection itself.
        stream: the request that is on its way to a backend, if any.
        head_deadline: clock reading by which the head being read must be whole; 0 for none.
    """

    __slots__ = (
        "_backlog",
        "_eof",
        "_framer",
        "_full",
        "_handled",
        "_host",
        "_idle",
        "_lingering",
        "_paused",
        "_shared",
        "_started",
        "_stuck",
        "head_deadline",
        "stream",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, host: Host, ahead: bytes = b"") -> None:
        self._host = host
        self._shared = host.shared
        self._framer = RequestFramer()
        self._idle: BackendConnection | None = None  # for the next request
        self._backlog = ahead
        self._handled: HandledRequest | None = None
        self._started = 0.0
        self._eof = self._lingering = self._paused = False
        self._full = False  # the client reads more slowly than is written to it
        self._stuck = False  # the stream takes no more of its request now
        self.stream: Stream | None = None
        self.head_deadline = 0.0

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast("asyncio.Transport", transport)
        # asyncio does it only where the listening socket was made with an explicit protocol.
        self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_head()
        self._host.joined(self)
        if self._host.new_owner is not None:
            asyncio.get_running_loop().call_soon(self.hand_over)
        elif self._backlog:
            asyncio.get_running_loop().call_soon(self._read_backlog)

    def data_received(self, data: bytes) -> None:
        """Bytes came from the client."""
        if self._lingering:
            return
        if self._backlog or self._framer.complete:
            self._backlog += data
            self._regulate()
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """The client sends nothing more. It may have left, or only have said so."""
        self._eof = True
        if self._lingering:
            return False
        if self._framer.head is None:
            return bool(self._backlog)
        if not self._framer.complete:
            self.transport.abort()  # half a request cannot be answered
            return False
        self._probe()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; so goes what was done for it."""
        del exc
        self._host.left(self)
        self._framer.close()
        self._drop()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._throttle(full=True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._throttle(full=False)
        self.hand_over()

    # Called by the stream.

    def pause(self, pause: bool) -> None:
        """Whether the request must not be read on now."""
        self._stuck = pause
        self._regulate()

    def begin(self, status: int, data: bytes) -> None:
        """The answer begins."""
        self._host.observe(status, self._started, self._framer.head)
        self.write(data)

    def write(self, data: bytes) -> None:
        """Pass a piece of the answer on."""
        self.transport.write(data)
        if self._eof:
            self._check_gone()

    def finished(self, *, close: bool, idle: BackendConnection | None) -> None:
        """The answer is whole."""
        self.stream = None
        self._idle = idle
        self._next(close=close)

    def answer(self, response: Response) -> None:
        """Answer the current request, or what was meant to be one, in the backend's place."""
        framer, shared = self._framer, self._shared
        head = framer.head
        close = head is None or not head.keep_alive or not framer.complete or shared.closing
        self.stream = None
        self._drop_handled()
        shared.stats.refused += response.status >= 400
        bodiless = head is not None and head.method == b"HEAD"
        self.begin(response.status, encode(response, close=close, bodiless=bodiless))
        self._next(close=close)

    def cut(self, *, until_close: bool) -> None:
        """End the connection so that the client cannot take what it got for the whole."""
        self.stream = None
        self._shared.stats.cut += 1
        if not until_close:  # the missing rest shows; a reset could take what is on its way
            self._end(linger=True)
            return
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # Called by the proxy, too.

    def hand_over(self) -> bool:
        """Give the connection to the proxy's new owner; False when that cannot be done now.

        With it goes what has been read of a request that no backend is answering. Closing our
        end of a socket that another process has as well tells the client nothing.
        """
        give = self._host.new_owner
        if give is None or self._lingering or self.transport.is_closing():
            return False
        ahead: bytes | None = None
        if self._framer.head is None:
            ahead = self._framer.partial
        elif self.stream is not None:
            ahead = self.stream.unanswered
        if ahead is None:
            return False
        if self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(0)  # `resume_writing` when all is written
            return True
        if not give(self._socket(), ahead + self._backlog):
            self._host.stop_handing_over()
            return False
        self._drop()
        self.transport.abort()
        return True

    def head_timed_out(self) -> None:
        """The head took too long."""
        self.head_deadline = 0.0
        if self._framer.started:
            self._started = self._shared.clock()
            self.answer(error(408, "The request's head did not arrive in time."))
        else:
            self.transport.close()

    def shut_down(self) -> None:
        """The proxy closes: end now if nothing is in flight, else with the answer."""
        if self._framer.head is None:
            self.transport.close()
        elif self.stream is not None:
            self.stream.shut_down()

    # What comes in.

    def _read(self, data: bytes) -> None:
        framer, begun = self._framer, self._framer.head is not None
        try:
            piece, rest = framer.feed(data)
        except ProtocolError as problem:
            self._malformed(problem)
            return
        if rest:
            self._backlog = rest
        head = framer.head
        if head is None:
            if framer.started and not self.head_deadline:
                self._expect_head()
        elif not begun:
            self._begin(head, piece)
        elif self.stream is not None:
            self.stream.receive(piece, whole=framer.complete)
        elif self._handled is not None:
            self._handled.receive(piece, whole=framer.complete)

    def _expect_head(self) -> None:
        self.head_deadline = self._shared.clock() + self._host.header_timeout

    def _begin(self, head: RequestHead, piece: bytes) -> None:
        host, shared, whole = self._host, self._shared, self._framer.complete
        self.head_deadline = 0.0
        self._started = shared.clock()
        shared.stats.requests += 1
        awaited = not whole and len(piece) == len(head.raw) and head.version == b"HTTP/1.1"
        expect = head.get(b"expect") if awaited else None
        refusal = self._refusal(head, expect)
        if refusal is not None:
            self.answer(refusal)
            return
        if expect is not None:
            # Said here, and the backend's own is dropped: the client must not have to
            # wait for a backend before it sends what is to be kept for one.
            self.transport.write(CONTINUE)
        if host.handlers:
            handler = host.handlers.get((head.method, path_of(head.target)))
            if handler is not None:
                self._handled = HandledRequest(handler, head, self.answer)
                self._handled.receive(piece, whole=whole)
                return
        idle, self._idle = self._idle, None
        self.stream = Stream(self, shared, head, idle, client_full=self._full)
        self.stream.start(piece, whole=whole)

    def _refusal(self, head: RequestHead, expect: bytes | None) -> Response | None:
        guard = self._host.guard
        refused = None if guard is None else guard(head.method, head.target, head)
        if refused is not None:
            return refused
        if expect is not None and expect.lower() != b"100-continue":
            return error(417, "Only Expect: 100-continue is understood.")
        return None

    def _malformed(self, problem: ProtocolError) -> None:
        if self.stream is not None:
            self.stream.fail(problem.status, problem.reason)
            return
        if self._framer.head is None:
            self._started = self._shared.clock()
        self.answer(error(problem.status, problem.reason))

    # How fast.

    def _throttle(self, *, full: bool) -> None:
        self._full = full
        if self.stream is not None:
            self.stream.throttle(client_full=full)

    def _regulate(self) -> None:
        """Read from the client as fast as can be passed on."""
        stop = self._stuck or len(self._backlog) > BACKLOG_LIMIT
        if stop is not self._paused and not self._eof:
            self._paused = stop
            if stop:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # What comes after.

    def _drop(self) -> None:
        """Let go of everything that was done for this client."""
        self._backlog = b""
        self._drop_handled()
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.pool.release(idle)

    def _drop_handled(self) -> None:
        handled, self._handled = self._handled, None
        if handled is not None:
            handled.close()

    def _next(self, *, close: bool) -> None:
        self._stuck = False
        complete = self._framer.complete
        self._framer.next()
        if self.transport.is_closing():
            return
        if close or self._shared.closing:
            self._end(linger=not complete or bool(self._backlog))
        elif self.hand_over():
            return
        elif self._backlog:
            asyncio.get_running_loop().call_soon(self._read_backlog)
        elif self._eof:
            self.transport.close()
        else:
            self._regulate()

    def _read_backlog(self) -> None:
        data, self._backlog = self._backlog, b""
        if not data or self.transport.is_closing() or self._lingering:
            return
        self._read(data)
        self._regulate()
        if self._eof and not self._lingering and not self._backlog:
            if self._framer.head is None:
                self.transport.close()
            elif not self._framer.complete:
                self.transport.abort()

    def _end(self, *, linger: bool) -> None:
        self.head_deadline = 0.0  # a malformed head has one, and is answered by now
        if not linger or self._eof:
            self.transport.close()
            return
        # Closing with bytes unread resets the connection, and the answer is lost with it.
        self._lingering = True
        self._backlog = b""
        try:
            self.transport.write_eof()
        except OSError:  # it has left, and answered the answer with a reset
            self.transport.abort()
            return
        self._regulate()
        asyncio.get_running_loop().call_later(LINGER, self.transport.abort)

    # Who is still there.

    def _probe(self) -> None:
        """Tell a client that has left from one that only ended its sending side.

        Both look alike (FIN), and a request whose client has gone costs tokens for nothing.
        A superfluous interim response (RFC 9110 15.2: any client must cope with one) is
        answered with a reset by a socket that has been closed.
        """
        head, stream = self._framer.head, self.stream
        silent = stream is not None and stream.silent_since is not None
        if silent and head is not None and head.version == b"HTTP/1.1":
            self.transport.write(CONTINUE)
        self._check_gone()
        asyncio.get_running_loop().call_later(_PROBE_AGAIN, self._check_gone)

    def _check_gone(self) -> None:
        if not self.transport.is_closing() and self._socket().getsockopt(
            socket.SOL_SOCKET, socket.SO_ERROR
        ):
            self.transport.abort()

    def _socket(self) -> socket.socket:
        return cast("socket.socket", self.transport.get_extra_info("socket"))
