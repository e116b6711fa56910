"""Connections to the backend that outlive the client they were made for."""

from __future__ import annotations

import asyncio

import pytest
from proxy_kit import Seen, byte_backend, chunked, echo, request, response, stage

from synccr.proxy.backend_pool import MAX_IDLE
from synccr.proxy.forwarded_headers import closing, kept_open
from synccr.proxy.framing import RequestFramer, ResponseFramer

CLOSE = "Connection: close"


async def test_clients_that_come_and_go_share_connections() -> None:
    """Ten clients one after the other, with one request each: two connections at the backend,
    which never hears of an end; each client is told of its own."""
    async with stage() as scene:
        backend = await scene.backend()
        for turn in range(10):
            wire = await scene.wire()
            body = b"x" * turn
            await wire.send(request(f"/{turn}", body, CLOSE))
            method = b"POST" if turn else b"GET"
            head, _, answer = (await wire.rest()).partition(b"\r\n\r\n")
            assert answer == method + b" /%d HTTP/1.1|" % turn + body
            assert head.lower().endswith(b"\r\nconnection: close")
        assert [b"close" in seen.head for seen in backend.seen] == [False] * 10
        assert backend.connections <= 2


async def test_a_stream_to_a_client_that_goes() -> None:
    """A chunked answer is passed whole, and only its head says another thing."""
    body = chunked(b"one", b"two")

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"Connection: keep-alive\r\nKeep-Alive: timeout=72\r\n\r\n" + body[:7])
        await asyncio.sleep(0.01)
        writer.write(body[7:])

    async with stage() as scene:
        backend = await scene.backend(handler)
        for _ in range(3):
            wire = await scene.wire()
            await wire.send(request("/stream", b"", CLOSE))
            head, _, rest = (await wire.rest()).partition(b"\r\n\r\n")
            assert (b"connection: close" in head, rest) == (True, body)
        assert backend.connections <= 2


async def test_the_connection_of_a_client_that_has_left() -> None:
    """What a client leaves behind idle serves the next one."""
    async with stage() as scene:
        backend = await scene.backend()
        for turn in range(5):
            wire = await scene.wire()
            assert (await wire.ask(request(f"/{turn}"))).body == b"GET /%d HTTP/1.1|" % turn
            wire.leave()
            await scene.until(lambda: not scene.proxy.clients)
        assert backend.connections <= 2


async def test_no_more_connections_are_kept_than_agreed() -> None:
    """Many clients at once that leave: the surplus is closed."""
    async with stage() as scene:
        backend = await scene.backend()
        wires = [await scene.wire() for _ in range(MAX_IDLE + 8)]
        await asyncio.gather(*(wire.ask(request("/")) for wire in wires))
        for wire in wires:
            wire.leave()
        await backend.until(lambda: backend.open <= MAX_IDLE)
        assert backend.open == MAX_IDLE


async def test_a_request_that_was_not_sent_whole_leaves_no_connection() -> None:
    """An early answer, while the backend does not read on: the next request of this client,
    and of others, does not follow half a request."""

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(response(head.split()[1]))
        await reader.read()
        writer.close()

    async with byte_backend(early) as address, stage() as scene:
        scene.proxy.switch.use(address)
        wire = await scene.wire()
        message = request("/large", b"x" * 1000)
        await wire.send(message[:500])
        assert (await wire.receive()).body == b"/large"
        (client,) = scene.proxy.clients
        assert client.stream is not None
        connection = client.stream._connection
        assert connection is not None
        connection.pause_writing()  # as the loop calls it when the backend reads too slowly
        await wire.send(message[500:])
        assert (await wire.ask(request("/next"))).body == b"/next"
        assert connection.closed


async def test_a_whole_request_that_was_not_sent_whole_leaves_no_connection() -> None:
    """The same when all of the request has come, and the backend answers before it takes it."""
    go = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(response(head.split()[1]))
        await reader.read()
        writer.close()

    async with byte_backend(early) as address, stage() as scene:
        scene.proxy.switch.use(address)
        wire = await scene.wire()
        message = request("/large", b"x" * 1000)
        await wire.send(message[:500])
        await scene.until(lambda: scene.proxy.switch.in_flight(1) == 1)
        (client,) = scene.proxy.clients
        assert client.stream is not None
        connection = client.stream._connection
        assert connection is not None
        connection.pause_writing()  # as the loop calls it when the backend reads too slowly
        await wire.send(message[500:])
        await scene.until(lambda: client._framer.complete)
        go.set()
        assert (await wire.receive()).body == b"/large"
        assert connection.closed
        assert (await wire.ask(request("/next"))).body == b"/next"


async def test_a_swap_leaves_no_connection_to_the_old_backend() -> None:
    """What was kept for other clients ends when another backend serves."""
    async with stage() as scene:
        old = await scene.backend()
        wire = await scene.wire()
        await wire.send(request("/", b"", CLOSE))
        await wire.rest()
        new = await scene.backend(echo)
        await old.until(lambda: not old.open)
        wire = await scene.wire()
        assert (await wire.ask(request("/"))).body == b"GET / HTTP/1.1|"
        assert len(new.seen) == 1


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nCONNECTION: Close\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, te\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection:close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close\r\nConnection: te\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: Connection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
    ],
)
def test_only_a_plain_wish_is_kept_from_the_backend(head: bytes, expected: bool) -> None:
    """Any other form goes through as it is, and so does everything else of the message."""
    framer = RequestFramer()
    framer.feed(head)
    assert framer.head is not None
    opened = kept_open(framer.head)
    assert (opened is not None) is expected
    if opened is not None:
        after = RequestFramer()
        after.feed(opened)
        assert after.head is not None
        assert after.head.keep_alive
        assert after.head.get(b"host") == b"a"


@pytest.mark.parametrize(
    "field", [b"", b"Connection: keep-alive\r\n", b"connection: Keep-Alive\r\nX: y\r\n"]
)
def test_an_answer_that_ends_its_connection(field: bytes) -> None:
    """The head says so once, whatever it said before; the body is untouched."""
    framer = ResponseFramer()
    framer.next(bodiless=False)
    piece, _ = framer.feed(b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 2\r\n\r\nok")
    assert framer.head is not None
    after = ResponseFramer()
    after.next(bodiless=False)
    told, rest = after.feed(closing(framer.head, piece))
    assert (told.endswith(b"\r\n\r\nok"), rest) == (True, b"")
    assert after.head is not None
    assert not after.head.keep_alive
    assert after.head.count(b"connection") == 1
    assert after.complete
