"""One backend, one client at a time: the proxy is not to be noticed."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_kit import (
    Seen,
    after,
    byte_backend,
    chunked,
    echo,
    error_type,
    never,
    request,
    response,
    stage,
    status,
)

from synccr.proxy import Proxy, Response, error
from synccr.proxy.framing import Head


async def test_requests_follow_on_one_connection() -> None:
    """Requests on a kept-alive connection share one connection to the backend."""
    async with stage() as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        for number in range(5):
            seen = await wire.ask(request("/echo", b"%d" % number))
            assert seen.body == b"POST /echo HTTP/1.1|%d" % number
        assert backend.connections <= 2  # the one in use and the idle one
        assert scene.proxy.stats.requests == 5
        assert scene.proxy.stats.statuses[2] == 5


async def test_request_and_response_pass_unchanged() -> None:
    """Every byte of a head and a body goes through as it was, in both directions."""
    answer = response(b"\x00\xff\r\n\r\n", "X-Odd:   spaced ", "set-cookie: a", "set-cookie: b")

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with stage() as scene:
        backend = await scene.backend(handler)
        wire = await scene.wire()
        message = request("/x?y=%20z", b"\x00\r\n\r\n\xff", "AUTHORIZATION:  k ", "Cookie: a")
        got = await wire.ask(message)
        assert got.head + got.body == answer
        assert backend.seen[0].head + backend.seen[0].body == message


@settings(max_examples=25, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_of_a_conversation(places: list[int]) -> None:
    """However request and response bytes are cut into reads, the conversation is the same."""
    parts = (b"a" * 40, b"\r\n\r\n", b"b")
    asked = [
        request("/1", b"x" * 70),
        request("/2"),
        request("/3", b"", "Transfer-Encoding: chunked", method="POST") + chunked(*parts),
        request("/4", method="HEAD"),
        request("/5", b"last"),
    ]
    answers = [
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + response(b"one"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*parts),
        response(b"three" * 20, status="404 Not Found"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ]

    async def trickle(writer: asyncio.StreamWriter, data: bytes) -> None:
        edges = sorted({0, len(data), *(place % len(data) for place in places)})
        for a, b in itertools.pairwise(edges):
            writer.write(data[a:b])
            await asyncio.sleep(0.0005)

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await trickle(writer, answers[int(seen.line.split()[1][1:]) - 1])

    async def run() -> None:
        async with stage() as scene:
            backend = await scene.backend(handler)
            wire = await scene.wire()
            whole = b"".join(answers)
            sending = asyncio.create_task(trickle(wire.writer, b"".join(asked)))
            async with asyncio.timeout(20):
                assert await wire.reader.readexactly(len(whole)) == whole
            await sending
            assert [seen.line for seen in backend.seen] == [a.split(b"\r\n")[0] for a in asked]
            assert backend.seen[2].body == b"".join(parts)

    asyncio.run(run())


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent at once are answered one after the other, the slow first one first."""
    release = asyncio.Event()

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in seen.line:
            await release.wait()
        await echo(seen, writer)

    async with stage() as scene:
        backend = await scene.backend(handler)
        wire = await scene.wire()
        await wire.send(request("/slow", b"1") + request("/fast", b"2") + request("/fast", b"3"))
        await backend.until(lambda: len(backend.seen) == 1)
        release.set()
        bodies = [(await wire.receive()).body.split(b"|")[1] for _ in range(3)]
        assert bodies == [b"1", b"2", b"3"]
        assert len(backend.seen) == 3


async def test_many_pipelined_requests_are_read_slowly() -> None:
    """A client that pipelines megabytes before it reads is made to wait, and gets every answer."""
    count = 40
    async with stage() as scene:
        await scene.backend()
        wire = await scene.wire()
        sending = asyncio.create_task(
            wire.send(b"".join(request("/n", b"%d" % n * 40_000) for n in range(count)))
        )
        for number in range(count):
            assert (await wire.receive()).body.endswith(b"%d" % number)
        await sending


