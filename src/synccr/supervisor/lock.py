"""One supervisor for one CCR directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from synccr.ccr.process import ProcessId, identify, is_alive
from synccr.errors import SynccrError, Taken
from synccr.files import own_directory, write_atomic

_GLANCE = 0.3
"""Seconds in which the lock may be taken by who only looks whether it is, as ``holder`` does."""


class Lock:
    """One instance's lock. The kernel keeps it, so it ends with the process that holds
    it, however that dies."""

    def __init__(self, instance: Path) -> None:
        from filelock import FileLock

        self._instance = instance
        self._lock = FileLock(own_directory(instance) / "supervisor.lock", mode=0o600)

    def acquire(self, timeout: float = _GLANCE) -> None:
        """Take it, within so many seconds.

        Raises:
            Taken: another supervisor holds it; says where that one is.
        """
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=timeout, poll_interval=0.02)
        except Timeout as error:
            raise Taken(_where(self._instance), "Use it, or end it: synccr stop") from error
        path = _holder_file(self._instance)
        with contextlib.suppress(OSError):  # on a full disk nobody can be told who holds it
            path.unlink(missing_ok=True)
            write_atomic(path, str(identify(os.getpid())).encode())

    def release(self) -> None:
        """Leave it to others; nothing happens when it is not held."""
        self._lock.release()


def holder(instance: Path) -> ProcessId | None:
    """The process that holds the lock, by what it wrote when it took it: its pid and when it
    started, so that a stranger who came by the pid is not taken for it."""
    from filelock import FileLock, Timeout

    try:
        pid, _, started = _holder_file(instance).read_text("utf-8").partition(":")
        found = ProcessId(int(pid), started)
    except (OSError, ValueError):
        return None
    lock = FileLock(instance / "supervisor.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return found if is_alive(found) else None
    lock.release()
    return None  # nobody does


def _holder_file(instance: Path) -> Path:
    return instance / "supervisor.pid"


@contextlib.contextmanager
def released(lock: Lock) -> Iterator[Lock]:
    """See that a lock is not held at the end."""
    try:
        yield lock
    finally:
        lock.release()


def _where(instance: Path) -> str:
    from synccr.control import request

    try:
        status = request(instance, "status", timeout=2.0)
        return (
            f"synccr runs already: supervisor pid {status['supervisor']['pid']}, "
            f"endpoint {status['endpoint']}."
        )
    except (SynccrError, KeyError, TypeError):
        return "Another synccr is starting or stopping for this CCR directory."
