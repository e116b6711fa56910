"""One supervisor for one CCR directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from synccr.errors import SynccrError, Taken
from synccr.files import private_directory


@contextlib.contextmanager
def held(instance: Path) -> Iterator[None]:
    """Hold the instance's lock. The kernel keeps it, so it ends with the process that
    holds it, however that dies.

    Raises:
        Taken: another supervisor holds it; says where that one is.
    """
    from filelock import FileLock, Timeout

    private_directory(instance)
    lock = FileLock(instance / "supervisor.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Taken(_where(instance), "Use it, or end it: synccr stop") from error
    try:
        yield
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
