"""Where HTTP/1.1 messages begin and end in a stream of bytes.

The proxy passes bytes on as they came and serialises nothing again. What it has to know is where
each message ends (RFC 9112 6.3), because the next one may be for another backend. If it and the
backend disagreed about that, a part of one client's request would be read as another request
(request smuggling). So the judge is llhttp, through httptools: the parser of Node itself. What
llhttp accepts has the meaning that Node gives it; what it refuses goes no further.

*The head* ends with the first CRLF CRLF. Then there are four kinds of body:

    none            a request without length or chunks; 1xx, 204, 304; the answer to a HEAD
    counted         ``Content-Length: n``: n bytes
    chunked         ``Transfer-Encoding: chunked``: up to the empty line after the chunk of size 0
    until the close a response with neither: it ends where its connection ends (`until_close`)

llhttp's binding does not say at which byte a message ended, so it is fed pieces that a message
can only end *with*: a head alone, a counted body to its last byte, a chunked body to each CRLF
CRLF. It says when it is complete; what comes after is the next message.

*Refused*, as llhttp in Node refuses it: a length beside chunks, a second length, one that is no
number, bare CR or LF, folded fields, spaces before a colon. *Refused here beyond that*: a head
above `MAX_HEAD` (431), a version that is not 1.0 or 1.1, more than one Host, chunks in HTTP/1.0
(400: readers disagree about them), CONNECT (501: it would make a tunnel of the connection), and a
backend that changes the protocol (502). ``Upgrade`` in a request is hidden from llhttp, which
would take what follows for another protocol, and passed on: Node ignores it as well.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import httptools

MAX_HEAD: Final = 64 * 1024
"""Largest request or response head in bytes. Node's own default is 16 KiB."""

_MOST_DIGITS: Final = 20
"""Of a length in 64 bits."""

_END: Final = b"\r\n\r\n"
_VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.0")
_UPGRADE: Final = re.compile(rb"(?<=\r\n)upgrade(?=:)", re.IGNORECASE)


