"""What a supervisor says of its turns: the trace, and bodies for a time when a person asks."""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from synccr.errors import SynccrError, UsageError
from synccr.files import private_directory
from synccr.journal import Journal, utc_now
from synccr.turns.capture import LIMIT, Capture
from synccr.turns.resent_log import INTERVAL, ResentLog

if TYPE_CHECKING:
    from synccr.supervisor.main import Supervisor

LONGEST = 24 * 3600.0
"""Seconds that bodies may be captured for."""


def answer(supervisor: Supervisor, args: dict[str, Any]) -> dict[str, Any]:
    """The verb ``trace``.

    Args:
        args: ``after``: how many turns the reader has seen of this supervisor (its ``pid``);
            or ``capture``: for how many seconds bodies are written, 0 to end it.

    Raises:
        UsageError: an argument makes no sense.
        SynccrError: the file cannot be made.
    """
    if "capture" in args:
        return {"capture": _capture(supervisor, args["capture"])}
    after = args.get("after", 0)
    if not isinstance(after, int):
        raise UsageError("A trace begins after a number of turns.")
    log = supervisor.trace_log
    rows = msgspec.to_builtins(log.rows(after))
    return {"turns": rows, "next": log.counters.requests, "pid": os.getpid()}


def _capture(supervisor: Supervisor, seconds: Any) -> dict[str, Any] | None:
    if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
        raise UsageError("Bodies are captured for at most 24 hours.")
    log = supervisor.trace_log
    former, log.capture = log.capture, None
    if former:
        former.close()
    if not seconds:
        return _shown(former) if former else None
    name = f"capture-{utc_now():%Y%m%dT%H%M%S%f}Z.jsonl"
    path = private_directory(supervisor.paths.instance) / name
    try:
        capture = Capture(path, time.monotonic() + seconds, LIMIT, supervisor.profiles.redactor)
    except OSError as error:
        raise SynccrError(
            f"{path} cannot be made: {error.strerror}.", "Run: synccr doctor disk"
        ) from error
    log.capture = capture
    text = f"Requests and answers are written to {path} for {seconds:g} s."
    supervisor.journal.write("capture", text=text, path=str(path))
    supervisor.spawn(_end_in_time(supervisor, capture, seconds))
    return _shown(capture)


def _shown(capture: Capture) -> dict[str, Any]:
    return {"path": str(capture.path), "limit": capture.limit, "written": capture.written}


async def _end_in_time(supervisor: Supervisor, capture: Capture, seconds: float) -> None:
    """Also when no request comes, and when the supervisor ends before."""
    try:
        await asyncio.sleep(seconds)
    finally:
        capture.close()
        if supervisor.trace_log.capture is capture:
            supervisor.trace_log.capture = None


async def tell_in_time(log: ResentLog, journal: Journal) -> None:
    """Write down what was counted once its minute is over, and the rest at the end."""
    try:
        while True:
            await asyncio.sleep(INTERVAL / 4)
            _write(log, journal, time.monotonic())
    finally:
        _write(log, journal, math.inf)


def _write(log: ResentLog, journal: Journal, now: float) -> None:
    for told in log.due(now):
        journal.write(told.kind, **told.fields())
