"""The control channel: what a hostile client of the same user can do, and what not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synccr.control import LARGEST_REQUEST, MOST_CLIENTS, request, socket_path
from synccr.control import server as server_module
from synccr.control.server import ControlServer
from synccr.errors import NoAnswer, NotRunning, SynccrError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a loopback port there")


async def handle(verb: str, args: dict[str, Any]) -> Any:
    """Answers like a supervisor, with a mistake in it."""
    match verb:
        case "echo":
            return args
        case "large":
            return "x" * 4_000_000
        case "refuse":
            raise SynccrError("No.", "Do something else.")
        case "restart" | "stop":
            return f"{verb} it is"
        case "slow":
            await asyncio.sleep(1.0)
            return "done"
    raise KeyError("a mistake")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """A server that cuts off quickly."""
    monkeypatch.setattr(server_module, "PATIENCE", 0.3)
    return 0.3


@pytest.fixture
async def instance(tmp_path: Path, patience: float) -> AsyncIterator[Path]:
    """An instance directory with a server."""
    server = ControlServer(tmp_path, handle)
    await server.start()
    yield tmp_path
    await server.close()
    assert list(tmp_path.glob("control*")) == []


async def ask(instance: Path, verb: str, **args: Any) -> Any:
    """As a command would, beside the server's loop."""
    return await asyncio.to_thread(lambda: request(instance, verb, timeout=5.0, **args))


def connected(instance: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(socket_path(instance)))
    return client


async def test_an_answer_and_a_refusal(instance: Path) -> None:
    """A result comes back; a refusal with its two sentences; a mistake of the supervisor
    as one sentence."""
    assert await ask(instance, "echo", a=1) == {"a": 1}
    with pytest.raises(SynccrError, match="No. Do something else."):
        await ask(instance, "refuse")
    with pytest.raises(SynccrError, match="could not do it"):
        await ask(instance, "unheard of")
    assert len(await ask(instance, "large")) == 4_000_000


