"""Which process is which, which one is a CCR, and whose pid is in the pid file."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ccr_kit import NAME, fake_entry, make_paths

from processes import started
from synccr.ccr import process as module
from synccr.ccr.process import (
    ProcessId,
    ask_to_end,
    descendants,
    end_now,
    identify,
    is_alive,
    send,
)
from synccr.ccr.process_markers import is_ccr
from synccr.ccr.v2.pid_file import (
    ForeignCCR,
    Ours,
    Stranger,
    pid_file_owner,
    read_pid_file,
    remove_pid_file,
    write_pid_file,
)
from synccr.paths import Paths

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with CCR."""
    with started([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_paths(tmp_path)


PLATFORMS = pytest.mark.parametrize("platform", [sys.platform, "darwin", "win32"])


@PLATFORMS
def test_identity_holds_while_the_process_lives(
    sleeper: subprocess.Popen[bytes], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process has one identity from start to end, and none as a zombie or afterwards."""
    monkeypatch.setattr(sys, "platform", platform)
    identity = identify(sleeper.pid)
    assert identity is not None
    assert identity.pid == sleeper.pid
    assert identify(sleeper.pid) == identity
    assert is_alive(identity)
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(identity)
    sleeper.wait()
    assert identify(sleeper.pid) is None


@PLATFORMS
def test_no_signal_to_a_stranger(
    sleeper: subprocess.Popen[bytes], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal meant for a former owner of the number does not reach the one that has it now."""
    monkeypatch.setattr(sys, "platform", platform)
    former = ProcessId(sleeper.pid, "another start")
    assert not send(former, signal.SIGKILL)
    assert not ask_to_end(former)
    assert not end_now(former)
    assert descendants(former) == []
    assert sleeper.poll() is None


@PLATFORMS
def test_signal_reaches_its_process(
    sleeper: subprocess.Popen[bytes], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process itself gets the signal."""
    monkeypatch.setattr(sys, "platform", platform)
    identity = identify(sleeper.pid)
    assert identity is not None
    assert end_now(identity)
    expected = signal.SIGTERM if platform == "win32" else signal.SIGKILL
    assert sleeper.wait(10) == -expected


def test_signal_without_a_free_file_descriptor(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that has run out of file descriptors can still end its children."""

    def exhausted(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", exhausted, raising=False)
    identity = identify(sleeper.pid)
    assert identity is not None
    assert end_now(identity)
    assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("pid", [0, -1, -5, 2**31 + 5])
def test_numbers_that_are_no_process(pid: int) -> None:
    """0, negative and absurd numbers are no process."""
    assert identify(pid) is None
    assert not send(ProcessId(pid, "x"), 0)


def test_names_of_programs_cannot_confuse(tmp_path: Path) -> None:
    """A program whose name holds parentheses and spaces is still identified."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    with started([str(program), "60"]) as process:
        identity = identify(process.pid)
        assert identity is not None
        ticks = int(identity.started.split("@")[0]) if sys.platform == "linux" else 0
        assert ticks >= 0
        assert is_alive(identity)


def test_descendants(tmp_path: Path) -> None:
    """Children and their children are found."""
    code = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); p.wait()"
    )
    with started([sys.executable, "-c", code], stdout=subprocess.PIPE) as outer:
        assert outer.stdout
        outer.stdout.readline()
        root = identify(outer.pid)
        assert root is not None
        found = descendants(root)
        assert len(found) == 1
        end_now(found[0])
        outer.wait(10)
    assert not is_alive(found[0])


def test_psutil_trouble_is_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses to show a process, it has no identity."""
    monkeypatch.setattr(sys, "platform", "darwin")

    def refuse(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", refuse)
    assert module.identify(os.getpid()) is None


@pytest.mark.parametrize(
    "command",
    [
        ["node", f"/h/.npm/_npx/3d/node_modules/{NAME}/dist/cli.js", "start"],
        [
            "/usr/bin/node",
            "/usr/lib/node_modules/@musistudio/claude-code-router/dist/cli.js",
            "start",
        ],
        ["node", "/usr/bin/ccr", "start"],
        ["node", "--require", "/x/synccr/ccr/preload.cjs", f"/h/{NAME}/dist/cli.js", "start"],
        ["ccr", "start"],
        [f"npm exec {NAME}@2.0.0 start"],
        ["npm exec --package=@musistudio/claude-code-router@2.0.0 -- ccr start"],
        ["sh", "-c", "ccr start"],
        ["sh", "-c", 'ccr "start"'],
        ["node.exe", f"C:\\x\\node_modules\\{NAME.replace('/', chr(92))}\\dist\\cli.js", "start"],
        ["cmd.exe", "/d", "/s", "/c", "ccr.cmd start"],
        ["node", f"/h/{NAME}/dist/main/cli.js", "serve", "--no-open", "--port", "24000"],
        ["npm", "exec", f"{NAME}@3.1.1", "serve", "--no-open", "--port", "24000"],
    ],
)
def test_command_lines_of_ccr(command: list[str]) -> None:
    """CCR is recognised however it was started."""
    assert is_ccr(command)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["node", "server.js", "start"],
        ["vim", f"/h/{NAME}/dist/cli.js"],
        ["node", f"/h/{NAME}/dist/cli.js", "code"],
        ["node", f"/h/{NAME}/dist/cli.js", "statusline"],
        ["accr", "start"],
        ["synccr", "start"],
        ["python", "-m", "synccr", "start"],
        ["ccrx", "start"],
        ["node", "--require", "/x/synccr/ccr/preload.cjs", "server.js", "start"],
        ["grep", "ccr", "start.txt"],
        ["ccr", "restart"],
        ["node", f"/h/{NAME}/dist/main/cli.js", "serve", "--help"],
    ],
)
def test_command_lines_of_others(command: list[str]) -> None:
    """Other programs, and other commands of CCR, are not a CCR that serves."""
    assert not is_ccr(command)


@pytest.mark.parametrize(
    ("content", "pid"),
    [
        ("123", 123),
        (" 123\n", 123),
        ("123abc", 123),
        ("-1", -1),
        ("0", 0),
        ("", None),
        ("x", None),
        ("\xff", None),
    ],
)
def test_pid_file_is_read_as_ccr_reads_it(paths: Paths, content: str, pid: int | None) -> None:
    """The number at the start counts, as JavaScript's parseInt has it."""
    paths.ccr_pid.write_text(content, encoding="latin-1")
    assert read_pid_file(paths) == pid


def test_nobody_in_the_pid_file(paths: Paths) -> None:
    """No file, no number and no such process are nobody."""
    assert pid_file_owner(paths) is None
    for content in ("", "none", str(2**22 + 7)):
        paths.ccr_pid.write_text(content)
        assert pid_file_owner(paths) is None


@pytest.mark.parametrize("pid", [1, 0, -1])
def test_everybody_is_a_stranger(paths: Paths, pid: int) -> None:
    """Numbers that kill(2) takes for everybody are a stranger's."""
    write_pid_file(paths, pid)
    assert pid_file_owner(paths) == Stranger(pid)


def test_stranger_and_ours(paths: Paths, sleeper: subprocess.Popen[bytes]) -> None:
    """A live process is a stranger, unless it is one of the backends that run."""
    write_pid_file(paths, sleeper.pid)
    identity = identify(sleeper.pid)
    assert identity is not None
    assert pid_file_owner(paths) == Stranger(sleeper.pid)
    assert pid_file_owner(paths, [identity]) == Ours(identity)
    assert pid_file_owner(paths, [ProcessId(sleeper.pid, "before")]) == Stranger(sleeper.pid)


@contextlib.contextmanager
def ccr_of(home: Path, entry: Path) -> Iterator[subprocess.Popen[bytes]]:
    entry.write_text(
        "import socket, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "time.sleep(60)\n"
    )
    command = (sys.executable, str(entry), "start")
    with started(command, env={"HOME": str(home)}, stdout=subprocess.PIPE) as process:
        yield process


def test_a_ccr_that_somebody_started(paths: Paths, tmp_path: Path) -> None:
    """A CCR of this directory is told from one of another home, with the ports it listens on."""
    for home, foreign in ((tmp_path / "home", True), (tmp_path / "other", False)):
        with ccr_of(home, fake_entry(tmp_path)) as process:
            assert process.stdout
            port = int(process.stdout.readline())
            write_pid_file(paths, process.pid)
            identity = identify(process.pid)
            assert identity is not None
            expected = ForeignCCR(identity, frozenset({port})) if foreign else Stranger(process.pid)
            assert pid_file_owner(paths) == expected


def test_pid_file_is_private_and_goes_away(paths: Paths) -> None:
    """The file is 0600 and is removed only while it names the process that is meant."""
    write_pid_file(paths, 4711)
    assert paths.ccr_pid.read_text() == "4711"
    assert paths.ccr_pid.stat().st_mode & 0o777 == 0o600
    remove_pid_file(paths, 4712)
    assert paths.ccr_pid.exists()
    remove_pid_file(paths, 4711)
    assert not paths.ccr_pid.exists()
    remove_pid_file(paths)


def test_spawn_options_of_each_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of its own everywhere; a private umask where there are modes."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert module.spawn_options() == {"start_new_session": True, "umask": 0o077}
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x8000000, raising=False)
    assert module.spawn_options() == {"creationflags": 0x8000200}


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_no_wrapper_elsewhere(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has a child end with its parent; elsewhere the command is run as it is."""
    monkeypatch.setattr(sys, "platform", platform)
    command = ("node", "cli.js", "start")
    assert module.with_parent_death_signal(command) == command


def test_an_interpreter_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When an upgrade has removed our Python, another one is the helper; without any there is
    none, and CCR is started all the same."""
    monkeypatch.setattr(sys, "platform", "linux")
    assert module.with_parent_death_signal(("node",))[0] == sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    base = tmp_path / "base"
    base.touch(mode=0o755)
    monkeypatch.setattr(sys, "_base_executable", str(base), raising=False)
    assert module.with_parent_death_signal(("node",))[0] == str(base)
    base.rename(tmp_path / "python3")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.with_parent_death_signal(("node",))[0] == str(tmp_path / "python3")
    monkeypatch.setenv("PATH", "")
    assert module.with_parent_death_signal(("node",)) == ("node",)
