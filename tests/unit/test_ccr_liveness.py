"""A CCR that hangs and one that has stopped listening are told apart."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ports import free_port
from synccr.ccr.liveness import BUSY_LIMIT, UNHEALTHY_AFTER, Liveness, Look, answers, look


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Look.HEALTHY),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Look.SILENT),
        (b"nonsense\r\n", Look.SILENT),
        (b"", Look.SILENT),
    ],
)
async def test_what_is_said_counts(said: bytes, found: Look) -> None:
    """Only a 200 is health."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await look(port, 5) is found
        assert await answers(port, 5) is (found is Look.HEALTHY)


async def test_nobody_listens() -> None:
    """A refused connection is said at once, whatever the patience."""
    assert await look(free_port(), 60) is Look.CLOSED


async def test_a_listener_that_takes_nothing() -> None:
    """A process that hangs still has a backlog: connected, and silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await look(listener.getsockname()[1], 0.1) is Look.SILENT


def looks(found: Look, used: float, waited: float = 5.0, most: int = 100) -> int:
    """How many looks of this kind in a row it takes to give a backend up; 0 for never."""
    patience, now = Liveness(), 1000.0
    for count in range(1, most + 1):
        now += waited + 1
        if patience.over(found, used=used, waited=waited, now=now):
            return count
    return 0


def test_how_long_a_silent_backend_is_waited_for() -> None:
    """One that does nothing is given up soon; one that works after minutes, also where a busy
    machine leaves it a tenth of a core; one that answers never. Another answer than 200 is no
    sign of work."""
    assert looks(Look.SILENT, used=0.1) == UNHEALTHY_AFTER
    assert looks(Look.SILENT, used=4.9) == BUSY_LIMIT // 6 + UNHEALTHY_AFTER
    assert looks(Look.SILENT, used=0.6) == BUSY_LIMIT // 6 + UNHEALTHY_AFTER
    assert looks(Look.SILENT, used=0.01, waited=0.01) == UNHEALTHY_AFTER
    assert looks(Look.HEALTHY, used=0.1) == 0
    assert looks(Look.CLOSED, used=0.1) == 0


def test_an_answer_begins_the_count_anew() -> None:
    """Two looks without an answer, a good one, and two more: it lives."""
    patience = Liveness()
    for found in (Look.SILENT, Look.SILENT, Look.HEALTHY, Look.SILENT, Look.SILENT):
        assert not patience.over(found, used=0.0, waited=5.0, now=0.0)
    assert patience.uneasy
    assert patience.over(Look.SILENT, used=0.0, waited=5.0, now=0.0)


async def test_health_of_a_port_without_manners() -> None:
    """Nobody, silence and nonsense on a port are not healthy."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not await answers(silent.getsockname()[1], 0.2)
    assert not await answers(free_port(), 1)

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 200_000)
        writer.close()

    async with await asyncio.start_server(nonsense, "127.0.0.1", 0) as server:
        assert not await answers(server.sockets[0].getsockname()[1], 2)
