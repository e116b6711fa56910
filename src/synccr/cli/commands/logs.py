"""``synccr logs``: CCR's own, or what synccr saw of a CCR that keeps none."""

from __future__ import annotations

import contextlib
import heapq
import json
import sys
import time

from synccr.ccr.package_source import configured_version, known_generation
from synccr.ccr.v2.log_files import unread
from synccr.cli.context import CommandContext, redactor
from synccr.cli.journal_lines import show_journal
from synccr.cli.options import Follow
from synccr.cli.output import print_data, print_note, reader_gone
from synccr.errors import SynccrError
from synccr.paths import Paths
from synccr.redact import Redactor

_MOST = 1000
"""Lines of CCR's logs that are shown."""
_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}


def run(follow: Follow = False) -> None:
    """Show the latest of CCR's own logs, errors made readable and keys masked.

    CCR 3 keeps no log: then what synccr saw of it, as synccr events shows it.
    """
    if name := _without_log():
        print_note(f"Claude Code Router {name} keeps no log; this is synccr's journal.", "dim")
        show_journal(follow=follow)
        return
    redact = redactor()
    where = Paths.from_environment().ccr_logs
    if not any(where.glob("ccr-*.log")):
        raise SynccrError(f"CCR has written no log in {where}.", "Run: synccr start")
    # CCR begins a file at each start, and two may write at one time: all of them count.
    done: dict[int, int] = {}
    entries = enumerate(filter(None, map(_entry, unread(where, done))))
    newest = heapq.nlargest(_MOST + 1, entries, key=lambda found: (found[1][0], found[0]))
    if len(newest) > _MOST:
        print_note(f"The last {_MOST} lines; older ones are in {where}.", "dim")
    for _, entry in reversed(newest[:_MOST]):
        _print_entry(entry, redact)
    while follow and not reader_gone(sys.stdout):
        time.sleep(0.2)
        for line in unread(where, done):
            if found := _entry(line):
                _print_entry(found, redact)


def _without_log() -> str:
    """The version that is run, when it keeps no log."""
    with contextlib.suppress(SynccrError):
        settings = CommandContext.make().settings
        generation = known_generation(settings)
        return "" if generation is None or generation.log else configured_version(settings)
    return ""


def _entry(line: bytes) -> tuple[float, str, str] | None:
    """Time in milliseconds since the epoch, level and message; None when it is no entry."""
    try:
        entry = json.loads(line)
        message = entry.get("msg") or entry.get("err", {}).get("message") or ""
        return float(entry["time"]), _LEVELS.get(entry.get("level"), "?"), str(message)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _print_entry(entry: tuple[float, str, str], redact: Redactor) -> None:
    at, level, message = entry
    try:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at / 1000))
    except (ValueError, OverflowError, OSError):
        return
    print_data(f"{when}  {level:<5} {redact.line(message, 400)}")
