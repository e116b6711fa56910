"""A CCR that hangs and one that has stopped listening are told apart."""

from __future__ import annotations

import asyncio
import socket

import pytest

from synccr.ccr.health import Look, answers, look
from synccr.ports import free_port


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
