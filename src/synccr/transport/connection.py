"""One connection to a provider: a request goes out, its answer comes in.

The judge of where an answer ends is llhttp (through httptools), the parser of Node itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from synccr.transport.http_types import HOP, Broken, Headers
from synccr.transport.inflate import ENCODINGS, Inflater, Unreadable

MAX_HEAD: Final = 64 * 1024
"""Largest head of an answer, bytes."""
_AT_ONCE: Final = 64 * 1024
"""Bodies up to this go out in one piece with the head."""
_SLICE: Final = 256 * 1024

_STALE: Final = 408
"""What a server says on a connection on which it waited too long."""


class Owner(Protocol):
    """Whose request is on a connection."""

    def on_head(self, status: int, headers: Headers) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
    def on_cut(self, failure: Broken, *, untouched: bool) -> None:
        """``untouched``: nothing of an answer came on a connection that had served before."""


class _Refused(Exception):
    """An answer that is not taken."""

    def __init__(self, failure: Broken, *, untouched: bool = False) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.untouched = untouched


class ProviderConnection(asyncio.Protocol):
    """Serves one request at a time.

    Attributes:
        owner: whose request is on it, or None.
        transport: the connection itself.
        closed: it takes nothing more.
        idle_since: clock reading of the loop when it was given back, seconds.
    """

    __slots__ = (
        "_bodiless",
        "_body",
        "_complete",
        "_excess",
        "_fields",
        "_framed",
        "_free",
        "_full",
        "_got",
        "_head_done",
        "_headers",
        "_inflater",
        "_interim",
        "_joining",
        "_keep",
        "_parser",
        "_served",
        "_size",
        "_unsent",
        "closed",
        "idle_since",
        "owner",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, free: Callable[[ProviderConnection], None]) -> None:
        self._free = free
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._served = 0
        self._full = False
        self._unsent: memoryview | None = None
        self.owner: Owner | None = None
        self.closed = False
        self.idle_since = 0.0
        self._reset(bodiless=False)

    def _reset(self, *, bodiless: bool) -> None:
        self._bodiless = bodiless
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._joining = False
        self._size = self._fields = 0
        self._inflater: Inflater | None = None
        self._framed = False
        self._got = self._head_done = self._interim = False
        self._complete = self._excess = self._keep = False

    # ------------------------------------------------------------ out

    def send(self, owner: Owner, head: bytes, body: bytes, *, bodiless: bool) -> None:
        """Put a request on this connection; ``bodiless``: its answer has a head alone."""
        self._reset(bodiless=bodiless)
        self.owner = owner
        if len(body) <= _AT_ONCE:
            self.transport.write(head + body)
            return
        self.transport.write(head)
        self._unsent = memoryview(body)
        self._pump()

    def _pump(self) -> None:
        while self._unsent and not self._full and not self.closed:
            self.transport.write(self._unsent[:_SLICE])
            self._unsent = self._unsent[_SLICE:] or None  # an empty view holds all of it

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._full = False
        self._pump()

    def join_pieces(self) -> None:
        """Have the chunks of each read come as one piece. What was packed comes as it is unpacked,
        because it may become large."""
        self._joining = True

    def abort(self) -> None:
        """Drop the connection at once, whatever is on it; nobody is told."""
        self._end()
        self.transport.abort()

    # ------------------------------------------------------------ in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.owner is None or self._parser is None:
            self.abort()  # a 408, or what nobody asked for
            return
        self._got = True
        if not self._head_done:
            self._size += len(data)
        refused: _Refused | None = None
        try:
            self._parse(self._parser, data)
            if not self._head_done and self._size > MAX_HEAD:
                raise self._too_large()
        except _Refused as error:
            refused = error
        self._hand_on()
        if refused is not None:
            self._give_up(refused.failure, untouched=refused.untouched)
        elif self._complete and self.owner is not None:
            self._finish()

    def _hand_on(self) -> None:
        """What one read brought of a body whose pieces are joined."""
        if not self._body:
            return
        body, self._body = b"".join(self._body), []
        if self.owner is None:
            return
        try:
            self.owner.on_body(body)
        except BaseException:
            self._give_up(self._broken("the receiver failed"))
            raise

    def _parse(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise _Refused(self._broken("the provider changed the protocol")) from None
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                raise cause from None
            self._give_up(self._broken("the receiver failed"))
            raise cause or error from None
        except httptools.HttpParserError:
            self._keep = False
            if not self._complete:
                raise _Refused(self._broken("what came is not HTTP/1.1")) from None

    def eof_received(self) -> None:
        """Called by the loop, which closes the connection then."""
        if self.owner is not None and self._head_done and not self._framed:
            self._keep = False
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, where TLS does not come about without ``connection_made``."""
        self._parser = None  # it refers back to this object
        how = "reset" if isinstance(exc, ConnectionError) else "cut"
        when = "before the answer was whole" if self._got else "before an answer came"
        untouched = not self._got and self._served > 0
        failure = self._broken(f"the connection was {how} {when}")
        self._tell(self._end(), failure, untouched=untouched)

    def _give_up(self, failure: Broken, *, untouched: bool = False) -> None:
        owner = self._end()
        self.transport.abort()
        self._tell(owner, failure, untouched=untouched)

    def _tell(self, owner: Owner | None, failure: Broken, *, untouched: bool) -> None:
        if owner is not None:
            owner.on_cut(failure, untouched=untouched)

    def _end(self) -> Owner | None:
        """Take nothing more; whose request was on it."""
        owner, self.owner = self.owner, None
        self.closed = True
        self._unsent = None
        return owner

    def _finish(self) -> None:
        """The answer is whole: the connection is free before anybody is told."""
        owner, self.owner = self.owner, None
        whole = self._inflater is None or self._inflater.whole
        keep = self._keep and not self._excess and not self._unsent and not self.closed
        if keep:
            self._served += 1
            self._free(self)
        else:
            self.abort()
        if owner is None:
            return
        if whole:
            owner.on_end()
        else:
            failure = self._broken("the packed answer ends too early")
            owner.on_cut(failure, untouched=False)

    def _broken(self, detail: str, *, unreadable: bool = False) -> Broken:
        return Broken(detail, began=self._head_done, unreadable=unreadable)

    def _too_large(self) -> _Refused:
        return _Refused(self._broken(f"the head of the answer is larger than {MAX_HEAD} bytes"))

    # ------------------------------------------------------------ the parser's callbacks

    def on_message_begin(self) -> None:
        """More than was asked for: the connection is not used again."""
        self._excess = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody needs."""
        if self._head_done:
            return
        self._headers.append((name.lower(), value))
        # One read of the loop may hold more than a head may have.
        self._fields += len(name) + len(value) + 4
        if self._fields > MAX_HEAD:
            raise self._too_large()

    def on_headers_complete(self) -> None:
        """The head is whole; interim ones (1xx) are passed over."""
        if self._complete or self._parser is None or self.owner is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self._headers.clear()
            return
        if status == _STALE and self._served > 0:
            raise _Refused(self._broken("the provider had closed the connection"), untouched=True)
        self._head_done = True
        self._keep = self._parser.should_keep_alive()
        self.owner.on_head(status, self._understood())
        if self._bodiless:
            self._complete, self._keep = True, False  # llhttp would wait for the body

    def _understood(self) -> Headers:
        """The headers to pass on; notes how the body is framed and packed."""
        fields = dict(self._headers)
        self._framed = b"content-length" in fields or fields.get(
            b"transfer-encoding", b""
        ).lower().endswith(b"chunked")
        encoding = fields.get(b"content-encoding", b"").strip().lower()
        dropped = HOP
        if encoding in ENCODINGS:
            self._inflater = Inflater(encoding)
            dropped = HOP | {b"content-encoding", b"content-length"}
        return [field for field in self._headers if field[0] not in dropped]

    def on_body(self, data: bytes) -> None:
        """A piece of the body, chunk marks removed."""
        if self._complete or self.owner is None:
            return
        if self._inflater is None:
            if self._joining:
                self._body.append(data)
            else:
                self.owner.on_body(data)
            return
        try:
            for piece in self._inflater.feed(data):
                if self.owner is None:  # left meanwhile
                    return
                self.owner.on_body(piece)
        except Unreadable as error:
            raise _Refused(self._broken(str(error), unreadable=True)) from None

    def on_message_complete(self) -> None:
        """The last byte of an answer, or of an interim one."""
        if self._interim:
            self._interim = False
        else:
            self._complete = True
