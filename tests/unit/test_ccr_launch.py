"""Starting a CCR, with a small one in Python for the real."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ccr_kit import (
    SECRET,
    Scene,
    fake_environ,
    scene_in,
    until,
)

from ports import free_port
from processes import started
from synccr.ccr.generations import V2
from synccr.ccr.liveness import answers
from synccr.ccr.orphans import Register, find_orphans
from synccr.ccr.package import Package
from synccr.ccr.process import identify
from synccr.ccr.start_failure import StartFailed
from synccr.ccr.v2 import launch as module
from synccr.ccr.v2.pid_file import read_pid_file, write_pid_file
from synccr.errors import RuntimeMissing, SynccrError, Taken
from synccr.paths import Paths


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_in(tmp_path) as scene:
        yield scene


async def test_a_backend_that_serves(scene: Scene) -> None:
    """After the launch CCR answers on a private port, and the pid file names it, 0600."""
    backend = await scene.launch()
    assert await backend.healthy()
    assert backend.exit_code is None
    assert read_pid_file(scene.paths) == backend.pid
    assert scene.paths.ccr_pid.stat().st_mode & 0o777 == 0o600
    assert backend.log_path == scene.paths.ccr_logs / "ccr-20260101000000.log"
    assert backend.log_path.stat().st_mode & 0o077 == 0
    assert Register.of(scene.paths).entries() == [backend.root]
    assert str(backend.pid) in repr(backend)
    result = await backend.stop(5)
    assert (result.ended, result.exit_code, result.killed) == (True, 0, False)
    assert not await backend.healthy()
    assert not scene.paths.ccr_pid.exists()
    assert Register.of(scene.paths).entries() == []


async def test_what_ccr_is_started_with(scene: Scene) -> None:
    """CCR gets its private port, our mark, its own directory and its own session."""
    backend = await scene.launch()
    process = psutil.Process(backend.pid)
    environ = process.environ()
    assert environ["SERVICE_PORT"] == str(backend.port)
    assert environ["_SYNCCR_INSTANCE"] == str(scene.paths.instance)
    assert environ["_SYNCCR_SUPERVISOR"] == str(identify(os.getpid()))
    compiled = Path(environ["NODE_COMPILE_CACHE"])
    assert compiled.is_relative_to(scene.paths.cache)
    assert compiled.stat().st_mode & 0o077 == 0
    assert process.cwd() == str(scene.paths.ccr)
    assert os.getsid(backend.pid) == backend.pid
    assert process.cmdline() == list(scene.package.command)
    await backend.stop(5)


async def test_compiled_code_is_kept_in_no_place_of_another(scene: Scene, tmp_path: Path) -> None:
    """A link where Node would keep what it compiled: nothing is kept, and CCR serves."""
    scene.paths.cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "anybody").mkdir(mode=0o777)
    (scene.paths.cache / "node").symlink_to(tmp_path / "anybody")
    backend = await scene.launch()
    assert "NODE_COMPILE_CACHE" not in psutil.Process(backend.pid).environ()
    await backend.stop(5)


async def test_npx_finds_the_node_it_came_with(scene: Scene, tmp_path: Path) -> None:
    """npm starts CCR by the name node: that Node is found also when it is not on PATH."""
    for name, words in {
        "node": f'{sys.executable} "$@"',
        "npx": f"node {scene.package.entry} start",
    }.items():
        program = tmp_path / "elsewhere" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nexec {words}\n")
        program.chmod(0o755)
    command = (str(tmp_path / "elsewhere" / "npx"),)
    backend = await scene.launcher().launch(Package("2.0.0", command, None, V2))
    assert await backend.healthy()
    await backend.stop(5)


@pytest.mark.parametrize(
    ("mode", "said", "code"),
    [
        ("dies", "CCR exited with code 3 while starting: Error starting server: the key ••• is", 3),
        ("parse error", "CCR exited with code 1 while starting: Error details: JSON5: invalid", 1),
    ],
)
async def test_death_at_start(scene: Scene, mode: str, said: str, code: int) -> None:
    """A CCR that dies is one sentence with its last error, from its log or its output, no keys."""
    with pytest.raises(StartFailed) as caught:
        await scene.launch(mode)
    assert caught.value.what.startswith(said)
    assert caught.value.exit_code_of_ccr == code
    assert SECRET not in str(caught.value)


@pytest.mark.slow
async def test_no_answer_in_time(scene: Scene) -> None:
    """A CCR that never answers is ended after the timeout, and its last words are quoted."""
    with pytest.raises(StartFailed, match=r"did not answer /health .* it waits for") as caught:
        await scene.launch("silent", start_timeout=3.0)  # it is to print something
    assert caught.value.exit_code_of_ccr is None
    assert find_orphans(scene.paths) == []
    assert not scene.paths.ccr_pid.exists()


async def test_answers_that_are_no_health(scene: Scene) -> None:
    """Any other answer than 200 is not ready."""
    with pytest.raises(StartFailed, match="did not answer"):
        await scene.launch("unhealthy", start_timeout=0.7)


async def test_what_cannot_be_run(scene: Scene) -> None:
    """A Node that has gone in the meantime is one sentence, exit code 6."""
    gone = replace(scene.package, command=("/nonexistent/node", *scene.package.command[1:]))
    with pytest.raises(RuntimeMissing, match="/nonexistent/node is no longer there") as caught:
        await scene.launcher().launch(gone)
    assert "another Node is looked for" in caught.value.todo
    with pytest.raises(RuntimeMissing) as caught:
        await scene.launcher().launch(replace(gone, entry=None))
    assert "ccr_command" in caught.value.todo


async def test_system_that_starts_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system refuses to start a process, the error says so and no pipe stays open."""
    before = psutil.Process().num_fds()

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(RuntimeMissing, match="could not be run: Resource temporarily"):
        await scene.launch()
    assert before == psutil.Process().num_fds()


