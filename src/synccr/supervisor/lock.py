"""One supervisor for one CCR directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from synccr.errors import SynccrError, Taken
from synccr.files import own_directory


class Lock:
    """One instance's lock. The kernel keeps it, so it ends with the process that holds
    it, however that dies."""

    def __init__(self, instance: Path) -> None:
        from filelock import FileLock

        self._instance = instance
        self._lock = FileLock(own_directory(instance) / "supervisor.lock", mode=0o600)

    def acquire(self, timeout: float = 0.0) -> None:
        """Take it, within so many seconds.

        Raises:
            Taken: another supervisor holds it; says where that one is.
        """
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=timeout)
        except Timeout as error:
            raise Taken(_where(self._instance), "Use it, or end it: synccr stop") from error

    def release(self) -> None:
        """Leave it to others; nothing happens when it is not held."""
        self._lock.release()


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
