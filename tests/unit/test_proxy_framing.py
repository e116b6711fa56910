"""Where messages begin and end, whatever way the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.proxy.framing import MAX_HEAD, ProtocolError, RequestFramer, ResponseFramer

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS = [
    GET,
    b"POST /b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:\t0 \r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"8\r\n\r\n\r\n\r\n\r\n\r\n4;x=y\r\nG\r\n\r\r\n0\r\nTrailer: t\r\n\r\n"
    ),
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc",
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nupgrade: a\r\nConnection: upgrade\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    ),
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\na\r\n\r\nb\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nno",
]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a != b]


def split(framer: RequestFramer | ResponseFramer, reads: list[bytes]) -> list[bytes]:
    """The messages that *framer* finds in *reads*, each as its own bytes."""
    messages, current = [], b""
    for data in reads:
        rest = data
        while rest:
            piece, rest = framer.feed(rest)
            current += piece
            if framer.complete:
                messages.append(current)
                current = b""
                if isinstance(framer, ResponseFramer):
                    framer.next(bodiless=False)
                else:
                    framer.next()
    assert not current
    assert not framer.started
    return messages


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5), st.lists(st.integers(0, 999)))
def test_requests_any_cut(messages: list[bytes], places: list[int]) -> None:
    """Pipelined requests come apart at the same bytes however they are read."""
    assert split(RequestFramer(), cut(b"".join(messages), places)) == messages


@given(st.lists(st.sampled_from(RESPONSES), min_size=1, max_size=5), st.lists(st.integers(0, 999)))
def test_responses_any_cut(messages: list[bytes], places: list[int]) -> None:
    """Responses, interim ones included, come apart at the same bytes however they are read."""
    assert split(ResponseFramer(), cut(b"".join(messages), places)) == messages


@pytest.mark.parametrize("message", REQUESTS)
def test_requests_byte_by_byte(message: bytes) -> None:
    """A request that comes one byte at a time is the same request."""
    assert split(RequestFramer(), [bytes([byte]) for byte in message + message]) == [message] * 2


@given(
    st.lists(st.binary(min_size=1, max_size=40).map(lambda b: b.replace(b"a", b"\r\n")), max_size=6)
)
def test_chunks_with_line_ends(parts: list[bytes]) -> None:
    """Chunk data full of line ends does not end the message early."""
    body = b"".join(b"%X\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    message = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert split(RequestFramer(), [message + GET]) == [message, GET]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"SOURCE / ICE/1.0\r\n\r\n", 400),
        (b"FETCH / HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\nContent-Length: 5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD, 431),
    ],
)
def test_refused_requests(message: bytes, status: int) -> None:
    """A request that two parsers could read in two ways is refused, read at once or in bytes."""
    for reads in ([message], [message[i : i + 1] for i in range(len(message))]):
        with pytest.raises(ProtocolError) as caught:
            split(RequestFramer(), reads)
        assert caught.value.status == status


@pytest.mark.parametrize(
    "message",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * MAX_HEAD,
    ],
)
def test_refused_responses(message: bytes) -> None:
    """A response that is not plain HTTP/1.1, a changed protocol included, is refused."""
    with pytest.raises(ProtocolError):
        split(ResponseFramer(), [message])


def test_request_head() -> None:
    """A head gives method, target, version and single fields, whatever their case."""
    framer = RequestFramer()
    framer.feed(b"\r\n\r\nPUT /p?q HTTP/1.0\r\nHOST: Example\r\nX-A:  b \r\n\r\n")
    head = framer.head
    assert head is not None
    assert (head.method, head.target, head.version) == (b"PUT", b"/p?q", b"HTTP/1.0")
    assert head.get(b"host") == b"Example"
    assert head.get(b"x-a") == b"b"
    assert head.get(b"a") is None
    assert not head.keep_alive


@pytest.mark.parametrize(
    ("message", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nconnection: x, CLOSE\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_request_keep_alive(message: bytes, keep_alive: bool) -> None:
    """The version and the Connection field decide whether another request may follow."""
    framer = RequestFramer()
    framer.feed(message)
    assert framer.head is not None
    assert framer.head.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("message", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
    ],
)
def test_answers_to_head(message: bytes, keep_alive: bool) -> None:
    """The answer to HEAD ends with its head, and the next answer is read from there."""
    framer = ResponseFramer()
    framer.next(bodiless=True)
    assert framer.feed(message) == (message, b"")
    assert framer.complete
    assert framer.head is not None
    assert framer.head.keep_alive is keep_alive
    framer.next(bodiless=False)
    assert split(framer, [RESPONSES[0], RESPONSES[2]]) == [RESPONSES[0], RESPONSES[2]]


def test_interim_before_an_answer_to_head() -> None:
    """An interim response does not use up that no body follows."""
    framer = ResponseFramer()
    framer.next(bodiless=True)
    _, rest = framer.feed(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    framer.next(bodiless=True)
    framer.feed(rest)
    assert framer.complete


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_until_close(head: bytes) -> None:
    """A response without a length is never complete: its connection ends it."""
    framer = ResponseFramer()
    assert framer.feed(head + b"abc") == (head + b"abc", b"")
    assert framer.feed(b"\r\n0\r\n\r\n") == (b"\r\n0\r\n\r\n", b"")
    assert not framer.complete
    assert framer.head is not None
    assert framer.head.until_close
    assert not framer.head.keep_alive