@pytest.mark.parametrize("body_first", [True, False])
async def test_expect_continue(body_first: bool) -> None:
    """The proxy says 100 when the body has not come yet, and drops the backend's own."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01)
        await echo(seen, writer)

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        head, body = request("/e", b"body", "Expect: 100-continue").split(b"\r\n\r\n")
        if body_first:
            await wire.send(head + b"\r\n\r\n" + body)
        else:
            await wire.send(head + b"\r\n\r\n")
            assert status(await wire.receive(bodiless=True)) == 100
            await wire.send(body)
        assert (await wire.receive()).body.endswith(b"|body")


async def test_expect_of_something_else() -> None:
    """An expectation that nobody knows is refused, and the connection ends."""
    async with stage() as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.send(request("/e", b"body", "Expect: a-miracle")[:-4])
        assert status(await wire.receive()) == 417
        assert await wire.rest() == b""
        assert not backend.seen


async def test_a_chunked_upload_as_it_comes() -> None:
    """A chunked upload reaches the backend before it is whole."""
    async with stage() as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.send(request("/c", b"", "Transfer-Encoding: chunked", method="POST"))
        await scene.until(lambda: scene.proxy.switch.in_flight(1) == 1)
        body = chunked(b"one", b"two" * 50_000)
        await wire.send(body[:20])
        await wire.send(body[20:])
        assert (await wire.receive()).body == b"POST /c HTTP/1.1|one" + b"two" * 50_000
        assert len(backend.seen) == 1


async def test_an_answer_before_the_request_is_whole() -> None:
    """An early answer is passed at once; the connection goes on when the rest has come."""
    sock_answers = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(b"early", status="404 Not Found"))
        await reader.readexactly(100_000)
        sock_answers.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(b"second"))
        await reader.read()
        writer.close()

    async with byte_backend(early) as address, stage() as scene:
        scene.proxy.switch.use(address)
        wire = await scene.wire()
        message = request("/large", b"x" * 100_000)
        await wire.send(message[:500])
        assert (await wire.receive()).body == b"early"
        assert scene.proxy.switch.in_flight(1) == 1
        await wire.send(message[500:])
        assert (await wire.ask(request("/next"))).body == b"second"
        assert sock_answers.is_set()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_a_response_that_ends_with_the_connection(head: bytes) -> None:
    """A response without a length is whole when the backend closes, and so the client's end."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"all of it")
        await writer.drain()
        writer.close()

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        await wire.send(request("/old"))
        assert await wire.rest() == head + b"all of it"
        assert scene.proxy.stats.cut == 0


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (request("/", b"", "Connection: close, te"), response(b"ok")),
        (request("/"), response(b"ok", "Connection: close")),
        (request("/", version="1.0"), response(b"ok")),
    ],
)
async def test_the_end_of_a_connection(message: bytes, answer: bytes) -> None:
    """When either side announces the end, the client's connection ends after the answer."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        await wire.send(message)
        assert await wire.rest() == answer


async def test_half_close() -> None:
    """A client that has ended its side still gets its answers, pipelined ones too."""
    release = asyncio.Event()
    async with stage() as scene:
        backend = await scene.backend(after(release))
        wire = await scene.wire()
        await wire.send(request("/h", b"1", version="1.1") + request("/h", b"2"))
        wire.writer.write_eof()
        await backend.until(lambda: len(backend.seen) == 1)
        await asyncio.sleep(0.05)
        release.set()
        received = await wire.rest()
        # Interim responses may come before the first answer; any client has to cope.
        while received.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            received = received[25:]
        answers = [response(b"POST /h HTTP/1.1|%d" % number) for number in (1, 2)]
        assert received == b"".join(answers)


async def test_half_close_and_requests_that_are_refused() -> None:
    """What follows a request that the proxy answers itself is answered, too."""

    def guard(_method: bytes, target: bytes, _head: Head) -> Response | None:
        return error(403, "No.") if target == b"/no" else None

    async with stage(Proxy(hold_timeout=5, guard=guard)) as scene:
        await scene.backend()
        wire = await scene.wire()
        await wire.send(b"".join(map(request, ("/1", "/no", "/no", "/2"))))
        wire.writer.write_eof()
        received = await wire.rest()
        found = [part[:3] for part in received.split(b"HTTP/1.1 ")]
        assert [code for code in found if code > b"100"] == [b"200", b"403", b"403", b"200"]


async def test_half_close_by_an_old_client() -> None:
    """An HTTP/1.0 client that has ended its side gets its answer and nothing before it."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 103 Early\r\n\r\n" + response(b"ok"))

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        await wire.send(request("/h", version="1.0"))
        wire.writer.write_eof()
        assert await wire.rest() == response(b"ok")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("part", ["head", "body", "waiting", "streaming"])
