"""Who holds the lock is known from what it wrote, and a stranger is never taken for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from synccr.ccr.process import identify
from synccr.supervisor.lock import Lock, holder, released

HOLD = """
import sys
from pathlib import Path
from synccr.supervisor.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process


def test_the_holder_is_named(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """As long as it holds the lock, by pid and start; not when it is gone."""
    assert holder(tmp_path) == identify(other.pid)
    other.communicate()
    assert holder(tmp_path) is None


@pytest.mark.parametrize("note", ["", "x", "{pid}:1@then", "0:", "-1:x"])
def test_a_pid_alone_proves_nothing(
    tmp_path: Path, other: subprocess.Popen[str], note: str
) -> None:
    """A note that names a live process with another start, or none, names nobody."""
    assert other.poll() is None
    (tmp_path / "supervisor.pid").write_text(note.format(pid=os.getpid()))
    assert holder(tmp_path) is None


def test_a_glance_is_no_holder(tmp_path: Path) -> None:
    """A start at the moment at which another command looks who holds the lock gets it."""
    looking = FileLock(tmp_path / "supervisor.lock", thread_local=False)
    looking.acquire()
    threading.Timer(0.05, looking.release).start()
    with released(Lock(tmp_path)) as lock:
        lock.acquire()
        assert holder(tmp_path) == identify(os.getpid())


def test_a_note_without_a_lock_proves_nothing(tmp_path: Path) -> None:
    """A process that was the supervisor and still runs is none any more."""
    lock = Lock(tmp_path)
    lock.acquire()
    lock.release()
    assert (tmp_path / "supervisor.pid").read_text() == str(identify(os.getpid()))
    assert holder(tmp_path) is None
