"""CCR's pid file: whose process it names, and making it name the right one.

``ccr start`` takes any live process whose pid stands there for a running CCR,
says "server is running" and exits 0; ``ccr stop`` kills that process whatever
it is. So the file is out of the way before each start, and right after it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from synccr.ccr.process import ProcessId, identify
from synccr.ccr.process_markers import is_ccr_of, listening_ports
from synccr.files import write_atomic
from synccr.paths import Paths

_NUMBER = re.compile(rb"\s*([+-]?\d+)")


@dataclass(frozen=True)
class Ours:
    """A backend of this supervisor."""

    identity: ProcessId


@dataclass(frozen=True)
class ForeignCCR:
    """A CCR that serves this directory outside our control: somebody ran ``ccr start``.

    Attributes:
        ports: where it listens; empty while it starts, or when it never will.
    """

    identity: ProcessId
    ports: frozenset[int]


@dataclass(frozen=True)
class Stranger:
    """A live process that has nothing to do with CCR; it is left alone."""

    pid: int


Owner = Ours | ForeignCCR | Stranger


def pid_file_owner(paths: Paths, ours: Iterable[ProcessId] = ()) -> Owner | None:
    """Whose process the pid file names.

    Args:
        paths: where the file is.
        ours: the backends that run.

    Returns:
        None when there is no file, no number in it, or no such process.
    """
    pid = read_pid_file(paths)
    if pid is None:
        return None
    if pid <= 1:  # 0 and -1 are "everybody" to kill(2), and CCR takes them for alive
        return Stranger(pid)
    identity = identify(pid)
    if identity is None:
        return None
    if identity in set(ours):
        return Ours(identity)
    if is_ccr_of(identity, paths.ccr):
        return ForeignCCR(identity, frozenset(listening_ports([identity]) or ()))
    return Stranger(pid)


def read_pid_file(paths: Paths) -> int | None:
    """The number at the start of the file, as CCR's ``parseInt`` reads it; None without one."""
    try:
        match = _NUMBER.match(paths.ccr_pid.read_bytes()[:32])
    except OSError:
        return None
    return int(match[1]) if match else None


def write_pid_file(paths: Paths, pid: int) -> None:
    """Name the process that serves, so that CCR's own commands find it.

    Raises:
        OSError: the former file is untouched.
    """
    write_atomic(paths.ccr_pid, str(pid).encode())


def remove_pid_file(paths: Paths, pid: int | None = None) -> None:
    """Take the file away; with ``pid``, only if it still names that process.

    Raises:
        OSError: it is there and cannot be removed.
    """
    if pid is None or read_pid_file(paths) == pid:
        with contextlib.suppress(FileNotFoundError):
            paths.ccr_pid.unlink()
