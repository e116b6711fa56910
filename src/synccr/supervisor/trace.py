"""What a supervisor says of its turns: the trace, and bodies for a time when a person asks."""

from __future__ import annotations

import asyncio
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from synccr.background import Background
from synccr.clock import utc_now
from synccr.errors import SynccrError, UsageError
from synccr.files import private_directory
from synccr.journal import Journal
from synccr.redact import Redactor
from synccr.turns.capture import LIMIT, Capture
from synccr.turns.resent_log import INTERVAL, ResentLog
from synccr.turns.trace import TraceLog

LONGEST = 24 * 3600.0
"""Seconds that bodies may be captured for."""


@dataclass
class Tracing:
    """Answers the verb ``trace``.

    Attributes:
        instance: directory of captures.
        journal: hears of a capture.
        redactor: for what is captured; it may learn of keys meanwhile.
        background: ends a capture in time.
        log: the last turns.
    """

    instance: Path
    journal: Journal
    redactor: Redactor
    background: Background
    log: TraceLog = field(default_factory=TraceLog)

    def answer(self, args: dict[str, Any]) -> dict[str, Any]:
        """Turns, or the beginning or end of a capture.

        Args:
            args: ``after``: how many turns the reader has seen of this supervisor (its ``pid``);
                or ``capture``: for how many seconds bodies are written, 0 to end it.

        Raises:
            UsageError: an argument makes no sense.
            SynccrError: the file cannot be made.
        """
        if "capture" in args:
            return {"capture": self._capture(args["capture"])}
        after = args.get("after", 0)
        if not isinstance(after, int):
            raise UsageError("A trace begins after a number of turns.")
        rows = msgspec.to_builtins(self.log.rows(after))
        return {"turns": rows, "next": self.log.counters.requests, "pid": os.getpid()}

    def _capture(self, seconds: Any) -> dict[str, Any] | None:
        if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
            raise UsageError("Bodies are captured for at most 24 hours.")
        before, self.log.capture = self.log.capture, None
        if before:
            before.close()
        if not seconds:
            return _shown(before) if before else None
        name = f"capture-{utc_now():%Y%m%dT%H%M%S%f}Z.jsonl"
        path = private_directory(self.instance) / name
        try:
            capture = Capture(path, time.monotonic() + seconds, LIMIT, self.redactor)
        except OSError as error:
            raise SynccrError(
                f"{path} cannot be made: {error.strerror}.", "Run: synccr doctor disk"
            ) from error
        self.log.capture = capture
        text = f"Requests and answers are written to {path} for {seconds:g} s."
        self.journal.write("capture", text=text, path=str(path))
        self.background.spawn(self._end_in_time(capture, seconds))
        return _shown(capture)

    async def _end_in_time(self, capture: Capture, seconds: float) -> None:
        """Also when no request comes, and when the supervisor ends before."""
        try:
            await asyncio.sleep(seconds)
        finally:
            capture.close()
            if self.log.capture is capture:
                self.log.capture = None


def _shown(capture: Capture) -> dict[str, Any]:
    return {"path": str(capture.path), "limit": capture.limit, "written": capture.written}


async def write_in_time(log: ResentLog, journal: Journal) -> None:
    """Write down what was counted once its minute is over, and the rest at the end."""
    try:
        while True:
            await asyncio.sleep(INTERVAL / 4)
            _write(log, journal, time.monotonic())
    finally:
        _write(log, journal, math.inf)


def _write(log: ResentLog, journal: Journal, now: float) -> None:
    for entry in log.due(now):
        journal.write(entry.kind, **entry.fields())
