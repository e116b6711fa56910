"""The new supervisor's end: what it takes, and what it does when the old one is gone."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from takeover_kit import new_process, pair

from synccr.errors import ConfigError, SynccrError
from synccr.supervisor.takeover import protocol
from synccr.supervisor.takeover.incoming import Predecessor, channel_of
from synccr.supervisor.takeover.protocol import CHANNEL, Channel

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets cannot be given away there")


async def test_after_a_part_of_a_message_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new supervisor that was stopped for a while serves what has come whole, and no client
    gets another one's bytes: the connection that was cut is closed there, no further one sent."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.05)
    here, there = pair()
    new = new_process("")
    assert await new.exit_code(60.0) == 0
    new.channel.close()
    new.channel = here
    clients = [socket.socketpair() for _ in range(3)]
    taken = [
        new.pass_connection(connection, payload)
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
        await Predecessor(there, None, ("127.0.0.1", 1), clients[0][0]).receive_connections(adopt)
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
        await Predecessor(there, None, ("127.0.0.1", 1), ours).receive_connections(adopt)
    with pytest.raises(OSError, match="pipe"):
        here.send({})
    here.close()
    there.close()


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
