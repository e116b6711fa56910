"""Connections from clients."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, cast

from synccr.proxy.framing import ProtocolError, RequestFramer, RequestHead
from synccr.proxy.handlers import Interception
from synccr.proxy.hop_headers import kept_open
from synccr.proxy.messages import (
    CONTINUE,
    Response,
    encode,
    error,
    path_of,
)
from synccr.proxy.resend import marked
from synccr.proxy.stream import Carriage

if TYPE_CHECKING:
    from synccr.proxy.backend_set import BackendConnection, BackendSet
    from synccr.proxy.server import Proxy

BACKLOG_LIMIT: Final = 64 * 1024
"""Bytes of pipelined requests that are read ahead of an answer."""

LINGER: Final = 1.0
"""Seconds in which a client that is still sending can read why it is being cut off."""

_PROBE_AGAIN: Final = 0.2
_RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Client(asyncio.Protocol):
    """One connection from a client; its requests are served one after the other.

    Attributes:
        transport: the connection itself.
        carriage: the request that is on its way, if any.
        head_deadline: clock reading by which the head being read must be whole; 0 for none.
        full: the client reads more slowly than is written to it.
    """

    __slots__ = (
        "_backlog",
        "_eof",
        "_framer",
        "_idle",
        "_interception",
        "_lingering",
        "_paused",
        "_proxy",
        "_started",
        "carriage",
        "full",
        "head_deadline",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, proxy: Proxy, ahead: bytes = b"") -> None:
        self._proxy = proxy
        self._framer = RequestFramer()
        self._idle: BackendConnection | None = None
        self._backlog = ahead
        self._interception: Interception | None = None
        self._started = 0.0
        self._eof = self._lingering = self._paused = False
        self.carriage: Carriage | None = None
        self.head_deadline = 0.0
        self.full = False

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast("asyncio.Transport", transport)
        # asyncio does it only where the listening socket was made with an explicit protocol.
        self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head_deadline = self._proxy.clock() + self._proxy.header_timeout
        self._proxy.joined(self)
        if self._proxy.heir is not None:
            asyncio.get_running_loop().call_soon(self.pass_on)
        elif self._backlog:
            asyncio.get_running_loop().call_soon(self._read_backlog)

    def data_received(self, data: bytes) -> None:
        """Bytes came from the client."""
        if self._lingering:
            return
        if self._backlog or self._framer.complete:
            self._backlog += data
            self.regulate()
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
        self._proxy.left(self)
        self._framer.close()
        self._backlog = b""
        self._drop()

    def pause_writing(self) -> None:
        """The client reads slowly: so does the relay from the backend."""
        self.full = True
        if self.carriage is not None:
            self.carriage.throttle()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.full = False
        if self.carriage is not None:
            self.carriage.throttle()
        self.pass_on()

    # Called by the carriage.

    @property
    def uploaded(self) -> bool:
        """Whether the current request has been received whole."""
        return self._framer.complete

    def take_upstream(self, generation: BackendSet) -> BackendConnection | None:
        """A connection to *generation* that is ready for a request."""
        idle, self._idle = self._idle, None
        if idle is not None:
            if idle.generation is generation and not idle.closed:
                return idle
            idle.abort()
        return generation.take()

    def begun(self, status: int) -> None:
        """The answer begins."""
        self._proxy.observe(status, self._started, self._framer.head)

    def write(self, data: bytes) -> None:
        """Pass a piece of the answer on."""
        self.transport.write(data)
        if self._eof:
            self._check_gone()

    def interim(self, data: bytes) -> None:
        """Pass an interim response on, where the client can understand it."""
        head = self._framer.head
        if head is not None and head.version == b"HTTP/1.1":
            self.transport.write(data)

    def finished(self, *, close: bool) -> None:
        """The answer is whole; *close* when its backend said that the connection ends."""
        framer, carriage = self._framer, self.carriage
        head = framer.head
        if carriage is None or head is None or not (framer.complete or close):
            return  # the rest of the request is still being sent
        close = close or not head.keep_alive
        self.carriage = None
        upstream = carriage.release()
        if upstream is not None:
            if upstream.generation is not self._proxy.available:
                upstream.abort()
            elif close:
                upstream.generation.give(upstream)
            else:
                self._idle = upstream
        self._next(close=close)

    def answer(self, response: Response) -> None:
        """Answer the current request, or what was meant to be one, in the backend's place."""
        framer, proxy = self._framer, self._proxy
        head = framer.head
        close = head is None or not head.keep_alive or not framer.complete or proxy.closing
        self._drop()
        proxy.stats.refused += response.status >= 400
        proxy.observe(response.status, self._started, head)
        bodiless = head is not None and head.method == b"HEAD"
        self.write(encode(response, close=close, bodiless=bodiless))
        self._next(close=close)

    def cut(self) -> None:
        """End the connection so that the client cannot take what it got for the whole."""
        self._proxy.stats.cut += 1
        # A reset: an ordinary end is how an answer without a length is completed.
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._drop()
        self.transport.abort()

    def regulate(self) -> None:
        """Read from the client as fast as can be passed on."""
        carriage = self.carriage
        stop = len(self._backlog) > BACKLOG_LIMIT or (carriage is not None and carriage.stuck)
        if stop is not self._paused and not self._eof:
            self._paused = stop
            if stop:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # Called by the relay.

    def backend_changed(self, generation: BackendSet | None) -> None:
        """The current backend is another one, or none."""
        if self._idle is not None and self._idle.generation is not generation:
            self._idle.abort()
            self._idle = None
        if self.carriage is not None and generation is not None:
            self.carriage.move(generation)

    def pass_on(self) -> bool:
        """Give the connection to the relay's heir; False when that cannot be done now.

        With it goes what has been read of a request that no backend is answering. Closing our
        end of a socket that another process has as well tells the client nothing.
        """
        give, carriage = self._proxy.heir, self.carriage
        if give is None or self._lingering or self.transport.is_closing():
            return False
        if self._framer.head is None:
            ahead = self._framer.partial
        elif carriage is not None and carriage.movable:
            ahead = carriage.as_sent
        else:
            return False
        if self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(0)  # `resume_writing` when all is written
            return True
        if not give(self._socket(), ahead + self._backlog):
            self._proxy.disinherit()
            return False
        self._backlog = b""
        self._drop()
        self.transport.abort()
        return True

    def timed_out(self) -> None:
        """The head took too long."""
        self.head_deadline = 0.0
        if self._framer.started:
            self._started = self._proxy.clock()
            self.answer(error(408, "The request's head did not arrive in time."))
        else:
            self.transport.close()

    def shut_down(self) -> None:
        """The relay closes: end now if nothing is in flight, else with the answer."""
        if self._framer.head is None:
            self.transport.close()
        elif self.carriage is not None and self.carriage.waiting:
            self.carriage.refuse("synccr is stopping.")

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
                self.head_deadline = self._proxy.clock() + self._proxy.header_timeout
        elif not begun:
            self._begin(head, piece)
        else:
            self._more(piece)

    def _begin(self, head: RequestHead, piece: bytes) -> None:
        proxy = self._proxy
        self.head_deadline = 0.0
        self._started = proxy.clock()
        proxy.stats.requests += 1
        if proxy.guard is not None:
            reason = proxy.guard(head.method, head.target, head)
            if reason is not None:
                self.answer(error(403, reason.decode("latin-1")))
                return
        if not self._framer.complete and len(piece) == len(head.raw):
            expect = head.get(b"expect")
            if expect is not None and head.version == b"HTTP/1.1":
                if expect.lower() != b"100-continue":
                    self.answer(error(417, "Only Expect: 100-continue is understood."))
                    return
                # Said here, and the backend's own is dropped: the client must not have to
                # wait for a backend before it sends what is to be kept for one.
                self.transport.write(CONTINUE)
        if proxy.interceptors:
            interceptor = proxy.interceptors.get((head.method, path_of(head.target)))
            if interceptor is not None:
                self._interception = Interception(self, interceptor, head)
                self._interception.append(piece)
                return
        turn = None
        if proxy.turns is not None and head.method == b"POST":
            turn = proxy.turns.begin(head, id(self))
        carriage = self.carriage = Carriage(proxy, self, head, turn)
        fields = head.raw
        if not head.keep_alive and (opened := kept_open(head)) is not None:
            carriage.closing = True
            fields = opened
        if proxy.turns is not None:
            fields = marked(head, fields, turn, proxy.turns.secret)
        if fields is not head.raw:
            carriage.sent_head = len(fields)
            piece = fields + piece[len(head.raw) :]
        carriage.buffer.append(piece)
        carriage.place()

    def _more(self, piece: bytes) -> None:
        carriage = self.carriage
        if carriage is not None:
            if piece:
                carriage.buffer.append(piece)
                carriage.pump()
            if carriage.answered:
                self.finished(close=False)
        elif self._interception is not None:
            self._interception.append(piece)

    def _malformed(self, problem: ProtocolError) -> None:
        carriage = self.carriage
        if carriage is not None and carriage.exchange.begun:
            self.cut()
        else:
            if self._framer.head is None:
                self._started = self._proxy.clock()
            self.answer(error(problem.status, problem.reason))

    # What comes after.

    def _drop(self) -> None:
        """Let go of the current request and of its backend connection."""
        interception, self._interception = self._interception, None
        if interception is not None:
            interception.release()
        carriage, self.carriage = self.carriage, None
        if carriage is not None:
            upstream = carriage.release()
            if upstream is not None:
                upstream.abort()
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.generation.give(idle)

    def _next(self, *, close: bool) -> None:
        complete = self._framer.complete
        self._framer.next()
        if self.transport.is_closing():
            return
        if close or self._proxy.closing:
            self._end(linger=not complete or bool(self._backlog))
        elif self.pass_on():
            return
        elif self._backlog:
            asyncio.get_running_loop().call_soon(self._read_backlog)
        elif self._eof:
            self.transport.close()
        else:
            self.regulate()

    def _read_backlog(self) -> None:
        data, self._backlog = self._backlog, b""
        if not data or self.transport.is_closing() or self._lingering:
            return
        self._read(data)
        self.regulate()
        if self._eof and not self._lingering:
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
        self.transport.write_eof()
        self.regulate()
        asyncio.get_running_loop().call_later(LINGER, self.transport.abort)

    # Who is still there.

    def _probe(self) -> None:
        """Tell a client that has left from one that only ended its sending side.

        Both look alike (FIN), and a request whose client has gone costs tokens for nothing.
        A superfluous interim response (RFC 9110 15.2: any client must cope with one) is
        answered with a reset by a socket that has been closed.
        """
        if self.carriage is not None and not self.carriage.exchange.begun:
            self.interim(CONTINUE)
        self._check_gone()
        asyncio.get_running_loop().call_later(_PROBE_AGAIN, self._check_gone)

    def _check_gone(self) -> None:
        if not self.transport.is_closing() and self._socket().getsockopt(
            socket.SOL_SOCKET, socket.SO_ERROR
        ):
            self.transport.abort()

    def _socket(self) -> socket.socket:
        return cast("socket.socket", self.transport.get_extra_info("socket"))