async def test_only_this_user_gets_in(instance: Path) -> None:
    """Socket 0600; its directory is closed to others."""
    path = socket_path(instance)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_another_user_is_turned_away(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's user id decides, should a socket ever be reachable by another user."""
    monkeypatch.setattr(server_module, "user_id", lambda: 4711)
    with pytest.raises(SynccrError, match="does not answer"):
        await ask(instance, "echo")


def test_a_directory_that_keeps_its_owner_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of a supervisor, so none is blamed and none is to be ended."""

    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("synccr.control._connect", closed)
    with pytest.raises(SynccrError, match="cannot be entered") as refused:
        request(tmp_path, "status")
    assert not isinstance(refused.value, NoAnswer)
    assert "stop" not in refused.value.todo


@pytest.mark.parametrize("verb", ["restart", "stop"])
async def test_another_version_can_take_over(instance: Path, verb: str) -> None:
    """A command of another version reaches what replaces or ends this supervisor."""

    def send() -> bytes:
        with connected(instance) as client:
            client.sendall(json.dumps({"v": 99, "do": verb}).encode() + b"\n")
            return client.makefile("rb").readline()

    assert json.loads(await asyncio.to_thread(send))["result"] == f"{verb} it is"


def deep(size: int) -> bytes:
    return b"[" * size + b"\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"\x00\xff\xfe garbage\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"null\n",
        b"[]\n",
        b'{"v": 1}\n',
        b'{"v": 1, "do": "echo", "args": "x"}\n',
        b'{"v": 1, "do": "echo", "token": "\\ud800"}\n',
        b'{"v": 2, "do": "echo"}\n',
        b'{"v": 1, "do": "echo", "token": "wrong"}\n',
        deep(60_000),
    ],
)
async def test_what_is_no_request_is_refused(instance: Path, sent: bytes) -> None:
    """Each is answered with a refusal, and the next client is served."""

    def send() -> bytes:
        with connected(instance) as client:
            client.sendall(sent)
            return client.makefile("rb").readline()

    assert json.loads(await asyncio.to_thread(send))["ok"] is False
    assert await ask(instance, "echo", still=True) == {"still": True}


def half_a_line(client: socket.socket) -> None:
    client.sendall(b'{"v": 1, "do"')


def ten_megabytes(client: socket.socket) -> None:
    client.sendall(b"x" * 10_000_000)


def silence(client: socket.socket) -> None:
    """Say nothing."""


def large_and_never_read(client: socket.socket) -> None:
    client.sendall(b'{"v": 1, "do": "large"}\n')


@pytest.mark.parametrize("behave", [half_a_line, ten_megabytes, silence, large_and_never_read])
async def test_a_client_that_misbehaves_is_cut_off(
    instance: Path, behave: Callable[[socket.socket], None]
) -> None:
    """Its connection ends within the patience, and others are served meanwhile."""

    def misbehave(client: socket.socket) -> None:
        try:
            behave(client)
        except OSError:
            return  # cut off while it still talks

    with connected(instance) as client:
        await asyncio.to_thread(misbehave, client)
        assert await ask(instance, "echo", still=True) == {"still": True}
        await asyncio.to_thread(read_to_end, client)


def read_to_end(client: socket.socket) -> None:
    """Returns when the server has ended the connection; a timeout fails the test."""
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionError:
        pass


async def test_a_thousand_silent_connections_keep_nobody_out(instance: Path) -> None:
    """A command is answered at once while a flood of silent ones is held open."""
    crowd: list[socket.socket] = []

    def flood() -> None:
        for _ in range(400):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(5)
            crowd.append(client)
            while True:
                try:
                    client.connect(str(socket_path(instance)))
                    break
                except BlockingIOError:
                    continue

    try:
        for _ in range(2):
            flooding = asyncio.create_task(asyncio.to_thread(flood))
            for turn in range(20):
                assert await ask(instance, "echo", turn=turn) == {"turn": turn}
            await flooding
        assert await ask(instance, "echo", still=True) == {"still": True}
    finally:
        for client in crowd:
            client.close()
    assert len(crowd) > 4 * MOST_CLIENTS


@pytest.mark.slow
async def test_many_at_once_are_bounded(instance: Path) -> None:
    """Twice as many slow requests as are allowed: some are told to come back, none hangs."""
    line = b'{"v": 1, "do": "slow"}\n'
    clients: list[socket.socket] = []
    try:
        for _ in range(MOST_CLIENTS + 20):
            clients.append(connected(instance))
            clients[-1].sendall(line)
            await asyncio.sleep(0)

        def answers() -> list[bool]:
            return [json.loads(client.makefile("rb").readline())["ok"] for client in clients]

        found = await asyncio.to_thread(answers)
    finally:
        for client in clients:
            client.close()
    assert found.count(True) >= MOST_CLIENTS
    assert found.count(False) >= 1


def test_the_largest_request_fits_a_stream(tmp_path: Path) -> None:
    """Nothing runs: that is said, also for a directory that does not exist."""
    assert LARGEST_REQUEST == 65536
    for place in (tmp_path, tmp_path / "none", tmp_path / ("x" * 120)):
        with pytest.raises(NotRunning):
            request(place, "status")


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary directory with a short name, as most are."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        yield Path(name)


async def test_a_path_too_long_for_a_socket(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket lies below the temporary directory, a note says where, and a client with
    another TMPDIR finds it; nothing is left."""
    home = tmp_path.joinpath(*["a-long-name-of-a-directory"] * 8)
    monkeypatch.setattr("tempfile.tempdir", str(short))
    server = ControlServer(home, handle)
    await server.start()
    monkeypatch.setattr("tempfile.tempdir", "/elsewhere")
    path = socket_path(home)
    assert path.is_relative_to(short)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert await ask(home, "echo", a=1) == {"a": 1}
    await server.close()
    assert not path.exists()
    with pytest.raises(NotRunning):
        await ask(home, "echo")


async def test_a_directory_of_somebody_else_is_not_used(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link planted where the private directory should be ends the start."""
    home = tmp_path.joinpath(*["a-long-name-of-a-directory"] * 8)
    monkeypatch.setattr("tempfile.tempdir", str(short))
    (short / "elsewhere").mkdir()
    (short / f"synccr-{os.getuid()}").symlink_to(short / "elsewhere")
    with pytest.raises((SynccrError, OSError), match="somebody else"):
        await ControlServer(home, handle).start()
    assert list((short / "elsewhere").iterdir()) == []
