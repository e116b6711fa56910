"""Slow clients, slow backends, hooks and other edges of the proxy."""

from __future__ import annotations

import asyncio

import pytest
from proxy_kit import Seen, byte_backend, error_type, never, request, response, stage, status

from synccr.proxy import Proxy, Request, Response, error
from synccr.proxy.framing import MAX_HEAD, Head

BLOCK = b"x" * 100_000


async def test_a_client_that_reads_slowly() -> None:
    """What a slow client has not read stays at the backend, not in the proxy."""
    written = 0

    async def flood(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (400 * len(BLOCK)))
        for _ in range(400):
            writer.write(BLOCK)
            await writer.drain()
            written += len(BLOCK)

    async with stage() as scene:
        await scene.backend(flood)
        wire = await scene.wire()
        await wire.send(request("/flood"))
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.1)
        assert before < 300 * len(BLOCK)  # the buffers of four sockets
        (client,) = scene.proxy.clients
        assert client.transport.get_write_buffer_size() < 1_000_000
        assert len((await wire.receive()).body) == 400 * len(BLOCK)


async def test_a_slow_client_and_its_next_request() -> None:
    """A connection that was held up by a slow client is read again for the next request."""

    async def large(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(BLOCK * 60))

    async with stage() as scene:
        await scene.backend(large)
        wire = await scene.wire()
        await wire.send(request("/1") + request("/2"))
        await asyncio.sleep(0.05)
        for _ in range(2):
            assert len((await wire.receive()).body) == 60 * len(BLOCK)


async def test_a_backend_that_reads_slowly() -> None:
    """A request beyond the limit is read from its client no faster than its backend takes it."""
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        body = await reader.readexactly(400 * len(BLOCK))
        writer.write(response(b"%d" % len(body)))
        await reader.read()
        writer.close()

    proxy = Proxy(hold_timeout=5, carry_limit=500_000)
    async with byte_backend(serve, limit=1 << 10) as address, stage(proxy) as scene:
        scene.proxy.switch.use(address)
        wire = await scene.wire()
        sending = asyncio.create_task(wire.send(request("/large", BLOCK * 400)))
        await scene.until(lambda: proxy.stats.not_carried == 1)
        await asyncio.sleep(0.1)
        assert not sending.done()
        assert proxy.shared.budget.used < 2_000_000
        go.set()
        assert (await wire.receive()).body == b"40000000"
        await sending


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHos"])
async def test_a_head_that_does_not_come(sent: bytes) -> None:
    """A connection that never brings a whole head is closed, with a 408 if it had begun."""
    async with stage(Proxy(hold_timeout=5, header_timeout=0.1)) as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.send(sent)
        received = await wire.rest()
        assert received.startswith(b"HTTP/1.1 408 ") if sent else received == b""
        assert not backend.seen


async def test_a_malformed_head_just_before_its_deadline() -> None:
    """It is answered once, and the heads of others still have a deadline."""
    now = [100.0]
    async with stage(Proxy(hold_timeout=5, header_timeout=0.1, clock=lambda: now[0])) as scene:
        await scene.backend()
        other, wire = await scene.wire(), await scene.wire()
        assert status(await other.ask(request("/"))) == 200
        await scene.until(lambda: len(scene.proxy.clients) == 2)
        wire.writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD)
        assert status(await wire.receive()) == 431
        now[0] += 1
        swept = scene.proxy._sweeper
        await scene.until(lambda: scene.proxy._sweeper is not swept)
        assert await wire.rest() == b""
        await other.send(b"GET / HT")
        await scene.until(lambda: any(c.head_deadline for c in scene.proxy.clients))
        now[0] += 1
        assert status(await other.receive()) == 408


async def test_idle_connections_have_no_deadline() -> None:
    """A kept-alive connection may be idle for longer than a head may take."""
    async with stage(Proxy(hold_timeout=5, header_timeout=0.05)) as scene:
        await scene.backend()
        wire = await scene.wire()
        await wire.ask(request("/1"))
        await asyncio.sleep(0.3)
        assert status(await wire.ask(request("/2"))) == 200
        await wire.send(b"GET /3 HT")
        assert status(await wire.receive()) == 408


async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    """A client that sends megabytes after its mistake still reads why it is refused."""
    async with stage() as scene:
        await scene.backend()
        wire = await scene.wire()
        await wire.send(b"nonsense\r\n\r\n" + BLOCK * 20)
        assert status(await wire.receive()) == 400
        await wire.send(BLOCK)
        assert await wire.rest() == b""


