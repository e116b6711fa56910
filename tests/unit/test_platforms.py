"""Branches of macOS and Windows, as far as they can be walked on another system.

The platform's name is changed and the branch runs for real; what only that system has is stood
in for. The rooms' own tests have their share: identity, launch, node, package, follower.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provider import __main__ as provider_main
from synccr import clock, files, paths
from synccr.ccr import process_markers as marks
from synccr.ccr.process import identify
from synccr.cli import detach
from synccr.cli.commands import code
from synccr.cli.endpoint import Endpoint, client_environment
from synccr.control import request
from synccr.control.server import ControlServer
from synccr.errors import SynccrError
from synccr.supervisor import public_port as port
from synccr.supervisor.signals import stoppable


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sys.platform`` says Windows."""
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.usefixtures("windows")
async def test_windows_control_channel(tmp_path: Path) -> None:
    """Without Unix sockets commands reach the supervisor over loopback, with a token that only
    the same person can read; without it nothing is answered."""

    async def handler(verb: str, args: dict[str, Any]) -> Any:
        return {"verb": verb, **args}

    server = ControlServer(tmp_path, handler)
    await server.start()
    try:
        answer = await asyncio.to_thread(request, tmp_path, "swap", profile="fallback")
        assert answer == {"verb": "swap", "profile": "fallback"}
        note = tmp_path / "control.json"
        assert note.stat().st_mode & 0o077 == 0
        note.write_text(note.read_text().replace('"token": "', '"token": "x'))
        with pytest.raises(SynccrError, match="token"):
            await asyncio.to_thread(request, tmp_path, "stop")
    finally:
        await server.close()
    assert not note.exists()


@pytest.mark.usefixtures("windows")
def test_windows_files_have_no_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is written whole where there is no ``fchmod``."""
    monkeypatch.delattr(os, "fchmod")
    files.write_atomic(tmp_path / "deep" / "file", b"whole")
    assert (tmp_path / "deep" / "file").read_bytes() == b"whole"


def test_windows_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CCR's directory is below USERPROFILE there, as Node has it, whatever HOME says."""
    monkeypatch.setattr(paths, "os", SimpleNamespace(name="nt", environ={}, fsencode=os.fsencode))
    found = paths.Paths.from_environment({"USERPROFILE": str(tmp_path), "HOME": "/elsewhere"})
    assert found.ccr == tmp_path / ".claude-code-router"


@pytest.mark.usefixtures("windows")
def test_windows_supervisor_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a group of its own and no console, in place of a session."""
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "DETACHED_PROCESS", 0x8, raising=False)
    assert detach._apart() == {"creationflags": 0x208}


def test_background_elsewhere() -> None:
    """It has a session of its own, so closing the terminal does not end it."""
    assert detach._apart() == {"start_new_session": True}


@pytest.mark.usefixtures("windows")
def test_windows_claude_code_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process cannot be replaced there: its exit code is passed on."""
    program = tmp_path / "claude"
    program.write_text('#!/bin/sh\n[ "$ANTHROPIC_BASE_URL" = here ] && exit 7\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))
    monkeypatch.setattr(code, "endpoint", lambda: None)
    monkeypatch.setattr(code, "client_environment", lambda _: {"ANTHROPIC_BASE_URL": "here"})
    assert code.run(SimpleNamespace(args=[])).exit_code == 7  # type: ignore[arg-type]


def test_clients_ask_the_router_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claude Code and curl read the lower-case name first, so both except this machine."""
    monkeypatch.setenv("NO_PROXY", ".other.test")
    monkeypatch.setenv("no_proxy", ".corp.test")
    environ = client_environment(Endpoint("http://127.0.0.1:1", "k", {}))
    assert environ["no_proxy"] == environ["NO_PROXY"] == ".corp.test,127.0.0.1,localhost"


@pytest.mark.usefixtures("windows")
def test_windows_port_is_ours_alone() -> None:
    """``SO_REUSEADDR`` would let a second program take the same port there."""
    with port.bind("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


@pytest.mark.usefixtures("windows")
def test_windows_shows_nobody_elses_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no user id to compare."""
    monkeypatch.delattr(os, "getuid")
    me = identify(os.getpid())
    assert me is not None
    assert marks.is_mine(me)


@pytest.mark.usefixtures("windows")
async def test_windows_signals_reach_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop knows no signals there: Python's own handler asks it to end."""
    events = asyncio.get_running_loop()

    def none(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(events, "add_signal_handler", none)
    monkeypatch.setattr(events, "remove_signal_handler", none)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    asked = asyncio.Event()

    def stop() -> bool:
        asked.set()
        return True

    try:
        async with stoppable(stop, lambda _number: False):
            signal.raise_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                await asked.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.usefixtures("windows")
def test_windows_has_no_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module for limits is not there, and not asked for."""
    monkeypatch.setitem(sys.modules, "resource", None)
    provider_main._allow_many_connections()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_clock_elsewhere(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has the boot clock: elsewhere time is the monotonic clock's."""
    monkeypatch.setattr(sys, "platform", platform)
    before = time.monotonic()
    assert before <= clock.now().mono <= time.monotonic()
