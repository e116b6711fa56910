"""CCR's log files: which one a process writes, what it said last, how many to keep.

The name is no guide: after the daily rotation the active file keeps its old name
while its former content goes to a newer looking one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL = 64 * 1024
_CLOCK_SLACK = 2.0


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


def to_delete(files: Sequence[LogFile], limit: int, keep: Collection[Path]) -> list[Path]:
    """Which files to delete, oldest first, so that all together stay within ``limit`` bytes.

    Those in ``keep`` count but are never named.
    """
    excess = sum(file.size for file in files) - limit
    chosen = []
    for file in sorted(files, key=lambda file: (file.modified, file.path)):
        if excess <= 0:
            break
        if file.path not in keep:
            chosen.append(file.path)
            excess -= file.size
    return chosen


def trim_logs(logs: Path, limit: int, keep: Collection[Path]) -> list[Path]:
    """Delete CCR's oldest logs beyond ``limit`` bytes; the ones in ``keep`` are written now.

    Returns:
        what was deleted.
    """
    files = []
    for path in logs.glob("*.log"):
        with contextlib.suppress(OSError):
            stat = path.lstat()
            files.append(LogFile(path, stat.st_size, stat.st_mtime))
    deleted = []
    for path in to_delete(files, limit, keep):
        with contextlib.suppress(OSError):
            path.unlink()
            deleted.append(path)
    return deleted


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
