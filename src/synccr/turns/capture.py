"""Bodies in a file, for as long as a person wants them: the one place that stores content.

One JSON object a line: ``at``, ``turn``, ``try``, ``direction``, ``text``. Known keys are
masked, also where a key arrives in two pieces: the end of a piece waits for what follows.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from synccr.clock import utc_now
from synccr.journal import stamp

LIMIT = 64 * 1024 * 1024
"""Bytes of one file."""
_HELD = 64 * 1024  # bytes of one body that wait for a place at which no key is cut
_LONGEST_KEY = 1024
_BODIES = 512  # bodies that wait at one time
_BETWEEN = re.compile(rb"[\s\",]")

Direction = Literal["request", "answer"]
_Body = tuple[int, int, Direction]


class Capture:
    """One file, from its making to its end; then everything is ignored.

    Args:
        path: it must not be there; made with mode 0600.
        until: when it ends, on ``clock``.
        limit: bytes of the file.
        redact: masks the keys that are known.
        clock: seconds that never go back.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        until: float,
        limit: int,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.until, self.limit = path, until, limit
        self.written = 0
        self._redact, self._clock = redact, clock
        self._held: dict[_Body, bytes] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        if sys.platform != "win32":
            flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: int | None = os.open(path, flags, 0o600)

    @property
    def active(self) -> bool:
        """Whether it still takes anything; ends it when its time is over."""
        if self._file is not None and self._clock() >= self.until:
            self.close()
        return self._file is not None

    def write(self, turn: int, attempt: int, direction: Direction, data: bytes) -> None:
        """Keep a piece of a body. A disk that is full ends the capture, nothing else."""
        if not self.active:
            return
        body = (turn, attempt, direction)
        held = self._held.pop(body, b"") + data
        ready, rest = _parted(held)
        if rest:
            self._held[body] = rest
        self._put(body, ready)
        if len(self._held) > _BODIES:
            oldest = next(iter(self._held))
            self._put(oldest, self._held.pop(oldest))

    def end(self, turn: int, attempt: int, direction: Direction) -> None:
        """A body is whole."""
        body = (turn, attempt, direction)
        if self.active and (rest := self._held.pop(body, None)):
            self._put(body, rest)

    def close(self) -> None:
        """End it; what waits is written."""
        held, self._held = self._held, {}
        for body, rest in held.items():
            self._put(body, rest)
        self._shut()

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _put(self, body: _Body, data: bytes) -> None:
        if self._file is None or not data:
            return
        turn, number, direction = body
        text = self._redact(data.decode("utf-8", "replace"))
        entry = {"at": stamp(utc_now()), "turn": turn, "try": number, "direction": direction}
        line = json.dumps({**entry, "text": text}, ensure_ascii=False).encode() + b"\n"
        if self.written + len(line) > self.limit:
            self._shut()
            return
        try:
            self.written += os.write(self._file, line)
        except OSError:
            self._shut()


def _parted(held: bytes) -> tuple[bytes, bytes]:
    """What can be written, and what waits: cut where no key goes on, unless too much waits."""
    start = max(0, len(held) - _LONGEST_KEY)
    ends = [found.end() for found in _BETWEEN.finditer(held, start)]
    if not ends and len(held) <= _HELD:
        return b"", held
    at = ends[-1] if ends else start
    return held[:at], held[at:]
