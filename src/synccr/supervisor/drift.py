"""Noticing that a person, or CCR's own page, changed a profile while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from synccr.profiles import Profiles

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


async def watch(files: Sequence[Path], seen: Signature, changed: Callable[[], None]) -> None:
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


def at_port(profiles: Profiles, port: int) -> Profiles:
    """The same profiles on the port that is open: clients know it, and it stays until the end."""
    return replace(profiles, local=replace(profiles.local, port=port))


def story(profiles: Profiles) -> str:
    """What an edit that is taken means, for a person."""
    text = " ".join(["A profile was edited; its models are checked.", *profiles.notes])
    wanted = profiles.primary.port
    if wanted != profiles.local.port:
        text += f" Its port {wanted} counts from the next start on, unless --port says otherwise."
    return text
