"""Connections that one proxy passes to another when they are between two requests."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from proxy_kit import (
    TIMEOUT,
    Seen,
    Stage,
    after,
    chunked,
    echo,
    never,
    request,
    response,
    stage,
    status,
)

from synccr.proxy import Proxy

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets cannot be given away there")


@asynccontextmanager
async def two_stages() -> AsyncIterator[tuple[Stage, Stage]]:
    """An old proxy and a new one, each with a backend; the new one's backend says so."""

    async def new_owners_echo(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"new|" + seen.line + b"|" + seen.body))

    new_proxy = Proxy(hold_timeout=TIMEOUT)
    async with stage() as old, stage(new_proxy) as new:
        await old.backend(echo)
        await new.backend(new_owners_echo)
        yield old, new


def hand_over(old: Stage, new: Stage) -> None:
    """As between processes: the socket is another one for the same connection."""
    tasks: set[asyncio.Task[None]] = set()

    def take(connection: socket.socket, ahead: bytes) -> bool:
        twin = socket.socket(fileno=os.dup(connection.fileno()))
        task = asyncio.ensure_future(new.proxy.adopt(twin, ahead))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return True

    old.proxy.hand_over(take)


async def test_an_idle_connection_goes_at_once() -> None:
    """Its next request is the new proxy's, on the same connection."""
    async with two_stages() as (old, new):
        wire = await old.wire()
        assert (await wire.ask(request("/a"))).body == b"GET /a HTTP/1.1|"
        hand_over(old, new)
        await old.until(lambda: not old.proxy.clients)
        assert (await wire.ask(request("/b"))).body == b"new|GET /b HTTP/1.1|"


async def test_one_that_has_said_nothing_goes_at_once() -> None:
    """A new connection is served by the new proxy."""
    async with two_stages() as (old, new):
        wire = await old.wire()
        await old.until(lambda: len(old.proxy.clients) == 1)
        hand_over(old, new)
        assert (await wire.ask(request("/a"))).body == b"new|GET /a HTTP/1.1|"


@pytest.mark.parametrize("rounds", range(8))
async def test_connections_that_are_just_being_accepted(rounds: int) -> None:
    """Whatever the event loop has done for them so far, the old proxy or the new one answers each;
    those that nobody has accepted yet are left to the listener that both have."""
    async with two_stages() as (old, new):
        clients = [socket.create_connection(("127.0.0.1", old.port)) for _ in range(5)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        hand_over(old, new)
        for _ in range(20):
            await asyncio.sleep(0)
        assert old.proxy._server
        assert new.proxy._server
        (listener,) = old.proxy._server.sockets
        twin = socket.socket(fileno=os.dup(listener.fileno()))
        await old.proxy.close(0)
        new.proxy._server.close()
        await new.proxy.start(twin)
        for number, client in enumerate(clients):
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(request(f"/{number}"))
            async with asyncio.timeout(TIMEOUT):
                assert b"new|GET /%d" % number in await reader.readuntil(b"HTTP/1.1|")
            writer.close()


async def test_a_request_in_flight_is_finished_first() -> None:
    """The answer comes from where it began; what follows is the new proxy's."""
    go_on = asyncio.Event()

    async def waits(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await go_on.wait()
        writer.write(chunked(seen.line))

    async with two_stages() as (old, new):
        backend = await old.backend(waits)
        wire = await old.wire()
        await wire.send(request("/a"))
        await backend.until(lambda: len(backend.seen) == 1)
        hand_over(old, new)
        assert len(old.proxy.clients) == 1
        go_on.set()
        assert (await wire.receive()).body == b"GET /a HTTP/1.1"
        assert (await wire.ask(request("/b"))).body == b"new|GET /b HTTP/1.1|"
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)


@pytest.mark.parametrize("cut", [1, 17, 40])
async def test_half_a_head_goes_along(cut: int) -> None:
    """What has been read of it comes before what the client sends next."""
    whole = request("/a", b"body")
    async with two_stages() as (old, new):
        wire = await old.wire()
        await wire.send(whole[:cut])
        await old.until(lambda: any(c._framer.partial for c in old.proxy.clients))
        hand_over(old, new)
        assert (await wire.ask(whole[cut:])).body == b"new|POST /a HTTP/1.1|body"


async def test_pipelined_requests_go_along() -> None:
    """Those read ahead of an answer are answered by the new proxy, in order."""
    go_on = asyncio.Event()
    async with two_stages() as (old, new):
        backend = await old.backend(after(go_on))
        wire = await old.wire()
        await wire.send(b"".join(request(f"/{n}", b"x" * n) for n in range(1, 5)))
        await backend.until(lambda: len(backend.seen) == 1)
        hand_over(old, new)
        go_on.set()
        assert (await wire.receive()).body == b"POST /1 HTTP/1.1|x"
        for n in range(2, 5):
            expected = b"new|POST /%d HTTP/1.1|" % n + b"x" * n
            assert (await wire.receive()).body == expected


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
async def test_half_a_request_goes_along(expect: tuple[str, ...]) -> None:
    """A request that is still being sent is answered by the new proxy, which gets all of it."""
    whole = request("/a", b"a long body", *expect)
    async with two_stages() as (old, new):
        wire = await old.wire()
        await wire.send(whole[:-5])
        await old.until(lambda: old.proxy.switch.in_flight(1) == 1)
        hand_over(old, new)
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)
        assert (await wire.ask(whole[-5:])).body == b"new|POST /a HTTP/1.1|a long body"
        assert (await wire.ask(request("/b"))).body == b"new|GET /b HTTP/1.1|"