async def test_a_client_that_leaves(part: str, reset: bool) -> None:
    """Whenever a client leaves, the backend's connection ends, so that it can stop its work."""

    async def stream(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"5\r\nevent\r\n")
            await asyncio.sleep(0.005)

    async with stage() as scene:
        backend = await scene.backend(stream if part == "streaming" else never)
        wire = await scene.wire()
        message = request("/l", b"x" * 100)
        if part == "head":
            await wire.send(message[:20])
            await asyncio.sleep(0.02)
        elif part == "body":
            await wire.send(message[:-50])
            await scene.until(lambda: scene.proxy.switch.in_flight(1) == 1)
        else:
            await wire.send(message)
            await backend.until(lambda: len(backend.seen) == 1)
            if part == "streaming":
                await wire.reader.readuntil(b"event")
        assert scene.proxy.clients
        wire.leave(reset=reset)
        await scene.until(lambda: not scene.proxy.clients)
        assert scene.proxy.switch.in_flight(1) == 0
        await backend.until(lambda: backend.broken == (part != "head"))
        assert scene.proxy.stats.carried == 0


async def test_garbage_from_the_backend() -> None:
    """Before any byte has passed, an answer that is not HTTP becomes a 502."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        seen = await wire.ask(request("/g"))
        assert status(seen) == 502
        assert error_type(seen) == "api_error"
        assert status(await wire.ask(request("/g"))) == 502  # the connection is still good
        assert scene.proxy.stats.refused == 2


async def test_garbage_within_a_response() -> None:
    """After a byte has passed, nonsense from the backend cuts the client's connection."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.02)
        writer.write(b"nonsense\r\n")

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        await wire.send(request("/g"))
        assert (await wire.rest()).endswith(b"\r\n\r\n5\r\nhello\r\n")
        assert scene.proxy.stats.cut == 1


async def test_more_than_was_asked_for() -> None:
    """Bytes after a response do not become the answer to the next request."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(seen.line) + response(b"poison"))

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        assert (await wire.ask(request("/1"))).body == b"GET /1 HTTP/1.1"
        assert (await wire.ask(request("/2"))).body == b"GET /2 HTTP/1.1"


async def test_unasked_bytes_on_an_idle_connection() -> None:
    """What a backend says unasked ends its connection; the client notices nothing."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(seen.line))
        await writer.drain()
        asyncio.get_running_loop().call_later(
            0.02, writer.write, response(b"late", status="408 Request Timeout")
        )

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        assert (await wire.ask(request("/1"))).body == b"GET /1 HTTP/1.1"
        await asyncio.sleep(0.1)
        assert (await wire.ask(request("/2"))).body == b"GET /2 HTTP/1.1"


async def test_an_upgrade_is_ignored() -> None:
    """A request that offers another protocol is answered in this one, body included."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    async with stage() as scene:
        await scene.backend()
        wire = await scene.wire()
        for number in range(2):
            seen = await wire.ask(request("/u", b"body %d" % number, *offer))
            assert seen.body == b"POST /u HTTP/1.1|body %d" % number


@pytest.mark.parametrize(
    ("message", "code", "kind"),
    [
        (b"hello\r\n\r\n", 400, "invalid_request_error"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "invalid_request_error"),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "invalid_request_error",
        ),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431, "request_too_large"),
    ],
)
async def test_a_malformed_request(message: bytes, code: int, kind: str) -> None:
    """A malformed request is answered, its connection closed, and no backend hears of it."""
    async with stage() as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.send(message + b"GET /smuggled HTTP/1.1\r\n\r\n")
        seen = await wire.receive()
        assert status(seen) == code
        assert error_type(seen) == kind
        assert b"\r\nconnection: close" in seen.head
        assert await wire.rest() == b""
        assert not backend.seen
        assert scene.proxy.stats.refused == 1


async def test_a_chunked_body_that_goes_wrong() -> None:
    """A request that becomes malformed on its way is taken from the backend and answered 400."""
    async with stage() as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.send(request("/c", b"", "Transfer-Encoding: chunked", method="POST"))
        await wire.send(b"5\r\nhello\r\n")
        await scene.until(lambda: scene.proxy.switch.in_flight(1) == 1)
        await wire.send(b"zz\r\n")
        assert status(await wire.receive()) == 400
        await backend.until(lambda: backend.broken == 1)
        assert not backend.seen


async def test_the_observer_hears_of_each_answer() -> None:
    """Status, seconds and path of each answer are reported, the proxy's own included."""
    heard: list[tuple[int, float, bytes]] = []
    proxy = Proxy(
        hold_timeout=5,
        observer=lambda *answer: heard.append(answer),
        clock=iter(range(999)).__next__,
    )
    async with stage(proxy) as scene:
        await scene.backend()
        wire = await scene.wire()
        await wire.ask(request("/v1/messages?beta=true", b"x"))
        await wire.ask(b"nonsense\r\n\r\n")
    assert [(code, path) for code, _, path in heard] == [(200, b"/v1/messages"), (400, b"")]
    assert all(seconds > 0 for _, seconds, _ in heard)
