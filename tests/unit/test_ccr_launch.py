"""Starting, watching and ending a CCR, with a small one in Python for the real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ccr_kit import fake_entry, fake_environ, fake_package, make_paths

from ports import free_port
from synccr.ccr import dir_watch as wake
from synccr.ccr import launch as module
from synccr.ccr import process as process_module
from synccr.ccr.backend import Backend
from synccr.ccr.health import answers
from synccr.ccr.launch import Launcher, StartFailed
from synccr.ccr.log_watch import follow
from synccr.ccr.orphans import Register, end_orphans, find_orphans
from synccr.ccr.output import Output, last_error
from synccr.ccr.package import Package
from synccr.ccr.pid_file import read_pid_file, write_pid_file
from synccr.ccr.process import ProcessId, identify, is_alive
from synccr.classify.logged import LoggedFailure, ProviderFailed
from synccr.errors import RuntimeMissing, SynccrError, Taken
from synccr.paths import Paths
from synccr.redact import Redactor

SECRET = "sk-abcdefghijklmnopqrstu"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_paths(tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return fake_package(tmp_path)


@pytest.fixture
async def launcher(paths: Paths, tmp_path: Path) -> AsyncIterator[Callable[..., Launcher]]:
    """Launchers for one mode of the small CCR; whatever they leave behind is ended."""

    def make(mode: str = "serves", start_timeout: float = 10.0) -> Launcher:
        return Launcher(
            paths,
            fake_environ(tmp_path, mode),
            start_timeout=start_timeout,
            redact=Redactor([SECRET]),
            register=Register.of(paths),
        )

    yield make
    await end_orphans(paths, grace=0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_backend_that_serves(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """After the launch CCR answers on a private port, and the pid file names it, 0600."""
    backend = await launcher().launch(package)
    assert await backend.healthy()
    assert backend.exit_code is None
    assert read_pid_file(paths) == backend.pid
    assert paths.ccr_pid.stat().st_mode & 0o777 == 0o600
    assert backend.log_path == paths.ccr_logs / "ccr-20260101000000.log"
    assert backend.log_path.stat().st_mode & 0o077 == 0
    assert Register.of(paths).entries() == [backend.root]
    assert str(backend.pid) in repr(backend)
    result = await backend.stop(5)
    assert (result.ended, result.exit_code, result.killed) == (True, 0, False)
    assert not await backend.healthy()
    assert not paths.ccr_pid.exists()
    assert Register.of(paths).entries() == []


async def test_what_ccr_is_started_with(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """CCR gets its private port, our mark, its own directory and its own session."""
    backend = await launcher().launch(package)
    process = psutil.Process(backend.pid)
    environ = process.environ()
    assert environ["SERVICE_PORT"] == str(backend.port)
    assert environ["_SYNCCR_INSTANCE"] == str(paths.instance)
    assert environ["_SYNCCR_SUPERVISOR"] == str(identify(os.getpid()))
    compiled = Path(environ["NODE_COMPILE_CACHE"])
    assert compiled.is_relative_to(paths.cache)
    assert compiled.stat().st_mode & 0o077 == 0
    assert process.cwd() == str(paths.ccr)
    assert os.getsid(backend.pid) == backend.pid
    assert process.cmdline() == list(package.command)
    await backend.stop(5)


async def test_compiled_code_is_kept_in_no_place_of_another(
    launcher: Callable[..., Launcher], package: Package, paths: Paths, tmp_path: Path
) -> None:
    """A link where Node would keep what it compiled: nothing is kept, and CCR serves."""
    paths.cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "anybody").mkdir(mode=0o777)
    (paths.cache / "node").symlink_to(tmp_path / "anybody")
    backend = await launcher().launch(package)
    assert "NODE_COMPILE_CACHE" not in psutil.Process(backend.pid).environ()
    await backend.stop(5)


async def test_npx_finds_the_node_it_came_with(
    launcher: Callable[..., Launcher], package: Package, tmp_path: Path
) -> None:
    """npm starts CCR by the name node: that Node is found also when it is not on PATH."""
    for name, words in {
        "node": f'{sys.executable} "$@"',
        "npx": f"node {package.entry} start",
    }.items():
        program = tmp_path / "elsewhere" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nexec {words}\n")
        program.chmod(0o755)
    command = (str(tmp_path / "elsewhere" / "npx"),)
    backend = await launcher().launch(Package("2.0.0", command, None))
    assert await backend.healthy()
    await backend.stop(5)


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


@pytest.mark.parametrize("patient", [True, False])
async def test_npx_that_was_killed(
    launcher: Callable[..., Launcher], package: Package, patient: bool
) -> None:
    """The CCR that it ran is nobody's child then, and ends with its backend all the same."""
    line = f"{sys.executable} {package.entry} start; true"
    backend = await launcher().launch(Package("2.0.0", ("/bin/sh", "-c", line), None))
    assert backend.root != backend.identity
    os.kill(backend.root.pid, signal.SIGKILL)
    assert await backend.wait() == -signal.SIGKILL
    assert is_alive(backend.identity)
    if patient:
        assert (await backend.stop(5)).ended
    else:
        backend.kill()
    await until(lambda: not is_alive(backend.identity))


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