async def test_a_request_that_waits_goes_along() -> None:
    """One that is held for want of a backend is answered by the new proxy at once."""
    async with two_stages() as (old, new):
        old.proxy.switch.hold()
        wire = await old.wire()
        await wire.send(request("/a", b"body") + request("/b"))
        await old.until(lambda: old.proxy.stats.held == 1)
        hand_over(old, new)
        assert (await wire.receive()).body == b"new|POST /a HTTP/1.1|body"
        assert (await wire.receive()).body == b"new|GET /b HTTP/1.1|"


@pytest.mark.parametrize("held", [True, False])
async def test_a_client_that_asks_for_the_end_gets_it(held: bool) -> None:
    """Held or half sent, the new proxy ends the connection after its answer, and says so."""
    whole = request("/a", b"a long body", "Connection: close")
    async with two_stages() as (old, new):
        wire = await old.wire()
        if held:
            old.proxy.switch.hold()
            await wire.send(whole)
            await old.until(lambda: old.proxy.stats.held == 1)
        else:
            await wire.send(whole[:-5])
            await old.until(lambda: old.proxy.switch.in_flight(1) == 1)
        hand_over(old, new)
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)
        if not held:
            await wire.send(whole[-5:])
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        assert body == b"new|POST /a HTTP/1.1|a long body"
        assert b"\r\nconnection: close" in head


@pytest.mark.parametrize("size", [10, 20_000_000])
async def test_a_request_whose_backend_dies_follows(size: int) -> None:
    """When the old backend is lost after all, the new proxy gets the whole request."""
    body = b"x" * size
    async with two_stages() as (old, new):
        backend = await old.backend(never)
        wire = await old.wire()
        await wire.send(request("/a", body))
        await backend.until(lambda: len(backend.seen) == 1)
        hand_over(old, new)
        assert len(old.proxy.clients) == 1
        await backend.kill()
        answer = await wire.receive()
        assert answer.body == b"new|POST /a HTTP/1.1|" + body
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)


async def test_a_client_that_sends_no_more_goes_along() -> None:
    """The end that it has sent is there for the new proxy as well."""
    async with two_stages() as (old, new):
        old.proxy.switch.hold()
        wire = await old.wire()
        await wire.send(request("/a"))
        wire.writer.write_eof()
        await old.until(lambda: any(c._eof for c in old.proxy.clients))
        hand_over(old, new)
        assert b"new|GET /a HTTP/1.1|" in await wire.rest()


async def test_an_answer_that_is_still_being_written_is_whole() -> None:
    """A client that reads slowly is passed on when it has all of its answer."""
    large = b"x" * 8_000_000

    async def much(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(large))

    async with two_stages() as (old, new):
        backend = await old.backend(much)
        wire = await old.wire()
        await wire.send(request("/a"))
        await backend.until(lambda: len(backend.seen) == 1)
        hand_over(old, new)
        answer = await wire.receive()
        assert (status(answer), len(answer.body)) == (200, len(large))
        assert (await wire.ask(request("/b"))).body == b"new|GET /b HTTP/1.1|"
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)


async def test_a_client_that_has_left_is_not_passed_on() -> None:
    """Nobody is left behind either."""
    async with two_stages() as (old, new):
        wire = await old.wire()
        await wire.ask(request("/a"))
        wire.leave()
        hand_over(old, new)
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)
        await new.until(lambda: not new.proxy.clients)


@pytest.mark.slow
async def test_a_new_owner_that_takes_no_more() -> None:
    """It is not asked again. What is being answered is answered to its end, what waits gets a
    503, half an upload goes where it has begun, and idle connections end."""
    go_on = asyncio.Event()
    offered: list[bytes] = []

    def refuses(_connection: socket.socket, ahead: bytes) -> bool:
        offered.append(ahead)
        return False

    async with stage() as old:
        backend = await old.backend(after(go_on))
        busy, half, held, idle, silent = [await old.wire() for _ in range(5)]
        await old.until(lambda: len(old.proxy.clients) == 5)
        await busy.send(request("/busy") + request("/next"))
        upload = request("/half", b"a long body")
        await half.send(upload[:-5])
        await idle.send(b"GET /idle HT")
        await old.until(lambda: old.proxy.switch.in_flight(1) == 2)
        await backend.until(lambda: len(backend.seen) == 1)
        old.proxy.switch.hold()
        await held.send(request("/held"))
        await old.until(lambda: old.proxy.stats.held == 1)
        old.proxy.hand_over(refuses)
        assert len(offered) == 1
        assert status(await held.receive()) == 503
        for wire in (held, idle, silent):
            assert await wire.rest() == b""
        await half.send(upload[-5:])
        go_on.set()
        assert (await half.receive()).body == b"POST /half HTTP/1.1|a long body"
        assert (await busy.receive()).body == b"GET /busy HTTP/1.1|"
        for wire in (half, busy):
            assert await wire.rest() == b""
        await asyncio.wait_for(old.proxy.emptied(), TIMEOUT)
        assert len(offered) == 1


async def test_a_new_owner_that_takes_no_more_when_a_backend_is_lost() -> None:
    """The request that comes back from it is answered once, and the connection ends."""
    async with stage() as old:
        backend = await old.backend(never)
        wire = await old.wire()
        await wire.send(request("/a", b"body"))
        await backend.until(lambda: len(backend.seen) == 1)
        old.proxy.hand_over(lambda _connection, _ahead: False)
        await backend.kill()
        assert status(await wire.receive()) == 503
        assert await wire.rest() == b""
        assert old.proxy.stats.refused == 1