class ProtocolError(Exception):
    """A message that is not acceptable HTTP/1.1.

    Attributes:
        status: the HTTP status that says so to a client.
        reason: one sentence, without content of the message.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True, eq=False, repr=False)
class Head:
    """The head of one message. It may hold keys, so it has no `repr`.

    Attributes:
        raw: the bytes up to and including the empty line.
        lower: the same in lower case.
        keep_alive: whether the connection can carry another message after this one.
    """

    raw: bytes
    lower: bytes
    keep_alive: bool

    def get(self, name: bytes) -> bytes | None:
        """The value of the first header field *name* (lower case), or None."""
        return _field(self.raw, self.lower, name)

    def count(self, name: bytes) -> int:
        """How many header fields are called *name* (lower case)."""
        return self.lower.count(b"\r\n" + name + b":")

    def has(self, prefix: bytes) -> bool:
        """Whether the name of some header field begins with *prefix* (lower case)."""
        return b"\r\n" + prefix in self.lower


@dataclass(slots=True, eq=False, repr=False)
class RequestHead(Head):
    """The head of a request.

    Attributes:
        method: as sent, for example ``b"POST"``.
        target: the request target as sent, for example ``b"/v1/messages?beta=true"``.
        version: ``b"HTTP/1.1"`` or ``b"HTTP/1.0"``.
    """

    method: bytes
    target: bytes
    version: bytes


@dataclass(slots=True, eq=False, repr=False)
class ResponseHead(Head):
    """The head of a response.

    Attributes:
        status: the status code.
        until_close: the body ends where the connection ends.
    """

    status: int
    until_close: bool


class _Framer(ABC):
    """One direction of one connection, message after message.

    Attributes:
        complete: the current message has been seen to its last byte.
    """

    __slots__ = ("_keep_alive", "_left", "_parser", "_partial", "_tail", "complete")

    _parser: httptools.HttpRequestParser | httptools.HttpResponseParser | None

    def __init__(self) -> None:
        self.complete = False
        self._parser = None
        self._partial: bytearray | None = None
        self._left: int | None = None  # bytes of a counted body still to come
        self._tail = b""  # the last bytes of a chunked body, where CRLF CRLF may be cut
        self._keep_alive = True

    @property
    def started(self) -> bool:
        """Whether bytes of an incomplete head are waiting here."""
        return self._partial is not None

    @property
    def partial(self) -> bytes:
        """The bytes of an incomplete head."""
        return bytes(self._partial or b"")

    def close(self) -> None:
        """Let go of the parser, which holds this object in a reference cycle."""
        self._parser = None

    def on_headers_complete(self) -> None:
        """Callback of the parser: the only moment at which it can answer this question."""
        assert self._parser is not None  # noqa: S101 - it is calling
        self._keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """Callback of the parser."""
        self.complete = True

    def _reset(self) -> None:
        self.complete = False
        self._left = None
        self._tail = b""

    @abstractmethod
    def _read_head(self, head: bytes, data: bytes) -> int:
        """Understand *head*, which *data* begins with, and return the bytes of *data* used."""

    def _take_head(self, data: bytes) -> tuple[bytes, bytes]:
        partial = self._partial
        if partial is None:
            end = data.find(_END)
        else:
            searched = max(0, len(partial) - 3)
            partial += data
            end = partial.find(_END, searched)
            if end >= 0:
                data = bytes(partial)
                self._partial = None
        if end < 0:
            if partial is None:
                partial = self._partial = bytearray(data)
            if len(partial) > MAX_HEAD:
                raise ProtocolError(431, f"The head is larger than {MAX_HEAD} bytes.")
            return b"", b""
        end += 4
        if end > MAX_HEAD:
            raise ProtocolError(431, f"The head is larger than {MAX_HEAD} bytes.")
        size = len(data)
        used = self._read_head(data if end == size else data[:end], data)
        if used == size:
            return data, b""
        if self.complete:
            return data[:used], data[used:]
        return self._take_body(data, used)

    def _execute_with(self, head: bytes, length: int, data: bytes) -> int:
        """Feed *head* and what *data* has of a body of *length* bytes, all at once."""
        end = len(head)
        used = min(len(data), end + length)
        self._left = length - (used - end)
        self._execute(data if used == len(data) else memoryview(data)[:used])
        return used

    def _take_body(self, data: bytes, start: int) -> tuple[bytes, bytes]:
        left = self._left
        if left is None:
            return self._take_chunks(data, start)
        end = min(len(data), start + left)
        self._execute(data if end - start == len(data) else memoryview(data)[start:end])
        self._left = left - (end - start)
        return (data, b"") if end == len(data) else (data[:end], data[end:])

    def _take_chunks(self, data: bytes, start: int) -> tuple[bytes, bytes]:
        size = len(data)
        at = start
        while at < size:
            end = self._possible_end(data, start, at)
            self._execute(data if end - at == size else memoryview(data)[at:end])
            if self.complete and end < size:
                return data[:end], data[end:]
            at = end
        self._tail = (self._tail + data[start:])[-3:] if size - start < 3 else data[-3:]
        return data, b""

    def _possible_end(self, data: bytes, start: int, at: int) -> int:
        """The index after the next CRLF CRLF that ends beyond *at*, else the end of *data*."""
        if at == start and self._tail:
            cut = (self._tail + data[start : start + 3]).find(_END)
            if cut >= 0:
                return start + cut + 4 - len(self._tail)
        found = data.find(_END, max(start, at - 3))
        return len(data) if found < 0 else found + 4

    def _execute(self, data: bytes | memoryview) -> None:
        assert self._parser is not None  # noqa: S101 - set before any byte is fed
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ProtocolError(400, f"Not acceptable HTTP/1.1: {error}.") from error


class RequestFramer(_Framer):
    """Cuts what a client sends into requests.

    Attributes:
        head: the head of the current request once it is complete, else None.
    """

    __slots__ = ("head",)

    def __init__(self) -> None:
        super().__init__()
        self.head: RequestHead | None = None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the next bytes of the stream; call `next` first when `complete`.

        Returns the bytes that belong to the current request and can be passed on (none
        until its head is complete), and those after it.

        Raises ProtocolError with the status to answer.
        """
        if self.head is not None:
            return self._take_body(data, 0)
        if self._partial is None:
            # RFC 9112 2.2: empty lines before a request line are ignored.
            data = data.lstrip(b"\r\n") if data[0] in b"\r\n" else data
            if not data:
                return b"", b""
        return self._take_head(data)

    def next(self) -> None:
        """Begin with the next request."""
        self._reset()
        self.head = None

    def _read_head(self, head: bytes, data: bytes) -> int:
        lower = head.lower()
        words = head[: head.index(b"\r\n")].split()
        if len(words) != 3 or words[2] not in _VERSIONS:
            raise ProtocolError(400, "The request line is not one of HTTP/1.1 or HTTP/1.0.")
        method, target, version = words
        if method == b"CONNECT":
            raise ProtocolError(501, "CONNECT is not supported.")
        if lower.count(b"\r\nhost:") > 1:
            raise ProtocolError(400, "More than one Host.")
        if version == b"HTTP/1.0" and b"\r\ntransfer-encoding:" in lower:
            raise ProtocolError(400, "Transfer-Encoding in an HTTP/1.0 request.")
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        length = _length(head, lower)
        if b"\r\nupgrade:" in lower:
            # llhttp takes what follows for another protocol. Node ignores the field where
            # nothing listens for it (RFC 9110 7.8 allows that): the parser does not see it.
            self._execute(_UPGRADE.sub(b"x-grade", head))
            self._left = length
            used = len(head)
        elif length is not None:
            used = self._execute_with(head, length, data)
        else:
            self._execute(head)
            used = len(head)
        self.head = RequestHead(head, lower, self._keep_alive, method, target, version)
        return used


