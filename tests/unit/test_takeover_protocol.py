"""The channel between two supervisors."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from synccr.ccr.process import identify
from synccr.errors import ConfigError, SynccrError
from synccr.supervisor.takeover import protocol as handover
from synccr.supervisor.takeover.protocol import (
    CHANNEL,
    Channel,
    NewProcess,
    Predecessor,
    channel_of,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets cannot be given away there")


def pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return Channel(one), Channel(other)


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
    monkeypatch.setattr("synccr.supervisor.takeover.protocol._PATIENCE", 0.05)
    here, there = pair()
    with pytest.raises(TimeoutError):
        here.send({"much": "x" * 10_000_000})
    here.close()
    there.close()


async def test_after_a_part_of_a_message_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new supervisor that was stopped for a while serves what has come whole, and no client
    gets another one's bytes: the connection that was cut is closed there, no further one sent."""
    monkeypatch.setattr(handover, "_PATIENCE", 0.05)
    here, there = pair()
    new = successor("")
    assert await new.exit_code(60.0) == 0
    new.channel.close()
    new.channel = here
    clients = [socket.socketpair() for _ in range(3)]
    taken = [
        new.take(connection, payload)
        for (_, connection), payload in zip(clients, [b"a", b"b" * 10_000_000, b"c"], strict=True)
    ]
    assert taken == [True, False, False]
    with pytest.raises(OSError, match="pipe"):
        here.send({"plain": 1})
    for _, connection in clients:
        connection.close()
    adopted: list[bytes] = []

    async def adopt(connection: socket.socket, ahead: bytes) -> None:
        adopted.append(ahead)
        connection.close()

    async with asyncio.timeout(20):
        await Predecessor(there, None, ("127.0.0.1", 1), clients[0][0]).adopt(adopt)
    assert adopted == [b"a"]
    for client, _ in clients:
        client.settimeout(5)
        assert client.recv(1) == b""
        client.close()
    here.close()
    there.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\n",
        b"[1]\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b'{"bytes": "1"}\n1',
        b'{"bytes": -1}\n',
        b'{"bytes": 1.5}\n11',
        b'{"bytes": 1}\n1',
    ],
)
async def test_what_is_no_message_is_the_end(sent: bytes) -> None:
    """Also one whose socket has not come; the old supervisor can send no more then."""
    ours, theirs = socket.socketpair()
    here, there = Channel(ours), Channel(theirs)
    ours.sendall(sent)

    async def adopt(_connection: socket.socket, _ahead: bytes) -> None:
        raise AssertionError

    async with asyncio.timeout(20):
        await Predecessor(there, None, ("127.0.0.1", 1), ours).adopt(adopt)
    with pytest.raises(OSError, match="pipe"):
        here.send({})
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


def successor(program: str) -> NewProcess:
    return NewProcess([sys.executable, "-c", program], dict(os.environ))


FAILS = """
import os
from synccr.errors import ConfigError
from synccr.supervisor.takeover.protocol import channel_of
with channel_of(os.environ):
    raise ConfigError("It is broken.", "Mend it.")
"""


@pytest.mark.parametrize(
    ("program", "said", "code"),
    [
        (FAILS, "It is broken. Mend it.", 4),
        ("import sys; sys.exit(9)", "ended at once (exit code 9)", 1),
        ("import os; os.kill(os.getpid(), 9)", "ended at once (exit code 137)", 1),
        ("import time; time.sleep(60)", "was not ready within 1 s", 1),
    ],
)
async def test_a_successor_that_does_not_come_up(program: str, said: str, code: int) -> None:
    """Its own words where it has some; in any case the old one is told, and it is gone."""
    new = successor(program)
    with pytest.raises(SynccrError) as caught:
        await new.expect("turn", 1.0 if "sleep" in program else 60.0)
    assert said in str(caught.value)
    assert caught.value.exit_code == code
    await new.discard()
    assert not os.path.exists(f"/proc/{new.pid}")  # noqa: PTH110


async def test_a_stranger_with_its_number_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a successor that has ended may be given out again."""
    new = successor("")
    assert await new.exit_code(60.0) == 0
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with stranger:
        monkeypatch.setattr(handover, "identify", lambda _pid: identify(stranger.pid))
        await new.discard()
        assert stranger.stdin
        stranger.stdin.write(b"\n")
        stranger.stdin.close()
        assert stranger.wait(60) == 0


async def test_an_error_is_told_and_raised() -> None:
    """The new supervisor ends with its own exit code, and the old one hears why."""
    ours, theirs = socket.socketpair()
    environ = {CHANNEL: str(theirs.detach())}
    with pytest.raises(ConfigError), channel_of(environ):
        raise ConfigError("It is broken.", "Mend it.")
    channel = Channel(ours)
    message, _, _ = await channel.receive()
    assert message == {"failed": {"what": "It is broken.", "todo": "Mend it.", "exit_code": 4}}
    assert environ == {}
    channel.close()


async def test_a_predecessor_that_is_gone() -> None:
    """The new supervisor ends: nobody has asked for it any more."""
    here, there = pair()
    here.close()
    with pytest.raises(SynccrError, match="is gone"):
        await Predecessor.receive(there)
    there.close()
