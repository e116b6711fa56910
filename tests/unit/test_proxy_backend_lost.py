"""Backends that die, close or hang, and what becomes of the requests they had."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_kit import (
    Handler,
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

from ports import free_port
from synccr.proxy import BackendAddress, Proxy
from synccr.proxy.backend_pool import BackendConnection, BackendPool
from synccr.proxy.exchange import MAX_SENDS

CLOSING = response(b'{"error":"Service Unavailable"}', "Connection: close", status="503 No")


async def test_a_request_whose_backend_is_killed() -> None:
    """A request that had no response byte is answered by the next backend, on its connection."""
    async with stage() as scene:
        first = await scene.backend(never)
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        await first.until(lambda: len(first.seen) == 1)
        await first.kill()
        await scene.until(lambda: scene.proxy.stats.held == 1)
        second = await scene.backend()
        assert (await wire.receive()).body == b"POST /r HTTP/1.1|nonce"
        assert second.seen == first.seen
        assert scene.proxy.stats.carried >= 1
        assert (await wire.ask(request("/r", b"again"))).body.endswith(b"again")


async def test_a_request_whose_backend_is_killed_after_part_of_a_head() -> None:
    """A response head that breaks off has not reached the client, so the request is sent again."""

    async def half(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-")
        await writer.drain()
        await never(seen, writer)

    async with stage() as scene:
        first = await scene.backend(half)
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        await first.until(lambda: len(first.seen) == 1)
        await asyncio.sleep(0.02)
        await first.kill()
        await scene.backend()
        assert (await wire.receive()).body == b"POST /r HTTP/1.1|nonce"


@pytest.mark.parametrize("head", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_an_answer_that_breaks_off(head: str) -> None:
    """An answer that has begun is cut: its client gets what came of it, nothing is appended, and
    the connection ends before the answer does."""

    async def begin(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + b"3\r\nabc\r\n")
        await never(seen, writer)

    async with stage() as scene:
        first = await scene.backend(begin)
        wire = await scene.wire()
        await wire.send(request("/r"))
        await wire.reader.readuntil(b"abc\r\n")
        await scene.backend()
        await first.kill()
        assert await wire.rest() == b""
        assert scene.proxy.stats.cut == 1
        assert scene.proxy.stats.carried == 0


async def test_an_unbounded_answer_that_breaks_off() -> None:
    """An answer without a length whose backend resets the connection does not look whole."""

    async def begin(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\npart")
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await asyncio.sleep(0.02)
        writer.transport.abort()

    async with stage() as scene:
        await scene.backend(begin)
        wire = await scene.wire()
        await wire.send(request("/r"))
        with pytest.raises(ConnectionResetError):
            await wire.rest()


async def test_an_idle_connection_survives_its_backend() -> None:
    """A client that was idle when its backend was killed finds the next one by itself."""
    async with stage() as scene:
        first = await scene.backend()
        wire = await scene.wire()
        await wire.ask(request("/1"))
        await first.kill()
        asking = asyncio.create_task(wire.ask(request("/2", b"nonce")))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        await scene.backend()
        assert (await asking).body.endswith(b"nonce")
        assert scene.proxy.stats.carried == 0


async def test_the_race_with_a_backend_that_closes_idle_connections() -> None:
    """A connection that its backend closes as a request comes is made again at once."""

    async def once(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len([s for s in backend.seen if s.line == seen.line]) == 1 and b"/2" in seen.line:
            writer.transport.abort()
        else:
            await echo(seen, writer)

    async with stage() as scene:
        backend = await scene.backend(once)
        wire = await scene.wire()
        await wire.ask(request("/1"))
        assert (await wire.ask(request("/2", b"nonce"))).body.endswith(b"nonce")
        assert scene.proxy.stats.carried == 1
        assert scene.proxy.stats.held == 0


async def test_a_backend_that_never_answers_properly() -> None:
    """A living backend that drops a request each time gets it a few times, then 502 is said."""

    async def drop(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with stage() as scene:
        backend = await scene.backend(drop)
        wire = await scene.wire()
        seen = await wire.ask(request("/r", b"nonce"))
        assert status(seen) == 502
        assert len(backend.seen) == MAX_SENDS


async def test_a_request_that_kills_every_backend() -> None:
    """A request that has seen three backends die is answered 502 and spares the fourth."""
    async with stage() as scene:
        wire = await scene.wire()
        await wire.send(request("/poison", b"x"))
        for _ in range(3):
            backend = await scene.backend(never)
            await backend.until(lambda: len(backend.seen) == 1)  # noqa: B023 - awaited here
            await backend.kill()
        last = await scene.backend()
        assert status(await wire.receive()) == 502
        assert not last.seen
        assert (await wire.ask(request("/fine", b"x"))).body.endswith(b"x")


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("closes", [True, False])
async def test_503_of_the_current_backend(listening: bool, closes: bool) -> None:
    """A 503 is the answer, unless it ends its connection and nobody listens any more."""
    answer = CLOSING if closes else response(b"busy", status="503 No")

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if not listening:
            first.stop_listening()
        writer.write(answer)
        if closes:
            await writer.drain()
            writer.close()

    async with stage() as scene:
        first = await scene.backend(handler)
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        if closes and not listening:
            await scene.until(lambda: scene.proxy.stats.held == 1)
            await scene.backend()
            assert (await wire.receive()).body.endswith(b"nonce")
            assert scene.proxy.stats.carried == 1
        else:
            got = await wire.receive()
            assert got.head + got.body == answer
            assert scene.proxy.stats.carried == 0


async def test_a_large_503_is_passed_whole() -> None:
    """A 503 that is held back for a look at its backend then comes whole."""
    body = b"x" * 1_000_000

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body, "Connection: close", status="503 No"))
        await writer.drain()
        writer.close()

    async with stage() as scene:
        await scene.backend(handler)
        wire = await scene.wire()
        assert (await wire.ask(request("/r"))).body == body


@pytest.mark.parametrize("how", ["retire", "switch", "hold"])
async def test_503_of_a_backend_that_is_no_longer_current(how: str) -> None:
    """A backend whose time is over says 503 because it closes: the request is sent again."""
    release = asyncio.Event()
    async with stage() as scene:
        first = await scene.backend(after(release, response(b"busy", status="503 No")))
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        await first.until(lambda: len(first.seen) == 1)
        second = await scene.backend(switch=how == "switch")
        if how == "retire":
            scene.proxy.switch.retire(1)
        elif how == "hold":
            scene.proxy.switch.hold()
        release.set()
        await scene.until(lambda: scene.proxy.stats.carried == 1)
        if how != "switch":
            scene.proxy.switch.use(second.address)
        assert (await wire.receive()).body.endswith(b"nonce")


async def test_other_answers_of_an_old_backend_are_passed() -> None:
    """After a switch the answer of the old backend is as good as any."""
    release = asyncio.Event()
    async with stage() as scene:
        first = await scene.backend(after(release, response(b"old", status="529 Overloaded")))
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        await first.until(lambda: len(first.seen) == 1)
        await scene.backend()
        release.set()
        assert (await wire.receive()).body == b"old"
        assert (await wire.ask(request("/r", b"new"))).body.endswith(b"new")


async def test_a_body_that_comes_while_its_backends_die() -> None:
    """A request still on its way is sent again too, and reaches one backend whole."""
    message = request("/slow", b"a" * 300 + b"b" * 300 + b"c" * 300)
    async with stage() as scene:
        wire = await scene.wire()
        for end in (400, 700):
            backend = await scene.backend()
            await wire.send(message[end - 300 : end] if end > 400 else message[:end])
            await scene.until(lambda: scene.proxy.switch.in_flight(len(scene.backends)) == 1)
            await backend.kill()
        last = await scene.backend()
        await wire.send(message[700:])
        assert (await wire.receive()).body.endswith(b"c" * 300)
        assert last.seen[0].body == message.split(b"\r\n\r\n", 1)[1]


async def test_a_large_request_is_sent_again() -> None:
    """20 MB, sent while no backend is there and then lost by the first one, arrive whole."""
    body = bytes(range(256)) * (20 * 4096)
    async with stage() as scene:
        wire = await scene.wire()
        sending = asyncio.create_task(wire.send(request("/large", body)))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        first = await scene.backend(never)
        await first.until(lambda: len(first.seen) == 1)
        await first.kill()
        second = await scene.backend(_length)
        assert (await wire.receive()).body == b"%d" % len(body)
        assert second.seen[0].body == body
        await sending


async def _length(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(b"%d" % len(seen.body)))


@pytest.mark.parametrize("lost", [False, True])
async def test_a_request_beyond_the_limit(lost: bool) -> None:
    """A request larger than the limit passes through, counted; a lost one is answered 502."""
    body = b"x" * 3_000_000
    proxy = Proxy(hold_timeout=20, carry_limit=1_000_000)
    async with stage(proxy) as scene:
        first = await scene.backend(never if lost else _length)
        wire = await scene.wire()
        await wire.send(request("/large", body))
        await first.until(lambda: len(first.seen) == 1)
        assert proxy.stats.not_carried == 1
        assert proxy.shared.budget.used < 1_000_000
        if lost:
            await first.kill()
            await scene.backend()
            seen = await wire.receive()
            assert (status(seen), error_type(seen)) == (502, "api_error")
            assert proxy.stats.carried == 0
        else:
            assert (await wire.receive()).body == b"3000000"


async def test_a_request_beyond_the_limit_waits_too() -> None:
    """While no backend is there a large request is read to its limit, and later arrives whole."""
    body = b"x" * 8_000_000
    proxy = Proxy(hold_timeout=20, carry_limit=1_000_000)
    async with stage(proxy) as scene:
        wire = await scene.wire()
        sending = asyncio.create_task(wire.send(request("/large", body)))
        await scene.until(lambda: proxy.shared.budget.used > 1_000_000)
        await asyncio.sleep(0.05)
        assert proxy.shared.budget.used < 2_000_000
        await scene.backend(_length)
        assert (await wire.receive()).body == b"8000000"
        await sending


async def test_the_budget_of_all_requests() -> None:
    """When the budget for all requests is spent, newer ones pass through without being kept."""
    proxy = Proxy(hold_timeout=20, budget=1_000_000)
    async with stage(proxy) as scene:
        first = await scene.backend(never)
        wires = [await scene.wire() for _ in range(3)]
        for number, wire in enumerate(wires, 1):
            await wire.send(request("/r", b"x" * 600_000))
            await first.until(lambda: len(first.seen) == number)  # noqa: B023 - awaited here
        assert proxy.stats.not_carried == 2
        assert proxy.shared.budget.used < 1_000_000
        await first.kill()
        await scene.backend(_length)
        answers = [status(await wire.receive()) for wire in wires]
        assert answers == [200, 502, 502]


async def test_a_client_that_leaves_while_it_waits() -> None:
    """A request whose client has gone is not sent to the next backend."""
    async with stage() as scene:
        wire = await scene.wire()
        await wire.send(request("/gone", b"x"))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        wire.leave()
        await scene.until(lambda: not scene.proxy.clients)
        backend = await scene.backend()
        other = await scene.wire()
        await other.ask(request("/here"))
        assert [seen.line for seen in backend.seen] == [b"GET /here HTTP/1.1"]


STEPS = st.lists(
    st.sampled_from(["ask", "kill", "switch", "abandon", "finish", "hold"]), min_size=3, max_size=14
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, slow=st.lists(st.booleans(), min_size=14, max_size=14))
def test_no_request_is_lost(steps: list[str], slow: list[bool]) -> None:
    """Swaps, kills and drains in any order: each request gets one answer, and it is its own.

    Fewer backends die under one request than the proxy allows, so none may fail.
    """

    async def run() -> None:
        gate = asyncio.Event()

        def handler(late: bool) -> Handler:
            async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
                if late:
                    await gate.wait()
                body = seen.body
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(chunked(body))

            return answer

        async with stage() as scene:
            asked: list[tuple[bytes, asyncio.Task[Seen]]] = []
            lost = 0
            await scene.backend(handler(slow[0]))
            for number, step in enumerate(steps):
                current = scene.backends[-1]
                if step == "ask":
                    nonce = b"nonce-%d" % number
                    wire = await scene.wire()
                    asked.append((nonce, asyncio.create_task(wire.ask(request("/r", nonce)))))
                elif step == "finish":
                    gate.set()
                    await asyncio.sleep(0.005)
                    gate.clear()
                elif step == "hold":
                    scene.proxy.switch.hold()
                elif step == "switch":
                    await scene.backend(handler(slow[number]))
                elif lost < 2:
                    lost += 1
                    if step == "kill":
                        await current.kill()
                    else:
                        scene.proxy.switch.abandon(current.generation)
                    await scene.backend(handler(slow[number]))
                await asyncio.sleep(0.002)
            await scene.backend(handler(False))
            gate.set()
            for nonce, task in asked:
                answer = await task
                assert (status(answer), answer.body) == (200, nonce)
            await scene.idle()

    asyncio.run(run())


async def test_a_backend_lost_is_reported_once() -> None:
    """The supervisor hears at once that a backend refuses connections, and only once."""
    lost: list[int] = []
    proxy = Proxy(hold_timeout=20, on_backend_lost=lost.append)
    async with stage(proxy) as scene:
        first = await scene.backend()
        wires = [await scene.wire() for _ in range(3)]
        for wire in wires:
            await wire.ask(request("/1"))
        await first.kill()
        for wire in wires:
            await wire.send(request("/2"))
        await scene.until(lambda: proxy.stats.held == 3)
        await scene.until(lambda: bool(lost))
        await scene.until(lambda: proxy.switch.connect_failures(1) > 1)
        assert lost == [1]
        await scene.backend()
        for wire in wires:
            assert status(await wire.receive()) == 200


async def test_a_backend_that_comes_back_on_its_port() -> None:
    """A backend that refused connections and takes them again is used without a switch."""
    port = free_port()
    async with stage() as scene:
        scene.proxy.switch.use(BackendAddress(7, "127.0.0.1", port))
        wire = await scene.wire()
        await wire.send(request("/r", b"nonce"))
        await scene.until(lambda: scene.proxy.switch.connect_failures(7) >= 2)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"nonce")
                writer.write(response(b"back"))
            await reader.read()
            writer.close()

        async with byte_backend(serve, port=port):
            assert (await wire.receive()).body == b"back"
            assert scene.proxy.switch.connect_failures(7) == 0


async def test_a_new_backend_is_tried_again_though_the_old_one_was_being_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits for the new one does not wait in vain when the try at the old one is over."""
    connect = BackendPool.connect
    hung, up = asyncio.Event(), asyncio.Event()

    async def connecting(self: BackendPool) -> BackendConnection:
        if self.address.generation == 1:
            await hung.wait()
        if not up.is_set():
            raise ConnectionResetError
        return await connect(self)

    monkeypatch.setattr(BackendPool, "connect", connecting)
    async with stage(Proxy(hold_timeout=5)) as scene:
        switch = scene.proxy.switch
        await scene.backend()
        wire = await scene.wire()
        switch.wait(_Nobody())
        await scene.until(lambda: switch._retry is not None)
        second = await scene.backend()
        await wire.send(request("/r", b"nonce"))
        await scene.until(lambda: scene.proxy.stats.held == 1)
        hung.set()
        await scene.until(lambda: switch._retry is None)
        up.set()
        assert (await wire.receive()).body.endswith(b"nonce")
        assert len(second.seen) == 1


class _Nobody:
    """Waits for a backend and does nothing with it."""

    def place(self, *, paused: bool = False) -> None:
        del paused
