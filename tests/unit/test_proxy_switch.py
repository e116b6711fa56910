"""Moving from one backend to the next."""

from __future__ import annotations

import asyncio
import socket

import pytest
from proxy_kit import (
    TIMEOUT,
    Seen,
    after,
    chunked,
    echo,
    error_type,
    never,
    request,
    response,
    stage,
    status,
)

from synccr.proxy import BackendAddress, Proxy
from synccr.proxy.stream import State


async def test_every_client_moves_at_its_next_request() -> None:
    """After a switch, kept-alive and new connections alike get the new backend."""
    async with stage() as scene:
        first = await scene.backend()
        kept = [await scene.wire() for _ in range(3)]
        for wire in kept:
            await wire.ask(request("/1"))
        second = await scene.backend()
        for wire in [*kept, await scene.wire()]:
            await wire.ask(request("/2"))
        assert len(first.seen) == 3
        assert len(second.seen) == 4
        assert scene.proxy.stats.held == 0


async def test_idle_connections_to_the_old_backend_end() -> None:
    """A switch leaves no connection at the old backend, not even the spare one."""
    async with stage() as scene:
        first = await scene.backend()
        wire = await scene.wire()
        await wire.ask(request("/1"))
        await first.until(lambda: first.connections == 2)
        await scene.backend()
        await first.until(lambda: not first.open)


async def test_a_stream_finishes_where_it_began() -> None:
    """A stream that runs during a switch comes whole from the old backend."""
    release = asyncio.Event()

    async def stream(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await release.wait()
        writer.write(chunked(b"last"))

    async with stage() as scene:
        await scene.backend(stream)
        wire = await scene.wire()
        await wire.send(request("/s"))
        await wire.reader.readuntil(b"first\r\n")
        second = await scene.backend()
        assert scene.proxy.switch.in_flight(1) == 1
        assert not await scene.proxy.switch.drained(1, 0.02)
        draining = asyncio.create_task(scene.proxy.switch.drained(1, 20))
        release.set()
        assert await wire.reader.readuntil(b"0\r\n\r\n") == chunked(b"last")
        assert await draining
        assert scene.proxy.switch.in_flight(1) == 0
        await wire.ask(request("/next"))
        assert len(second.seen) == 1


async def test_half_a_request_moves_at_once() -> None:
    """A request still being sent does not hold the old backend up: it moves with the switch."""
    message = request("/upload", b"x" * 1000)
    async with stage() as scene:
        first = await scene.backend()
        wire = await scene.wire()
        await wire.send(message[:500])
        await scene.until(lambda: scene.proxy.switch.in_flight(1) == 1)
        second = await scene.backend()
        assert await scene.proxy.switch.drained(1, 20)
        await wire.send(message[500:])
        assert (await wire.receive()).body.endswith(b"x" * 1000)
        assert not first.seen
        assert len(second.seen) == 1


async def test_half_a_request_moves_while_its_503_is_looked_into() -> None:
    """What comes of the look at the old backend is nothing to the new one."""
    message = request("/upload", b"x" * 1000)

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(b"closing", "Connection: close", status="503 No"))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(closes, "127.0.0.1", 0) as server, stage() as scene:
        port = server.sockets[0].getsockname()[1]
        scene.proxy.switch.use(BackendAddress(7, "127.0.0.1", port))
        wire = await scene.wire()
        await wire.send(message[:500])
        async with asyncio.timeout(TIMEOUT):
            while not any(
                c.stream and c.stream.state is State.VERIFYING for c in scene.proxy.clients
            ):
                await asyncio.sleep(0)
        second = await scene.backend()
        assert await scene.proxy.switch.drained(7, TIMEOUT)
        await wire.send(message[500:])
        assert (await wire.receive()).body.endswith(b"x" * 1000)
        assert (len(second.seen), second.broken, scene.proxy.stats.carried) == (1, 0, 1)