async def test_says_that_it_runs_once(scene: Scene) -> None:
    """A start that was lost to the pid file of somebody else is tried again."""
    backend = await scene.launch("says running once")
    assert await backend.healthy()
    await backend.stop(5)


@pytest.mark.parametrize(
    ("mode", "what"), [("says running", "already runs"), ("port taken", "was taken by another")]
)
async def test_bad_luck_for_ever(scene: Scene, mode: str, what: str) -> None:
    """Bad luck that does not end is given up with the reason."""
    with pytest.raises(StartFailed, match=what):
        await scene.launch(mode)


async def test_a_strangers_port_is_not_ours(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who answers /health on the port is not taken for our CCR."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as stranger:
        taken = stranger.sockets[0].getsockname()[1]
        free = free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(module, "free_port", lambda: next(ports))
        assert await answers(taken, 5)
        backend = await scene.launch()
        assert backend.port == free
        await backend.stop(5)


async def test_strangers_pid_neither_stops_nor_suffers(scene: Scene) -> None:
    """A pid file that names a stranger does not stop the start, and the stranger lives."""
    with started([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        write_pid_file(scene.paths, stranger.pid)
        backend = await scene.launch()
        assert read_pid_file(scene.paths) == backend.pid
        assert stranger.poll() is None
        await backend.stop(5)
        assert stranger.poll() is None


async def test_a_ccr_that_somebody_started_is_reported(scene: Scene, tmp_path: Path) -> None:
    """A CCR that serves this directory outside our control is named and left alone."""
    port = free_port()
    environ = {**fake_environ(tmp_path), "SERVICE_PORT": str(port)}
    with started(scene.package.command, env=environ, stdout=subprocess.DEVNULL) as foreign:
        async with asyncio.timeout(10):
            while not await answers(port, 1):
                await asyncio.sleep(0.02)
        with pytest.raises(Taken, match=f"pid {foreign.pid}, port {port}"):
            await scene.launch()
        assert read_pid_file(scene.paths) == foreign.pid
        assert foreign.poll() is None


async def test_beside_one_that_serves(scene: Scene) -> None:
    """A second backend starts beside the first, and ending the first leaves its pid file alone."""
    first = await scene.launch()
    second = await scene.launch(ours=[first.identity])
    assert first.port != second.port
    assert await first.healthy()
    assert read_pid_file(scene.paths) == second.pid
    await first.stop(5)
    assert read_pid_file(scene.paths) == second.pid
    assert await second.healthy()
    await second.stop(5)


async def test_pid_file_that_ccr_itself_deletes(scene: Scene) -> None:
    """When the old one deletes the pid file as it ends, it names the new one again."""
    first = await scene.launch("deletes")
    second = await scene.launch(ours=[first.identity])
    await first.stop(5)
    assert read_pid_file(scene.paths) == second.pid
    await second.stop(5)
    assert read_pid_file(scene.paths) is None


@pytest.mark.slow
async def test_failed_start_beside_one_that_serves(scene: Scene) -> None:
    """When the new one does not come up, the pid file names the one that serves again."""
    first = await scene.launch()
    with pytest.raises(StartFailed):
        await scene.launch("silent", start_timeout=0.7, ours=[first.identity])
    assert read_pid_file(scene.paths) == first.pid
    assert await first.healthy()
    await first.stop(5)


async def test_unwritable_directory(scene: Scene) -> None:
    """A pid file that cannot be written is one sentence, and nothing runs on."""
    start = scene.launcher()

    def full(paths: Paths, pid: int) -> None:
        raise OSError(28, "No space left on device", str(paths.ccr_pid))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_pid_file", full)
        with pytest.raises(SynccrError, match="cannot be written: No space left"):
            await start.launch(scene.package)
    assert find_orphans(start.paths) == []


async def test_talkative_ccr_does_not_wait(scene: Scene) -> None:
    """A CCR that prints more than a pipe holds goes on, and only the end is kept."""
    backend = await scene.launch("talks")
    assert await backend.healthy()
    await until(lambda: backend.output.endswith("x\n"))
    assert len(backend.output) == 65536
    await backend.stop(5)
