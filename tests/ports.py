"""Ports of 127.0.0.1 for tests: no other test process on this machine is given the same."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

from synccr.ports import is_free

# Below the range that the program under test chooses from: other tests run it at this moment.
_FIRST, _LAST = 12_000, 19_999
_SLICE = 200
_lock = threading.Lock()


def _hold_slice() -> tuple[socket.socket, range]:
    """A part of the range; who has its first port bound has all of it, as long as it lives."""
    for first in range(_FIRST, _LAST, _SLICE):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", first))
        except OSError:
            held.close()
            continue
        return held, range(first + 1, first + _SLICE)
    raise RuntimeError(f"the ports {_FIRST} to {_LAST} are all in use by tests")


def _ports() -> Iterator[int]:
    """Each in turn, so that one that was just handed out is not handed out again."""
    held, ours = _hold_slice()
    with held:
        yield from itertools.cycle(ours)


_turn = _ports()


def free_port() -> int:
    """A port that nobody has, and that nobody else is given while a test may come to bind it.

    Raises:
        RuntimeError: there is none.
    """
    with _lock:
        for port in itertools.islice(_turn, _SLICE):
            if is_free(port):
                return port
    raise RuntimeError("every port of this process is taken")
