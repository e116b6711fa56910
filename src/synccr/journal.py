"""The journal: what synccr decided and did, one JSON object a line.

Bounded: at ``LIMIT`` bytes the file becomes the one before (one is kept). Each
line is appended with a single write, so that a reader never sees half of one
that a kill did not cut; readers pass over a line that is no JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from synccr.clock import utc_now
from synccr.files import open_to_append

Kind = Literal[
    "started",
    "preflight",
    "healed",
    "error_seen",
    "swap_started",
    "swapped",
    "swap_failed",
    "crashed",
    "restarted",
    "recovered",
    "exhausted",
    "stopped",
    "edited",
    "override",
    "quota",
    "checked",
    "notified",
    "resent",
    "cut",
    "capture",
]

LIMIT = 2 * 1024 * 1024
"""Bytes of one journal file."""


def stamp(moment: datetime) -> str:
    """ISO 8601, UTC, milliseconds, as everywhere in ``--json``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Journal:
    """Appends to and reads from one journal file.

    Args:
        path: the file; its directory is made.
        redact: applied to every text that goes in.
        clock: the wall clock.
    """

    def __init__(
        self,
        path: Path,
        redact: Callable[[str], str] = str,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.path = path
        self._redact = redact
        self._clock = clock

    def write(self, kind: str, **data: Any) -> dict[str, Any]:
        """Append an entry and return it; a full disk loses the entry, not the program."""
        entry = {"at": stamp(self._clock()), "kind": kind, **_clean(data, self._redact)}
        line = json.dumps(entry, ensure_ascii=False, default=str) + "\n"
        with contextlib.suppress(OSError):
            self._append(line.encode("utf-8", "replace"))
        return entry

    def read(self) -> Iterator[dict[str, Any]]:
        """All entries, oldest first."""
        for path in (self._older, self.path):
            try:
                with path.open("rb") as file:
                    yield from filter(None, map(parse, file))
            except FileNotFoundError:
                continue

    @property
    def _older(self) -> Path:
        return self.path.with_suffix(self.path.suffix + ".1")

    def _append(self, line: bytes) -> None:
        handle = open_to_append(self.path)
        try:
            size = os.fstat(handle).st_size
            # A line that a full disk or a kill has cut must not take this one with it.
            os.write(handle, b"\n" + line if size and _cut(self.path) else line)
        finally:
            os.close(handle)
        if size > LIMIT:
            self.path.replace(self._older)


def _cut(path: Path) -> bool:
    """Whether a file that is not empty ends within a line."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def parse(line: bytes) -> dict[str, Any] | None:
    """One line of a journal; None when it is not an entry."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry else None


def _clean(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _clean(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, redact) for item in value]
    return value
