"""Ending a CCR with all that it started, and what a former supervisor left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ccr_kit import fake_entry, fake_environ, fake_package, launchers, make_paths, until

from ports import free_port
from processes import started
from synccr.ccr.health import answers
from synccr.ccr.launch import Launcher
from synccr.ccr.orphans import Register, end_orphans, find_orphans
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId, identify, is_alive
from synccr.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_paths(tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return fake_package(tmp_path)


@pytest.fixture
async def launcher(paths: Paths, tmp_path: Path) -> AsyncIterator[Callable[..., Launcher]]:
    async with launchers(paths, tmp_path) as make:
        yield make


async def test_the_end_of_a_backend_is_seen(
    launcher: Callable[..., Launcher], package: Package
) -> None:
    """A backend that is killed is seen to end, with the signal."""
    backend = await launcher().launch(package)
    waiting = asyncio.create_task(backend.wait())
    os.kill(backend.pid, signal.SIGKILL)
    assert await waiting == -signal.SIGKILL
    assert not await backend.healthy()
    assert (await backend.stop(5)).ended


async def test_deaf_backend_is_killed(launcher: Callable[..., Launcher], package: Package) -> None:
    """A backend that ignores SIGTERM is killed after the deadline, and seen to be gone."""
    backend = await launcher("deaf").launch(package)
    result = await backend.stop(0.2)
    assert (result.ended, result.exit_code, result.killed) == (True, -signal.SIGKILL, True)
    assert not is_alive(backend.identity)


async def test_stop_without_patience(launcher: Callable[..., Launcher], package: Package) -> None:
    """A deadline of 0 kills at once."""
    backend = await launcher().launch(package)
    result = await backend.stop(0)
    assert (result.ended, result.killed) == (True, True)


async def test_stop_twice(launcher: Callable[..., Launcher], package: Package) -> None:
    """A backend that has ended can be stopped again."""
    backend = await launcher().launch(package)
    await backend.stop(5)
    again = await backend.stop(5)
    assert (again.ended, again.exit_code, again.killed) == (True, 0, False)


async def test_the_whole_tree_ends(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """What the backend has started ends with it."""
    backend = await launcher("with child").launch(package)
    child = identify(int((paths.ccr / "child").read_text()))
    assert child is not None
    assert (await backend.stop(5)).ended
    assert not is_alive(child)


async def test_kill_does_not_wait(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """The way out that cannot wait ends the tree as well."""
    backend = await launcher("with child").launch(package)
    child = identify(int((paths.ccr / "child").read_text()))
    assert child is not None
    backend.kill()
    await until(lambda: not is_alive(child) and not is_alive(backend.root))
    await backend.wait()


async def test_cancelled_start_leaves_nothing(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """Ctrl-C during the start ends what was started."""
    task = asyncio.create_task(launcher("silent").launch(package))
    await until(lambda: bool(Register.of(paths).entries()))
    (root,) = Register.of(paths).entries()
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


async def test_orphans_end_and_nobody_else(package: Package, paths: Paths, tmp_path: Path) -> None:
    """Only a CCR with our mark, or in our register, ends; others of all kinds live on."""
    make_paths(tmp_path / "others")
    package2 = fake_package(tmp_path / "others")
    marks = {"_SYNCCR_INSTANCE": str(paths.instance)}
    sleeps = (sys.executable, "-c", "import time; time.sleep(60)")
    register = Register.of(paths)
    with (
        orphan(package, tmp_path, mark=str(paths.instance), mode="deaf") as marked,
        orphan(package2, tmp_path / "others", mark=None) as registered,
        orphan(package2, tmp_path / "third", mark="another instance") as foreign,
        orphan(package2, tmp_path / "fourth", mark=None) as unmarked,
        started(sleeps, env=marks) as no_ccr,
    ):
        processes = [marked, registered, foreign, unmarked, no_ccr]
        identities = [await running(process) for process in processes]
        register.add(identities[1])
        assert find_orphans(paths, [identities[0]]) == [identities[1]]
        ended = await end_orphans(paths, grace=0.3)
        assert {one.pid for one in ended} == {marked.pid, registered.pid}
        assert [process.poll() is None for process in processes] == [False, False, True, True, True]
        assert register.entries() == []


def test_number_in_the_register_that_changed_hands(paths: Paths) -> None:
    """A stranger who got the number of a registered process is no orphan."""
    me = identify(os.getpid())
    assert me is not None
    register = Register.of(paths)
    register.add(ProcessId(me.pid, "before"))
    register.add(me)
    assert find_orphans(paths) == []
    assert register.entries() == [me]


@pytest.mark.parametrize("content", ["", "{}", "[1, [2], [3, 4], null]", "[[5, null]]"])
def test_broken_register(paths: Paths, content: str) -> None:
    """A register that somebody scribbled into is empty."""
    register = Register.of(paths)
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
