"""Commands that look at what runs: status, events, logs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synccr.cli.options import Json
from synccr.cli.output import put, reader_gone, say
from synccr.errors import SynccrError

if TYPE_CHECKING:
    from synccr.redact import Redactor


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(status)
    app.command()(events)
    app.command()(logs)


def status(
    json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="A live view; in a pipe, a line per change.")
    ] = False,
) -> None:
    """Show what runs, each model's state, and what happened last.

    Exit code 3 when nothing runs. The live view ends with q or Ctrl-C.
    """
    from synccr.cli.status import show_status
    from synccr.paths import Paths

    if watch:
        from synccr.cli.watch import watch as follow

        raise typer.Exit(follow(Paths.from_environment().instance, as_json=json))
    raise typer.Exit(show_status(as_json=json))


Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")]


EachJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def events(json: EachJson = False, follow: Follow = False) -> None:
    """Show what synccr decided and did, oldest first."""
    import json as codec

    from synccr.journal import Journal, parse
    from synccr.paths import Paths

    journal = Journal(Paths.from_environment().instance / "journal.jsonl")

    def show(entry: dict[str, Any]) -> None:
        put(codec.dumps(entry, ensure_ascii=False) if json else event_line(entry))

    for entry in journal.read():
        show(entry)
    if follow:
        for line in _appended(journal.path):
            if new := parse(line):
                show(new)


def event_line(entry: dict[str, Any]) -> str:
    """One event for a person: its text, or what its fields say."""
    try:
        text = _told(entry)
    except (KeyError, TypeError, AttributeError):  # written by another version
        text = None
    if not text:
        shown = {k: v for k, v in entry.items() if k not in ("at", "kind") and v is not None}
        text = ", ".join(f"{key} {value}" for key, value in shown.items())
    at = str(entry.get("at", ""))[:19].replace("T", " ")
    return f"{at:<19}  {entry['kind']:<12} {text}"


def _told(entry: dict[str, Any]) -> str | None:
    match entry["kind"]:
        case "swapped":
            return (
                f"{entry['from']} -> {entry['to']} ({entry['reason']}) in {entry['took_ms']} ms; "
                f"{entry.get('why', '')}"
            )
        case "preflight":
            return ", ".join(f"{ref} {status}" for ref, status in entry["models"].items())
        case "healed":
            return f"{entry['profile']}, {len(entry['changes'])} changes; {entry.get('why', '')}"
    return entry.get("text")


def _appended(path: Path) -> Iterator[bytes]:
    """Lines as they are appended to a file that may be replaced, while somebody reads ours."""
    while not path.exists():
        if reader_gone(sys.stdout):
            return
        time.sleep(0.2)
    file = path.open("rb")
    file.seek(0, 2)
    while True:
        line = file.readline()
        if line:
            yield line
            continue
        time.sleep(0.2)
        if reader_gone(sys.stdout):
            return
        try:
            found = path.stat()
            if found.st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = path.open("rb")
            elif found.st_size < file.tell():  # cut: what was kept has been shown
                file.seek(0, 2)
        except FileNotFoundError:
            continue


def logs(follow: Follow = False) -> None:
    """Show the latest of CCR's own logs, errors made readable and keys masked."""
    import heapq

    from synccr.ccr.log_files import unread
    from synccr.cli.setup import redactor
    from synccr.paths import Paths

    redact = redactor()
    where = Paths.from_environment().ccr_logs
    if not any(where.glob("ccr-*.log")):
        raise SynccrError(f"CCR has written no log in {where}.", "Run: synccr start")
    # CCR begins a file at each start, and two may write at one time: all of them count.
    done: dict[int, int] = {}
    entries = enumerate(filter(None, map(_log_entry, unread(where, done))))
    newest = heapq.nlargest(_MOST + 1, entries, key=lambda found: (found[1][0], found[0]))
    if len(newest) > _MOST:
        say(f"The last {_MOST} lines; older ones are in {where}.", "dim")
    for _, entry in reversed(newest[:_MOST]):
        _show_log_entry(entry, redact)
    while follow and not reader_gone(sys.stdout):
        time.sleep(0.2)
        for line in unread(where, done):
            if found := _log_entry(line):
                _show_log_entry(found, redact)


def _log_entry(line: bytes) -> tuple[float, str, str] | None:
    """Time in milliseconds since the epoch, level and message; None when it is no entry."""
    import json

    try:
        entry = json.loads(line)
        message = entry.get("msg") or entry.get("err", {}).get("message") or ""
        return float(entry["time"]), _LEVELS.get(entry.get("level"), "?"), str(message)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _show_log_entry(entry: tuple[float, str, str], redact: Redactor) -> None:
    at, level, message = entry
    try:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at / 1000))
    except (ValueError, OverflowError, OSError):
        return
    put(f"{when}  {level:<5} {redact.line(message, 400)}")


_MOST = 1000
"""Lines of CCR's logs that are shown."""
_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
