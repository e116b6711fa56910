"""Ending a CCR with all that it started, and what a former supervisor left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from ccr_kit import (
    Scene,
    fake_entry,
    fake_environ,
    fake_package,
    make_paths,
    scene_in,
    until,
)

from ports import free_port
from processes import started
from synccr.ccr.generations import V2
from synccr.ccr.liveness import answers
from synccr.ccr.orphans import Register, end_orphans, find_orphans
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId, identify, is_alive


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_in(tmp_path) as scene:
        yield scene


async def test_the_end_of_a_backend_is_seen(scene: Scene) -> None:
    """A backend that is killed is seen to end, with the signal."""
    backend = await scene.launch()
    waiting = asyncio.create_task(backend.wait())
    os.kill(backend.pid, signal.SIGKILL)
    assert await waiting == -signal.SIGKILL
    assert not await backend.healthy()
    assert (await backend.stop(5)).ended


async def test_deaf_backend_is_killed(scene: Scene) -> None:
    """A backend that ignores SIGTERM is killed after the deadline, and seen to be gone."""
    backend = await scene.launch("deaf")
    result = await backend.stop(0.2)
    assert (result.ended, result.exit_code, result.killed) == (True, -signal.SIGKILL, True)
    assert not is_alive(backend.identity)


async def test_stop_without_patience(scene: Scene) -> None:
    """A deadline of 0 kills at once."""
    backend = await scene.launch()
    result = await backend.stop(0)
    assert (result.ended, result.killed) == (True, True)


async def test_stop_twice(scene: Scene) -> None:
    """A backend that has ended can be stopped again."""
    backend = await scene.launch()
    await backend.stop(5)
    again = await backend.stop(5)
    assert (again.ended, again.exit_code, again.killed) == (True, 0, False)


async def test_the_whole_tree_ends(scene: Scene) -> None:
    """What the backend has started ends with it."""
    backend = await scene.launch("with child")
    child = identify(int((scene.paths.ccr / "child").read_text()))
    assert child is not None
    assert (await backend.stop(5)).ended
    assert not is_alive(child)


@pytest.mark.parametrize("patient", [True, False])
async def test_npx_that_was_killed(scene: Scene, patient: bool) -> None:
    """The CCR that it ran is nobody's child then, and ends with its backend all the same."""
    line = f"{sys.executable} {scene.package.entry} start; true"
    backend = await scene.launcher().launch(Package("2.0.0", ("/bin/sh", "-c", line), None, V2))
    assert backend.root != backend.identity
    os.kill(backend.root.pid, signal.SIGKILL)
    assert await backend.wait() == -signal.SIGKILL
    assert is_alive(backend.identity)
    if patient:
        assert (await backend.stop(5)).ended
    else:
        backend.kill()
    await until(lambda: not is_alive(backend.identity))


async def test_kill_does_not_wait(scene: Scene) -> None:
    """The way out that cannot wait ends the tree as well."""
    backend = await scene.launch("with child")
    child = identify(int((scene.paths.ccr / "child").read_text()))
    assert child is not None
    backend.kill()
    await until(lambda: not is_alive(child) and not is_alive(backend.root))
    await backend.wait()


async def test_cancelled_start_leaves_nothing(scene: Scene) -> None:
    """Ctrl-C during the start ends what was started."""
    task = asyncio.create_task(scene.launch("silent"))
    await until(lambda: bool(Register.of(scene.paths).entries()))
    (root,) = Register.of(scene.paths).entries()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(root)


@contextlib.contextmanager
def orphan(
    package: Package, root: Path, *, mark: str | None, mode: str = "serves"
) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**fake_environ(root, mode), "SERVICE_PORT": str(free_port())}
    if mark:
        environ["_SYNCCR_INSTANCE"] = mark
    quiet = subprocess.DEVNULL
    with started(package.command, env=environ, stdout=quiet, stderr=quiet) as process:
        yield process


async def running(process: subprocess.Popen[bytes]) -> ProcessId:
    """The process, as soon as it runs its own program."""
    identity = identify(process.pid)
    assert identity is not None
    command = process.args
    assert isinstance(command, (list, tuple))
    await until(lambda: psutil.Process(process.pid).cmdline() == list(command))
    return identity


async def test_orphans_end_and_nobody_else(scene: Scene, tmp_path: Path) -> None:
    """Only a CCR with our mark, or in our register, ends; others of all kinds live on."""
    make_paths(tmp_path / "others")
    package2 = fake_package(tmp_path / "others")
    marks = {"_SYNCCR_INSTANCE": str(scene.paths.instance)}
    sleeps = (sys.executable, "-c", "import time; time.sleep(60)")
    register = Register.of(scene.paths)
    with (
        orphan(scene.package, tmp_path, mark=str(scene.paths.instance), mode="deaf") as marked,
        orphan(package2, tmp_path / "others", mark=None) as registered,
        orphan(package2, tmp_path / "third", mark="another instance") as foreign,
        orphan(package2, tmp_path / "fourth", mark=None) as unmarked,
        started(sleeps, env=marks) as no_ccr,
    ):
        processes = [marked, registered, foreign, unmarked, no_ccr]
        identities = [await running(process) for process in processes]
        register.add(identities[1])
        assert find_orphans(scene.paths, [identities[0]]) == [identities[1]]
        ended = await end_orphans(scene.paths, grace=0.3)
        assert {one.pid for one in ended} == {marked.pid, registered.pid}
        assert [process.poll() is None for process in processes] == [False, False, True, True, True]
        assert register.entries() == []


def test_number_in_the_register_that_changed_hands(scene: Scene) -> None:
    """A stranger who got the number of a registered process is no orphan."""
    me = identify(os.getpid())
    assert me is not None
    register = Register.of(scene.paths)
    register.add(ProcessId(me.pid, "before"))
    register.add(me)
    assert find_orphans(scene.paths) == []
    assert register.entries() == [me]


@pytest.mark.parametrize("content", ["", "{}", "[1, [2], [3, 4], null]", "[[5, null]]"])
def test_broken_register(scene: Scene, content: str) -> None:
    """A register that somebody scribbled into is empty."""
    register = Register.of(scene.paths)
    register.path.parent.mkdir(parents=True)
    register.path.write_text(content)
    assert register.entries() == []


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_ccr_ends_with_its_supervisor(tmp_path: Path) -> None:
    """When the process that started it is killed, CCR ends by itself."""
    entry = fake_entry(tmp_path)
    environ = {**fake_environ(tmp_path), "SERVICE_PORT": str(free_port())}
    program = (
        "import subprocess, sys, time\n"
        "from synccr.ccr.process import with_parent_death_signal as ended_with\n"
        f"child = subprocess.Popen(ended_with((sys.executable, {str(entry)!r}, 'start')))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = (sys.executable, "-c", program)
    with started(command, env=environ, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = identify(int(parent.stdout.readline()))
        assert child is not None
        port = int(environ["SERVICE_PORT"])
        async with asyncio.timeout(10):
            while not await answers(port, 1):
                await asyncio.sleep(0.02)
    await until(lambda: not is_alive(child))
