"""Noticing that files have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

INTERVAL = 1.0
"""Seconds between looks. Three ``stat`` calls cost less than a watcher would."""

Signature = tuple[tuple[int, int, int] | None, ...]


def signature(files: Sequence[Path]) -> Signature:
    """What tells one state of some files from another."""
    return tuple(_one(path) for path in files)


def _one(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def watch_files(
    files: Sequence[Path], seen: Signature, changed: Callable[[], object]
) -> None:
    """Call ``changed`` once files differ from ``seen`` and are left alone for one interval."""
    while True:
        await asyncio.sleep(INTERVAL)
        found = signature(files)
        if found == seen:
            continue
        while True:
            await asyncio.sleep(INTERVAL)
            again = signature(files)
            if again == found:
                break
            found = again
        seen = found
        changed()