@pytest.mark.parametrize(
    ("mode", "said", "code"),
    [
        ("dies", "CCR exited with code 3 while starting: Error starting server: the key ••• is", 3),
        ("parse error", "CCR exited with code 1 while starting: Error details: JSON5: invalid", 1),
    ],
)
async def test_death_at_start(
    launcher: Callable[..., Launcher], package: Package, mode: str, said: str, code: int
) -> None:
    """A CCR that dies is one sentence with its last error, from its log or its output, no keys."""
    with pytest.raises(StartFailed) as caught:
        await launcher(mode).launch(package)
    assert caught.value.what.startswith(said)
    assert caught.value.exit_code_of_ccr == code
    assert SECRET not in str(caught.value)


@pytest.mark.slow
async def test_no_answer_in_time(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """A CCR that never answers is ended after the timeout, and its last words are quoted."""
    with pytest.raises(StartFailed, match=r"did not answer /health .* it waits for") as caught:
        await launcher("silent", start_timeout=0.7).launch(package)
    assert caught.value.exit_code_of_ccr is None
    assert find_orphans(paths) == []
    assert not paths.ccr_pid.exists()


async def test_answers_that_are_no_health(
    launcher: Callable[..., Launcher], package: Package
) -> None:
    """Any other answer than 200 is not ready."""
    with pytest.raises(StartFailed, match="did not answer"):
        await launcher("unhealthy", start_timeout=0.7).launch(package)


async def test_what_cannot_be_run(launcher: Callable[..., Launcher], package: Package) -> None:
    """A Node that has gone in the meantime is one sentence, exit code 6."""
    gone = replace(package, command=("/nonexistent/node", *package.command[1:]))
    with pytest.raises(RuntimeMissing, match="/nonexistent/node is no longer there") as caught:
        await launcher().launch(gone)
    assert "another Node is looked for" in caught.value.todo
    with pytest.raises(RuntimeMissing) as caught:
        await launcher().launch(replace(gone, entry=None))
    assert "ccr_command" in caught.value.todo


async def test_system_that_starts_nothing(
    launcher: Callable[..., Launcher], package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the system refuses to start a process, the error says so and no pipe stays open."""
    before = psutil.Process().num_fds()

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(RuntimeMissing, match="could not be run: Resource temporarily"):
        await launcher().launch(package)
    assert before == psutil.Process().num_fds()


async def test_says_that_it_runs_once(launcher: Callable[..., Launcher], package: Package) -> None:
    """A start that was lost to the pid file of somebody else is tried again."""
    backend = await launcher("says running once").launch(package)
    assert await backend.healthy()
    await backend.stop(5)


@pytest.mark.parametrize(
    ("mode", "what"), [("says running", "already runs"), ("port taken", "was taken by another")]
)
async def test_bad_luck_for_ever(
    launcher: Callable[..., Launcher], package: Package, mode: str, what: str
) -> None:
    """Bad luck that does not end is given up with the reason."""
    with pytest.raises(StartFailed, match=what):
        await launcher(mode).launch(package)


async def test_a_strangers_port_is_not_ours(
    launcher: Callable[..., Launcher], package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger who answers /health on the port is not taken for our CCR."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    stranger = await asyncio.start_server(serve, "127.0.0.1", 0)
    taken = stranger.sockets[0].getsockname()[1]
    free = free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(module, "free_port", lambda: next(ports))
    assert await answers(taken, 5)
    backend = await launcher().launch(package)
    assert backend.port == free
    await backend.stop(5)
    stranger.close()
    await stranger.wait_closed()


async def test_strangers_pid_neither_stops_nor_suffers(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """A pid file that names a stranger does not stop the start, and the stranger lives."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        write_pid_file(paths, stranger.pid)
        backend = await launcher().launch(package)
        assert read_pid_file(paths) == backend.pid
        assert stranger.poll() is None
        await backend.stop(5)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_ccr_that_somebody_started_is_reported(
    launcher: Callable[..., Launcher], package: Package, paths: Paths, tmp_path: Path
) -> None:
    """A CCR that serves this directory outside our control is named and left alone."""
    port = free_port()
    environ = {**fake_environ(tmp_path), "SERVICE_PORT": str(port)}
    foreign = subprocess.Popen(package.command, env=environ, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while not await answers(port, 1):
                await asyncio.sleep(0.02)
        with pytest.raises(Taken, match=f"pid {foreign.pid}, port {port}"):
            await launcher().launch(package)
        assert read_pid_file(paths) == foreign.pid
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


async def test_beside_one_that_serves(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """A second backend starts beside the first, and ending the first leaves its pid file alone."""
    first = await launcher().launch(package)
    second = await launcher().launch(package, ours=[first.identity])
    assert first.port != second.port
    assert await first.healthy()
    assert read_pid_file(paths) == second.pid
    await first.stop(5)
    assert read_pid_file(paths) == second.pid
    assert await second.healthy()
    await second.stop(5)


async def test_pid_file_that_ccr_itself_deletes(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """When the old one deletes the pid file as it ends, it names the new one again."""
    first = await launcher("deletes").launch(package)
    second = await launcher().launch(package, ours=[first.identity])
    await first.stop(5)
    assert read_pid_file(paths) == second.pid
    await second.stop(5)
    assert read_pid_file(paths) is None


@pytest.mark.slow
async def test_failed_start_beside_one_that_serves(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """When the new one does not come up, the pid file names the one that serves again."""
    first = await launcher().launch(package)
    with pytest.raises(StartFailed):
        await launcher("silent", start_timeout=0.7).launch(package, ours=[first.identity])
    assert read_pid_file(paths) == first.pid
    assert await first.healthy()
    await first.stop(5)


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


async def test_unwritable_directory(launcher: Callable[..., Launcher], package: Package) -> None:
    """A pid file that cannot be written is one sentence, and nothing runs on."""
    start = launcher()

    def full(paths: Paths, pid: int) -> None:
        raise OSError(28, "No space left on device", str(paths.ccr_pid))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_pid_file", full)
        with pytest.raises(SynccrError, match="cannot be written: No space left"):
            await start.launch(package)
    assert find_orphans(start.paths) == []


async def test_talkative_ccr_does_not_wait(
    launcher: Callable[..., Launcher], package: Package
) -> None:
    """A CCR that prints more than a pipe holds goes on, and only the end is kept."""
    backend = await launcher("talks").launch(package)
    assert await backend.healthy()
    await until(lambda: backend.output.endswith("x\n"))
    assert len(backend.output) == 65536
    await backend.stop(5)


def test_output_of_one_that_cannot_start() -> None:
    """A pipe that was never used is closed at both ends."""
    output = Output()
    before = output.writing
    output.abandon()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(before)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n\n", "two"),
        ("one\nLoaded JSON config from: /x\n", "one"),
        ("Error: no such file\n    at x (error.js)\n\nNode.js v20\n", "Error: no such file"),
        ("TypeError: a\nReferenceError: b\nend\n", "ReferenceError: b"),
    ],
)
def test_the_line_that_says_most(text: str, line: str) -> None:
    """Of an output the last error is quoted, else its last line."""
    assert last_error(text) == line


# Orphans


def spawn_orphan(
    package: Package, paths: Paths, root: Path, *, mark: str | None, mode: str = "serves"
) -> subprocess.Popen[bytes]:
    environ = {**fake_environ(root, mode), "SERVICE_PORT": str(free_port())}
    if mark:
        environ["_SYNCCR_INSTANCE"] = mark
    return subprocess.Popen(
        package.command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


async def test_orphans_end_and_nobody_else(package: Package, paths: Paths, tmp_path: Path) -> None:
    """Only a CCR with our mark, or in our register, ends; others of all kinds live on."""
    marked = spawn_orphan(package, paths, tmp_path, mark=str(paths.instance), mode="deaf")
    identity = await running(marked)
    others = make_paths(tmp_path / "others")
    package2 = fake_package(tmp_path / "others")
    registered = spawn_orphan(package2, others, tmp_path / "others", mark=None)
    register = Register.of(paths)
    register.add(await running(registered))
    foreign = spawn_orphan(package2, others, tmp_path / "third", mark="another instance")
    unmarked = spawn_orphan(package2, others, tmp_path / "fourth", mark=None)
    no_ccr = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={"_SYNCCR_INSTANCE": str(paths.instance)},
    )
    processes = [marked, registered, foreign, unmarked, no_ccr]
    try:
        for process in processes:
            await running(process)
        assert find_orphans(paths, [identity]) == [await running(registered)]
        ended = await end_orphans(paths, grace=0.3)
        assert {one.pid for one in ended} == {marked.pid, registered.pid}
        assert [process.poll() is None for process in processes] == [False, False, True, True, True]
        assert register.entries() == []
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def running(process: subprocess.Popen[bytes]) -> ProcessId:
    """The process, as soon as it runs its own program."""
    identity = identify(process.pid)
    assert identity is not None
    command = process.args
    assert isinstance(command, (list, tuple))
    await until(lambda: psutil.Process(process.pid).cmdline() == list(command))
    return identity


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


# The log, followed


async def following(backend: Backend, seen: list[LoggedFailure]) -> asyncio.Task[None]:
    task = asyncio.create_task(follow(backend, seen.append))
    await asyncio.sleep(0.05)
    return task


def failure(pid: int, model: str) -> bytes:
    entry = {"level": 50, "time": 1, "pid": pid, "hostname": "h"}
    entry["msg"] = f"[provider_response_error] Error from provider(p,{model}: 402): no"
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def models(seen: list[LoggedFailure]) -> list[str | None]:
    return [trouble.model for trouble in seen if isinstance(trouble, ProviderFailed)]


async def test_following_a_backend(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """Errors from the backend's start on are reported once, through a rotation, others' are not."""
    backend = await launcher().launch(package)
    log = backend.log_path
    assert log is not None
    seen: list[LoggedFailure] = []
    with log.open("ab") as file:
        file.write(failure(backend.pid, "before") + failure(backend.pid + 1, "another"))
    task = await following(backend, seen)
    with log.open("ab") as file:
        file.write(failure(backend.pid, "now"))
    await until(lambda: len(seen) == 2)
    log.rename(log.with_name("ccr-20260101000000_1.log"))
    log.write_bytes(failure(backend.pid, "after"))
    await until(lambda: len(seen) == 3)
    assert models(seen) == ["before", "now", "after"]
    await end(task)
    await backend.stop(5)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.slow
async def test_following_without_notifications(
    launcher: Callable[..., Launcher], package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system tells of no changes, a look each second finds them."""

    @contextlib.asynccontextmanager
    async def deaf(directory: Path) -> AsyncIterator[asyncio.Event]:
        yield asyncio.Event()

    monkeypatch.setattr("synccr.ccr.log_watch.changes", deaf)
    backend = await launcher().launch(package)
    assert backend.log_path is not None
    seen: list[LoggedFailure] = []
    task = await following(backend, seen)
    with backend.log_path.open("ab") as file:
        file.write(failure(backend.pid, "m"))
    await until(lambda: len(seen) == 1)
    await end(task)
    await backend.stop(5)


async def test_following_a_backend_without_a_log(
    launcher: Callable[..., Launcher], package: Package, paths: Paths
) -> None:
    """A log that is opened later is found then."""
    backend = await launcher().launch(package)
    log, backend._log = backend.log_path, None
    assert log is not None
    with pytest.MonkeyPatch.context() as patch:
        found: list[Path] = []
        patch.setattr("synccr.ccr.backend.find_log", lambda *_: found[0] if found else None)
        seen: list[LoggedFailure] = []
        task = await following(backend, seen)
        found.append(log)
        with log.open("ab") as file:
            file.write(failure(backend.pid, "m"))
        await until(lambda: len(seen) == 1)
        await end(task)
    await backend.stop(5)


@pytest.mark.parametrize("platform", [sys.platform, "darwin"])
async def test_wake_up(tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing, creating and renaming in a directory wake whoever waits, on each platform's way."""
    monkeypatch.setattr(sys, "platform", platform)
    async with wake.changes(tmp_path) as changed:
        await asyncio.sleep(0.3)
        for change in (
            lambda: (tmp_path / "a").write_text("x"),
            lambda: (tmp_path / "a").rename(tmp_path / "b"),
            lambda: (tmp_path / "b").write_text("y"),
        ):
            changed.clear()
            change()
            async with asyncio.timeout(10):
                await changed.wait()


async def test_no_wake_up_without_a_directory(tmp_path: Path) -> None:
    """A directory that is not there cannot wake anybody, and raises nothing."""
    async with wake.changes(tmp_path / "none") as changed:
        assert not changed.is_set()


# Platforms


def test_spawn_options_of_each_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of its own everywhere; a private umask where there are modes."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process_module.spawn_options() == {"start_new_session": True, "umask": 0o077}
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x8000000, raising=False)
    assert process_module.spawn_options() == {"creationflags": 0x8000200}


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_no_wrapper_elsewhere(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has a child end with its parent; elsewhere the command is run as it is."""
    monkeypatch.setattr(sys, "platform", platform)
    command = ("node", "cli.js", "start")
    assert process_module.with_parent_death_signal(command) == command


def test_an_interpreter_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When an upgrade has removed our Python, another one is the helper; without any there is
    none, and CCR is started all the same."""
    monkeypatch.setattr(sys, "platform", "linux")
    assert process_module.with_parent_death_signal(("node",))[0] == sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    base = tmp_path / "base"
    base.touch(mode=0o755)
    monkeypatch.setattr(sys, "_base_executable", str(base), raising=False)
    assert process_module.with_parent_death_signal(("node",))[0] == str(base)
    base.rename(tmp_path / "python3")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process_module.with_parent_death_signal(("node",))[0] == str(tmp_path / "python3")
    monkeypatch.setenv("PATH", "")
    assert process_module.with_parent_death_signal(("node",)) == ("node",)


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
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", program),
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = identify(int(await parent.stdout.readline()))
    assert child is not None
    port = int(environ["SERVICE_PORT"])
    async with asyncio.timeout(10):
        while not await answers(port, 1):
            await asyncio.sleep(0.02)
    parent.kill()
    await parent.wait()
    await until(lambda: not is_alive(child))


async def test_health_of_a_port_without_manners() -> None:
    """Nobody, silence and nonsense on a port are not healthy."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not await answers(silent.getsockname()[1], 0.2)
    assert not await answers(free_port(), 1)

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 200_000)
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    assert not await answers(server.sockets[0].getsockname()[1], 2)
    server.close()
    await server.wait_closed()
