"""Processes: started so that they end with us, told apart, ended with all that they started.

A process is known by its pid together with when it started, because pids are given
out again: before a signal is sent the process is looked at once more, so that a
stranger that came by the number is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_STOPS_WITHIN = 0.5
_LOOK = 0.01
_KILL_WAIT = 10.0
_SIGKILL = 9

# Runs in the child before its program: Linux sends it a signal when the thread of
# ours that started it is gone, whatever ended it. A wrapper of 18 ms and not preexec_fn,
# which may deadlock beside threads; the pid and the process group stay the same.
_ENDS_WITH_PARENT = (
    "import ctypes, os, sys;"
    "ctypes.CDLL(None).prctl(1, int(sys.argv[2]));"  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv[1]) or sys.exit(1);"  # it went before we asked
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


class ProcessId(NamedTuple):
    """One process, for as long as the machine is up.

    Attributes:
        pid: its number.
        started: a word for its start; equal only for the same process. On Linux
            kernel ticks since boot and the boot's id, because the wall-clock time
            that psutil derives from them moves when the clock is set.
    """

    pid: int
    started: str

    def __str__(self) -> str:
        return f"{self.pid}:{self.started}"


def identify(pid: int) -> ProcessId | None:
    """The live process with this number; None when there is none (a zombie is none)."""
    if pid <= 0:
        return None
    started = _started_linux(pid) if sys.platform == "linux" else _started_elsewhere(pid)
    return ProcessId(pid, started) if started else None


def is_alive(identity: ProcessId) -> bool:
    """Whether this very process still runs."""
    return identify(identity.pid) == identity


def send(identity: ProcessId, number: int) -> bool:
    """Send a signal to this very process.

    Returns:
        False when it is gone or belongs to somebody else; nothing was sent then.
    """
    if not is_alive(identity):
        return False
    try:
        if sys.platform == "linux":
            _send_linux(identity, number)
        else:
            os.kill(identity.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ask_to_end(identity: ProcessId) -> bool:
    """SIGTERM; on Windows, which has no such thing for a process without a window, the end."""
    return send(identity, signal.SIGTERM)


def resume(identity: ProcessId) -> bool:
    """SIGCONT, for a process that was stopped (Ctrl-Z); Windows has no such thing."""
    if sys.platform == "win32":
        return False
    else:
        return send(identity, signal.SIGCONT)


def end_now(identity: ProcessId) -> bool:
    """SIGKILL, or what Windows has for it: there any signal ends a process at once."""
    number = signal.SIGTERM
    if sys.platform != "win32":
        number = signal.SIGKILL
    return send(identity, number)


@contextlib.contextmanager
def paused(identity: ProcessId) -> Iterator[None]:
    """Hold a child of ours for a moment (SIGSTOP), so that it writes nothing meanwhile.

    What is no child of ours, or does not stop within half a second, is not waited
    for; Windows has no such thing.
    """
    if sys.platform == "win32":
        yield
        return
    else:
        stopped = send(identity, signal.SIGSTOP)
        try:
            if sys.platform == "linux":
                deadline = time.monotonic() + _STOPS_WITHIN
                while stopped and not _has_stopped(identity.pid) and time.monotonic() < deadline:
                    time.sleep(0.0002)
            yield
        finally:
            if stopped:
                resume(identity)


def tree(root: ProcessId) -> list[ProcessId]:
    """A process and everything that it started, outermost first."""
    return [root, *descendants(root)]


def end_tree_now(root: ProcessId) -> None:
    """SIGKILL to a process and to everything that it started; nobody is waited for."""
    for member in tree(root):
        end_now(member)


async def end(members: Collection[ProcessId], grace: float) -> bool:
    """End processes and what they started: SIGTERM, then SIGKILL.

    Args:
        members: looked up beforehand, because the children of a process that has ended
            are nobody's.
        grace: seconds between both signals; 0 kills at once.

    Returns:
        whether SIGKILL was needed.
    """
    if grace > 0:
        for member in members:
            ask_to_end(member)
    if await _gone(members, grace):
        return False
    everybody = {found for member in members for found in tree(member)}
    for member in everybody:
        end_now(member)
    await _gone(everybody, _KILL_WAIT)
    return True


async def _gone(members: Collection[ProcessId], timeout: float) -> bool:
    """Wait for their end; nobody tells us when a grandchild ends."""
    deadline = time.monotonic() + timeout
    while any(map(is_alive, members)):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_LOOK)
    return True


def with_parent_death_signal(command: tuple[str, ...], number: int = _SIGKILL) -> tuple[str, ...]:
    """``command``, sent this signal by the system when we end, where there is such a thing
    (Linux)."""
    python = interpreter() if sys.platform == "linux" else None
    if python is None:
        return command
    return (python, "-I", "-S", "-c", _ENDS_WITH_PARENT, str(os.getpid()), str(number), *command)


def interpreter() -> str | None:
    """A Python that is there now: an upgrade may have removed the one that runs us."""
    for candidate in (sys.executable, getattr(sys, "_base_executable", None)):
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    return shutil.which("python3") or shutil.which("python")


def spawn_options() -> dict[str, Any]:
    """Arguments for a spawn: a process group of its own, and files for one person only."""
    options: dict[str, Any] = {}
    if sys.platform == "win32":
        # Ctrl-C in the console is ours to handle.
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    else:
        options["start_new_session"] = True
        # CCR's log, pid file and ~/.claude.json are nobody else's to read.
        options["umask"] = 0o077
    return options


def descendants(identity: ProcessId) -> list[ProcessId]:
    """Everything that this process started and that still runs, outermost first."""
    import psutil

    if not is_alive(identity):
        return []
    try:
        children = psutil.Process(identity.pid).children(recursive=True)
    except psutil.Error:
        return []
    return [found for child in children if (found := identify(child.pid))]


if sys.platform == "linux":

    def _has_stopped(pid: int) -> bool:
        """Whether all threads of a child have stopped; asking takes nothing from who waits
        for its end."""
        try:
            options = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
            return os.waitid(os.P_PID, pid, options) is not None
        except ChildProcessError:
            return True  # nobody we could ask about

    def _send_linux(identity: ProcessId, number: int) -> None:
        """Through a handle that is bound to the process before it is looked at once more."""
        try:
            handle = os.pidfd_open(identity.pid)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOSYS):
                raise
            os.kill(identity.pid, number)  # no file to be had: the look before has to do
            return
        try:
            if not is_alive(identity):
                raise ProcessLookupError
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _started_linux(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name, second, is in parentheses and may hold anything; the rest is numbers.
    fields = text[text.rindex(b")") + 2 :].split()
    state, ticks = fields[0], fields[19]
    return None if state in b"ZXx" else f"{ticks.decode()}@{_boot()}"


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "-"


def _started_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return repr(process.create_time())
    except psutil.Error:
        return None
