"""The channel between two supervisors."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from takeover_kit import pair

from synccr.supervisor.takeover import protocol

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets cannot be given away there")


async def test_lines_and_sockets_stay_together() -> None:
    """Each connection arrives with its own line, whatever else is sent in between."""
    here, there = pair()
    kept = [socket.socketpair() for _ in range(20)]
    for number, (mine, theirs) in enumerate(kept):
        mine.sendall(b"%d" % number)
        here.send({"number": number}, theirs, b"\n" * 100 * number)
        theirs.close()
        here.send({"plain": number})
    here.finish()
    for number in range(20):
        message, connection, payload = await there.receive()
        assert connection is not None
        with connection:
            assert (message["number"], len(payload)) == (number, 100 * number)
            assert connection.recv(10) == b"%d" % number
        assert await there.receive() == ({"plain": number}, None, b"")
    with pytest.raises(EOFError):
        await there.receive()
    for mine, _ in kept:
        mine.close()
    here.close()
    there.close()


async def test_a_reader_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending waits for a while and then fails; it never blocks for ever."""
    monkeypatch.setattr("synccr.supervisor.takeover.protocol.SEND_TIMEOUT", 0.05)
    here, there = pair()
    with pytest.raises(TimeoutError):
        here.send({"much": "x" * 10_000_000})
    here.close()
    there.close()


async def test_a_socket_that_finds_no_room_is_the_end() -> None:
    """At the limit of open files the system drops it; no other one is taken in its place."""
    import resource

    here, there = pair()
    mine, theirs = socket.socketpair()
    with mine, theirs:
        here.send({}, theirs, b"a")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(mine.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            with pytest.raises(EOFError):
                await asyncio.wait_for(there.receive(), 20)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    here.close()
    there.close()


async def test_what_nobody_asked_for_is_closed() -> None:
    """Connections that were on their way when the channel is closed are not leaked."""
    here, there = pair()
    mine, theirs = socket.socketpair()
    with mine, theirs:
        here.send({"plain": 1})
        here.send({}, theirs)
        theirs.close()
        await there.receive()
        await asyncio.sleep(0)
        there.close()
        here.close()
        mine.settimeout(5)
        assert mine.recv(1) == b""


def test_the_words_on_the_wire_stay() -> None:
    """In a restart after an upgrade the two ends are of different versions."""
    words = [protocol.PREPARED, protocol.PROCEED, protocol.READY, protocol.COMMIT]
    assert [*words, protocol.SERVING] == ["turn", "go", "ready", "yours", "taken"]
    assert (protocol.FAILED, protocol.CHANNEL) == ("failed", "_SYNCCR_HANDOVER")
