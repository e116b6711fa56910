"""CCR's log files: which one a process writes, what it said last, how many to keep.

The name is no guide: after the daily rotation the active file keeps its old name
while its former content goes to a newer looking one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL = 64 * 1024
_CLOCK_SLACK = 2.0
_MOST_FILES = 100
_NAME = re.compile(r"ccr-\d{14}(_\d+)?\.log")


def find_log(logs: Path, pid: int, since: float) -> Path | None:
    """The log that a process writes.

    Args:
        logs: CCR's directory of logs.
        pid: of the process.
        since: when it started, seconds since the epoch.

    Returns:
        None when it has none open, or when that cannot be told yet.
    """
    opened = _open_files_linux(pid) if sys.platform == "linux" else _open_files_elsewhere(pid)
    if opened is not None:
        directory = logs.resolve()
        for path in opened:
            if path.parent == directory and path.suffix == ".log":
                return logs / path.name
        return None
    for path in _newest_first(logs, since):
        if any(entry.get("pid") == pid for entry in _tail(path)):
            return path
    return None


def unread(logs: Path, done: dict[int, int]) -> Iterator[bytes]:
    """Whole lines of all logs that were written since the last time.

    Args:
        logs: CCR's directory of logs.
        done: how far each file was read, by inode, because the rotation renames; brought up to
            date when all is read.
    """
    there = {}
    for path in logs.glob("ccr-*.log"):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            found = os.fstat(file.fileno())
            at = min(done.get(found.st_ino, 0), found.st_size)
            file.seek(at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                at += len(line)
                yield line
            there[found.st_ino] = at
    done.clear()
    done.update(there)


def last_logged_error(logs: Path, pid: int | None, since: float) -> str:
    """The last error that a process logged, in its own words; empty when there is none.

    Args:
        logs: CCR's directory of logs.
        pid: of the process; None for any that wrote since.
        since: when it started, seconds since the epoch.
    """
    for path in _newest_first(logs, since):
        for entry in reversed(list(_tail(path))):
            level, time, said = entry.get("level"), entry.get("time"), entry.get("msg")
            if not (isinstance(level, int) and level >= 50 and isinstance(time, int | float)):
                continue
            if time / 1000 < since - _CLOCK_SLACK or pid not in (None, entry.get("pid")):
                continue
            if isinstance(said, str) and said:
                return said
    return ""


@dataclass(frozen=True)
class LogFile:
    """One file of the directory of logs; ``modified`` in seconds since the epoch."""

    path: Path
    size: int
    modified: float


def to_delete(
    files: Sequence[LogFile], limit: int, keep: Collection[Path], most: int = _MOST_FILES
) -> list[Path]:
    """Which files to delete, oldest first, so that all together stay within ``limit`` bytes
    and are at most ``most``.

    Those in ``keep`` count but are never named.
    """
    excess, count = sum(file.size for file in files) - limit, len(files)
    chosen = []
    for file in sorted(files, key=lambda file: (file.modified, file.path)):
        if excess <= 0 and count <= most:
            break
        if file.path not in keep:
            chosen.append(file.path)
            excess, count = excess - file.size, count - 1
    return chosen


def trim_logs(logs: Path, limit: int) -> list[Path]:
    """Delete CCR's oldest logs beyond ``limit`` bytes: plain files of this user with the names
    that CCR gives them. One that any process holds open stays.

    Returns:
        what was deleted.
    """
    files = []
    for path in logs.iterdir() if logs.is_dir() else ():
        with contextlib.suppress(OSError):
            found = path.lstat()
            if _NAME.fullmatch(path.name) and stat.S_ISREG(found.st_mode):
                files.append(LogFile(path, found.st_size, found.st_mtime))
    if not to_delete(files, limit, ()):
        return []
    deleted = []
    for path in to_delete(files, limit, _held_open(logs)):
        with contextlib.suppress(OSError):
            path.unlink()
            deleted.append(path)
    return deleted


def _held_open(logs: Path) -> set[Path]:
    """Files of this directory that some process has open, as far as the system shows it."""
    import psutil

    look = _open_files_linux if sys.platform == "linux" else _open_files_elsewhere
    directory = logs.resolve()
    opened = (path for pid in psutil.pids() for path in look(pid) or ())
    return {logs / path.name for path in opened if path.parent == directory}


def _newest_first(logs: Path, since: float) -> list[Path]:
    """Logs that were written since then."""
    found = []
    for path in logs.glob("*.log"):
        with contextlib.suppress(OSError):
            modified = path.stat().st_mtime
            if modified >= since - _CLOCK_SLACK:
                found.append((modified, path))
    return [path for _, path in sorted(found, reverse=True)]


def _tail(path: Path) -> Iterator[dict[str, Any]]:
    """The entries among the last 64 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            data = file.read(_TAIL)
    except OSError:
        return
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _open_files_linux(pid: int) -> list[Path] | None:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    found = []
    for link in links:
        with contextlib.suppress(OSError):
            found.append(link.readlink())
    return found


def _open_files_elsewhere(pid: int) -> list[Path] | None:
    import psutil

    try:
        opened = psutil.Process(pid).open_files()
    except psutil.Error:
        return None
    return [Path(file.path) for file in opened]