async def test_abandon() -> None:
    """At the deadline silent requests are sent again and answers that have begun are cut."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if b"/stream" in seen.line:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await never(seen, writer)

    async with stage() as scene:
        first = await scene.backend(handler)
        silent, streaming = await scene.wire(), await scene.wire()
        await silent.send(request("/silent", b"nonce"))
        await streaming.send(request("/stream"))
        await streaming.reader.readuntil(b"first")
        await first.until(lambda: len(first.seen) == 2)
        await scene.backend()
        assert scene.proxy.switch.in_flight(1) == 2
        scene.proxy.switch.abandon(1)
        assert scene.proxy.switch.in_flight(1) == 0
        assert await scene.proxy.switch.drained(1)
        assert (await silent.receive()).body.endswith(b"nonce")
        assert b"0\r\n" not in await streaming.rest()
        assert (scene.proxy.stats.carried, scene.proxy.stats.cut) == (1, 1)


async def test_abandon_the_current_backend() -> None:
    """A hung backend that is abandoned gets nothing more; its requests wait for the next."""
    async with stage() as scene:
        first = await scene.backend(never)
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        await first.until(lambda: len(first.seen) == 1)
        scene.proxy.switch.abandon(1)
        await scene.until(lambda: scene.proxy.stats.held == 1)
        await scene.backend()
        assert (await wire.receive()).body.endswith(b"nonce")
        assert len(first.seen) == 1


async def test_new_clients_wait_for_a_backend() -> None:
    """Connections made while no backend is there are accepted and answered when one comes."""
    async with stage() as scene:
        wires = [await scene.wire() for _ in range(5)]
        for number, wire in enumerate(wires):
            await wire.send(request("/r", b"%d" % number))
        await scene.until(lambda: scene.proxy.stats.held == 5)
        await scene.backend()
        for number, wire in enumerate(wires):
            assert (await wire.receive()).body.endswith(b"|%d" % number)


async def test_hold_and_switch_back() -> None:
    """Requests wait while the proxy holds, and the same backend may be taken up again."""
    async with stage() as scene:
        backend = await scene.backend()
        wire = await scene.wire()
        await wire.ask(request("/1"))
        scene.proxy.switch.hold()
        await wire.send(request("/2", b"nonce"))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        assert len(backend.seen) == 1
        scene.proxy.switch.use(backend.address)
        assert (await wire.receive()).body.endswith(b"nonce")


async def test_one_generation_is_one_backend() -> None:
    """A generation whose requests are still known cannot be given to another backend."""
    async with stage() as scene:
        await scene.backend()
        with pytest.raises(ValueError, match="generation 1"):
            scene.proxy.switch.use(BackendAddress(1, "127.0.0.1", 9))


async def test_no_backend_in_time() -> None:
    """A request that has waited hold_timeout gets a 503 that says when to try again."""
    async with stage(Proxy(hold_timeout=0.05)) as scene:
        wire = await scene.wire()
        seen = await wire.ask(request("/r", b"x"))
        assert status(seen) == 503
        assert error_type(seen) == "overloaded_error"
        assert b"\r\nretry-after: " in seen.head
        assert scene.proxy.stats.refused == 1
        await scene.backend()
        assert (await wire.ask(request("/r", b"x"))).body.endswith(b"x")


async def test_no_backend_in_time_for_half_a_request() -> None:
    """Half a request that has waited too long is refused and its connection closed."""
    async with stage(Proxy(hold_timeout=0.05)) as scene:
        wire = await scene.wire()
        await wire.send(request("/r", b"x" * 100)[:-10])
        assert status(await wire.receive()) == 503
        assert await wire.rest() == b""


async def test_a_dead_backend_is_not_hammered() -> None:
    """However many requests wait, a backend that refuses is tried once a pause."""
    async with stage(Proxy(hold_timeout=0.5)) as scene:
        first = await scene.backend()
        await first.kill()
        wires = [await scene.wire() for _ in range(10)]
        for wire in wires:
            await wire.send(request("/r"))
        for wire in wires:
            assert status(await wire.receive()) == 503
        # 0.1, 0.2 and 0.4 s apart, and those of the first moment, each client its own at most.
        assert scene.proxy.switch.connect_failures(1) <= 2 * len(wires) + 4


async def test_the_oldest_silent_request() -> None:
    """The time since the longest unanswered request was sent is known for each backend."""
    now = [100.0]

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if b"/begin" in seen.line:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await never(seen, writer)

    async with stage(Proxy(hold_timeout=20, clock=lambda: now[0])) as scene:
        first = await scene.backend(handler)
        assert scene.proxy.switch.oldest_unanswered(1) is None
        begun = await scene.wire()
        await begun.send(request("/begin"))
        await begun.reader.readuntil(b"first")
        assert scene.proxy.switch.oldest_unanswered(1) is None
        for _ in range(2):
            await (await scene.wire()).send(request("/silent"))
            count = len(first.seen) + 1
            await first.until(lambda: len(first.seen) == count)  # noqa: B023 - awaited here
            now[0] += 10
        assert scene.proxy.switch.oldest_unanswered(1) == 20.0


async def test_close_lets_answers_finish() -> None:
    """Closing ends idle connections, lets a running answer finish and takes nothing new."""
    release = asyncio.Event()
    async with stage() as scene:
        first = await scene.backend(after(release))
        idle, busy = await scene.wire(), await scene.wire()
        await busy.send(request("/r", b"nonce"))
        await first.until(lambda: len(first.seen) == 1)
        closing = asyncio.create_task(scene.proxy.close(20))
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await scene.wire()
        release.set()
        assert (await busy.receive()).body.endswith(b"nonce")
        assert await busy.rest() == b""
        await closing


async def test_close_at_its_deadline() -> None:
    """Answers that have not finished at the deadline are aborted."""
    async with stage() as scene:
        first = await scene.backend(never)
        wire = await scene.wire()
        await wire.send(request("/r"))
        await first.until(lambda: len(first.seen) == 1)
        await scene.proxy.close(0.02)
        assert not scene.proxy.clients
        assert await wire.rest() == b""


async def test_close_refuses_what_waits() -> None:
    """A request that waits for a backend is refused when the proxy closes: none will come."""
    async with stage() as scene:
        wire = await scene.wire()
        await wire.send(request("/r"))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        await scene.proxy.close(20)
        assert status(await wire.receive()) == 503


async def test_close_refuses_what_waits_though_a_client_has_left() -> None:
    """One that the loop has not yet heard of: its connection is reset by the answer."""
    async with stage() as scene:
        wire = await scene.wire()
        await wire.send(request("/r"))
        left = socket.create_connection(("127.0.0.1", scene.port))
        left.sendall(request("/r", b"x" * 100)[:-10])
        await scene.until(lambda: scene.proxy.stats.held == 2)
        left.close()
        await scene.proxy.close(20)
        assert status(await wire.receive()) == 503


async def test_503_of_a_current_backend_that_answers_others() -> None:
    """Only the request that got a closing 503 is sent again; what is in flight stays."""
    release = asyncio.Event()

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if b"/late" in seen.line:
            first.stop_listening()
            writer.write(response(b"closing", "Connection: close", status="503 No"))
        else:
            await release.wait()
            await echo(seen, writer)

    async with stage() as scene:
        first = await scene.backend(handler)
        running, late = await scene.wire(), await scene.wire()
        await running.send(request("/running", b"a"))
        await first.until(lambda: len(first.seen) == 1)
        await late.send(request("/late", b"b"))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        await scene.backend()
        assert (await late.receive()).body.endswith(b"b")
        release.set()
        assert (await running.receive()).body.endswith(b"a")
        assert scene.proxy.stats.carried == 1


async def test_an_answer_that_ends_with_its_connection() -> None:
    """One without a length is whole when its backend ends it, and in flight no longer."""

    async def until_close(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + seen.line)
        await writer.drain()
        writer.close()

    async with stage() as scene:
        await scene.backend(until_close)
        wire = await scene.wire()
        await wire.send(request("/r"))
        assert (await wire.rest()).endswith(b"GET /r HTTP/1.1")
        assert scene.proxy.switch.in_flight(1) == 0
        assert await scene.proxy.switch.drained(1, 0.0)


async def test_other_limits() -> None:
    """They hold for the next request that comes."""
    async with stage() as scene:
        scene.proxy.set_limits(hold_timeout=0.05, carry_limit=10)
        wire = await scene.wire()
        assert status(await wire.ask(request("/r"))) == 503
        await scene.backend()
        await wire.ask(request("/r", b"x" * 100))
        assert scene.proxy.stats.not_carried == 1