async def test_the_guard() -> None:
    """A request that the guard refuses is answered 403 and reaches no backend."""
    seen: list[tuple[bytes, bytes, bytes | None]] = []

    def guard(method: bytes, target: bytes, head: Head) -> Response | None:
        seen.append((method, target, head.get(b"host")))
        return None if head.get(b"host") == b"localhost" else error(403, "No.")

    async with stage(Proxy(hold_timeout=5, guard=guard)) as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        refused = await wire.ask(b"GET /a HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert (status(refused), error_type(refused)) == (403, "permission_error")
        assert status(await wire.ask(request("/b?c"))) == 200
        assert seen == [(b"GET", b"/a", b"evil.example"), (b"GET", b"/b?c", b"localhost")]
        assert len(backend.seen) == 1


async def test_a_request_that_the_guard_refuses_before_its_body() -> None:
    """A refused request's body is not taken for the next request."""

    def guard(method: bytes, target: bytes, head: Head) -> Response | None:
        return error(403, "No.")

    async with stage(Proxy(hold_timeout=5, guard=guard)) as scene:
        wire = await scene.wire()
        whole = request("/a", b"GET /b HTTP/1.1\r\n\r\n")
        await wire.send(whole[:-10])
        assert status(await wire.receive()) == 403
        await wire.send(whole[-10:])
        assert await wire.rest() == b""
        assert scene.proxy.stats.requests == 1


@pytest.mark.parametrize("target", ["/api/restart", "/api/restart?x=1", "/%61pi/restart"])
@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_handler(target: str, pieces: int) -> None:
    """A handled request is collected whole and answered without a backend."""
    got: list[Request] = []

    async def restart(incoming: Request) -> Response:
        got.append(incoming)
        await asyncio.sleep(0)
        return Response(200, b'{"success":true}', headers=(("x-by", "synccr"),))

    proxy = Proxy(hold_timeout=5, handlers={(b"POST", b"/api/restart"): restart})
    async with stage(proxy) as scene:
        wire = await scene.wire()
        message = request(target, b"some body", "X-Key: k")
        step = len(message) // pieces
        for at in range(0, len(message), step):
            await wire.send(message[at : at + step])
            await asyncio.sleep(0.005)
        answer = await wire.receive()
        assert (status(answer), answer.body) == (200, b'{"success":true}')
        assert b"\r\nx-by: synccr\r\n" in answer.head
        assert (got[0].method, got[0].path, got[0].body) == (b"POST", b"/api/restart", b"some body")
        assert got[0].head.get(b"x-key") == b"k"
        assert proxy.stats.refused == 0
        await scene.backend()
        assert status(await wire.ask(request("/api/restart"))) == 200  # GET is the backend's
        assert len(got) == 1


async def test_pipelining_behind_a_handler() -> None:
    """A request that follows a handled one waits for its answer."""
    release = asyncio.Event()

    async def restart(incoming: Request) -> Response:
        await release.wait()
        return Response(200, b"own")

    proxy = Proxy(hold_timeout=5, handlers={(b"POST", b"/api/restart"): restart})
    async with stage(proxy) as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.send(request("/api/restart", b"x") + request("/next", b"y"))
        await asyncio.sleep(0.02)
        assert not backend.seen
        release.set()
        assert (await wire.receive()).body == b"own"
        assert (await wire.receive()).body.endswith(b"|y")


async def test_a_handler_that_fails() -> None:
    """A hook that raises costs its own request a 500 and nothing else, and is reported."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def broken(incoming: Request) -> Response:
        raise RuntimeError("secret detail")

    proxy = Proxy(hold_timeout=5, handlers={(b"POST", b"/x"): broken})
    async with stage(proxy) as scene:
        await scene.backend()
        wire = await scene.wire()
        answer = await wire.ask(request("/x", b"1"))
        assert status(answer) == 500
        assert b"secret" not in answer.body
        assert status(await wire.ask(request("/y", b"2"))) == 200
    assert len(reported) == 1


async def test_a_handler_gets_small_bodies_only() -> None:
    """A body that a handler would have to keep is limited."""

    async def swallow(incoming: Request) -> Response:
        return Response(200, b"{}")

    proxy = Proxy(hold_timeout=5, handlers={(b"POST", b"/x"): swallow})
    async with stage(proxy) as scene:
        wire = await scene.wire()
        await wire.send(request("/x", BLOCK * 11))
        answer = await wire.receive()
        assert (status(answer), error_type(answer)) == (413, "request_too_large")


async def test_a_client_that_leaves_a_handler() -> None:
    """When its client resets the connection, the hook's work is cancelled."""
    cancelled = asyncio.Event()

    async def slow(incoming: Request) -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    proxy = Proxy(hold_timeout=5, handlers={(b"POST", b"/x"): slow})
    async with stage(proxy) as scene:
        wire = await scene.wire()
        await wire.send(request("/x", b"1"))
        await scene.until(lambda: proxy.stats.requests == 1)
        await asyncio.sleep(0.01)
        wire.leave(reset=True)
        async with asyncio.timeout(20):
            await cancelled.wait()


async def test_a_connection_is_ready() -> None:
    """New clients find a connection ready, and one that has aged is not used."""
    now = [0.0]
    async with stage(Proxy(hold_timeout=5, clock=lambda: now[0])) as scene:
        backend = await scene.backend()
        await backend.until(lambda: backend.connections == 1)
        await (await scene.wire()).ask(request("/1"))
        await backend.until(lambda: backend.connections == 2)
        now[0] += 1000
        await (await scene.wire()).ask(request("/2"))
        await backend.until(lambda: len(backend.seen) == 2)
        assert backend.connections >= 3  # the aged one was dropped for a new one


async def test_nothing_stays_behind() -> None:
    """After its clients have left, the proxy keeps no byte, connection or request of theirs."""
    async with stage() as scene:
        backend = await scene.backend(never)
        for leave in (False, True):
            wires = [await scene.wire() for _ in range(10)]
            for wire in wires:
                await wire.send(request("/r", BLOCK))
            count = len(wires) * (1 + leave)
            await backend.until(lambda: len(backend.seen) == count)  # noqa: B023 - awaited here
            for wire in wires:
                wire.leave(reset=leave)
            await scene.until(lambda: not scene.proxy.clients)
        assert scene.proxy.shared.budget.used == 0
        assert scene.proxy.switch.in_flight(1) == 0
        assert not scene.proxy.switch.waiters
        await backend.until(lambda: backend.open <= 1)
