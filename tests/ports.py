"""Ports of 127.0.0.1 for tests: no other test process on this machine is given the same."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from synccr.ports import is_free

# Below the range that the program under test chooses from, which other tests run at this moment.
_RANGE = range(12_000, 20_000)
_SLICE = 200
_lock = threading.Lock()


def _hold_slice() -> tuple[FileLock, range]:
    """A part of the range that is ours as long as this process lives, and the lock that says so."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    place = Path(tempfile.gettempdir(), f"synccr-test-ports-{user}")
    place.mkdir(exist_ok=True)
    for first in range(_RANGE.start, _RANGE.stop, _SLICE):
        lock = FileLock(place / f"{first}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        return lock, range(first, first + _SLICE)
    raise RuntimeError(f"{_RANGE.stop - _RANGE.start} ports are in use by other tests")


def _ports() -> Iterator[int]:
    """Each in turn, so that one that was just handed out is not handed out again."""
    held, ours = _hold_slice()
    while held.is_locked:
        yield from ours


_turn = _ports()


def free_port() -> int:
    """A port that nobody has, and that nobody else is given while a test may come to bind it."""
    with _lock:
        return next(port for port in itertools.islice(_turn, _SLICE) if is_free(port))
