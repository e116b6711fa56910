"""Noticing that a person, or CCR's own page, changed a profile while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from synccr.heal import Local
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


def settled(profiles: Profiles, local: Local) -> Profiles:
    """The same profiles on the port that is open, which clients know: it stays until the end.
    So does a key that is taken away, because the port may be open to other machines."""
    key = profiles.local.api_key or local.api_key
    return replace(profiles, local=replace(profiles.local, port=local.port, api_key=key))


def story(profiles: Profiles) -> str:
    """What an edit that is taken means, for a person."""
    text = " ".join(["A profile was edited; its models are checked.", *profiles.notes])
    later = []
    if profiles.primary.port != profiles.local.port:
        later.append(f"the port {profiles.primary.port}")
    if (
        profiles.local.api_key
        and not profiles.primary.api_key_text
        and not profiles.primary.shipped
    ):
        later.append("taking APIKEY away")
    if later:
        text += f" What counts from the next start on: {' and '.join(later)}."
    return text