class ResponseFramer(_Framer):
    """Cuts what a backend sends into responses.

    Attributes:
        head: the head of the current response once it is complete, else None.
    """

    __slots__ = ("_bodiless", "head")

    def __init__(self) -> None:
        super().__init__()
        self.head: ResponseHead | None = None
        self._bodiless = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the next bytes of the stream; call `next` first when `complete`.

        Returns as `RequestFramer.feed`. Interim (1xx) responses are messages too.

        Raises ProtocolError when the backend does not speak HTTP/1.1.
        """
        return self._take_head(data) if self.head is None else self._take_body(data, 0)

    def next(self, *, bodiless: bool) -> None:
        """Begin with the next response; *bodiless* when it answers a HEAD request."""
        self._reset()
        self._partial = None
        self.head = None
        self._bodiless = bodiless

    def _take_body(self, data: bytes, start: int) -> tuple[bytes, bytes]:
        if self.head is not None and self.head.until_close:
            return data, b""
        return super()._take_body(data, start)

    def _read_head(self, head: bytes, data: bytes) -> int:
        if not head.startswith(_VERSIONS):
            raise ProtocolError(502, "The backend does not answer in HTTP/1.1.")
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        lower = head.lower()
        # Interim responses, 204 and 304 have no body, whatever their length says.
        bodiless = self._bodiless or head[9:10] == b"1" or head[9:12] in (b"204", b"304")
        length = None if bodiless else _length(head, lower)
        used = len(head)
        try:
            if length is None:
                self._execute(head)
            else:
                used = self._execute_with(head, length, data)
        except httptools.HttpParserUpgrade as error:
            raise ProtocolError(502, "The backend changed the protocol.") from error
        assert isinstance(self._parser, httptools.HttpResponseParser)  # noqa: S101 - made above
        status = self._parser.get_status_code()
        until_close = False
        if self._bodiless and status >= 200:
            # llhttp cannot be told that no body follows: the next message gets a new one.
            self._parser = None
            self.complete = True
            self._keep_alive = lower.startswith(b"http/1.1") and b"close" not in (
                _field(head, lower, b"connection") or b""
            )
        elif length is None and not self.complete:
            until_close = not _chunked(lower)
        self.head = ResponseHead(head, lower, self._keep_alive, status, until_close)
        return used


def _length(raw: bytes, lower: bytes) -> int | None:
    value = _field(raw, lower, b"content-length")
    # One that is not a number, or above its 64 bits, is for llhttp to refuse, with the head
    # alone; leading zeros it accepts.
    if value is None or not value.isdigit():
        return None
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else None


def _field(raw: bytes, lower: bytes, name: bytes) -> bytes | None:
    # Exact in a head that llhttp has accepted: no folding, no space before the colon.
    at = lower.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    at += len(name) + 3
    return raw[at : raw.index(b"\r\n", at)].strip(b" \t")


def _chunked(lower: bytes) -> bool:
    at = lower.rfind(b"\r\ntransfer-encoding:")
    return at >= 0 and lower[at : lower.index(b"\r\n", at + 2)].rstrip(b" \t").endswith(b"chunked")
