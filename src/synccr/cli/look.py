"""Commands that look at what runs: status, events, logs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synccr.cli.options import Json
from synccr.cli.output import paint, put, put_json
from synccr.errors import NotRunning, SynccrError

if TYPE_CHECKING:
    from synccr.redact import Redactor


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(status)
    app.command()(events)
    app.command()(logs)


def status(json: Json = False) -> None:
    """Show what runs, on which profile, each model's state, and what happened last.

    Exit code 3 when nothing runs.
    """
    from synccr.control import request
    from synccr.paths import Paths

    try:
        document = request(Paths.from_environment().instance, "status")
    except NotRunning:
        if not json:
            raise
        put_json({"state": "stopped"})
        raise typer.Exit(NotRunning.exit_code) from None
    if json:
        put_json(document)
    else:
        for line in _status_lines(document):
            put(line)


def _status_lines(document: dict[str, Any]) -> list[str]:
    import sys

    state, ccr = document["state"], document["ccr"]
    colour = {"running": "green", "degraded": "red"}.get(state, "yellow")
    lines = [
        (
            f"{paint(state, colour, sys.stdout)} on the {document['profile']} profile "
            f"at {document['endpoint']}"
        ),
        (
            f"  CCR {ccr['version']}, pid {ccr['pid']}, {ccr['restarts']} restarts; "
            f"supervisor pid {document['supervisor']['pid']}"
        ),
    ]
    if document.get("why"):
        lines.append(f"  why: {document['why']}")
    lines.append("routes")
    lines += [f"  {name:<12} {model}" for name, model in document["routes"].items()]
    lines.append("models")
    for model in document["models"]:
        good = model["status"] in ("ok", "unverified")
        shown = paint(f"{model['status']:<12}", "green" if good else "red", sys.stdout)
        detail = f"  {model['detail']}" if model["detail"] else ""
        lines.append(f"  {shown} {model['provider']},{model['model']}{detail}")
    lines += _quota_lines(document.get("quota") or ())
    lines += _override_lines(document.get("overrides") or ())
    if swap := document.get("last_swap"):
        lines.append(
            f"last swap {swap['at']}: {swap['from']} -> {swap['to']} "
            f"({swap['reason']}), {swap['took_ms']} ms; {document['swaps']} in all"
        )
    return lines


def _quota_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    from synccr.cli.output import quota_line

    lines = [f"  {quota_line(row)}" for row in rows]
    return ["quota", *lines] if lines else []


def _override_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Files that override routes; what is wrong with one is red."""
    import sys

    lines = []
    for row in rows:
        bad = [row["problem"]] if row["problem"] else []
        bad += [f"{t['route']} leads to {t['target']}, which {t['text']}" for t in row["trouble"]]
        mark = paint("trouble", "red", sys.stdout) if bad else paint("ok", "green", sys.stdout)
        lines.append(f"  {mark} {row['kind']} {row['name']}: {row['file']}")
        lines += [f"    {text}" for text in bad]
    return ["overrides", *lines] if lines else []


Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")]


def events(json: Json = False, follow: Follow = False) -> None:
    """Show what synccr decided and did, oldest first."""
    import json as codec

    from synccr.journal import Journal, parse
    from synccr.paths import Paths

    journal = Journal(Paths.from_environment().instance / "journal.jsonl")

    def show(entry: dict[str, Any]) -> None:
        put(codec.dumps(entry, ensure_ascii=False) if json else _event_line(entry))

    for entry in journal.read():
        show(entry)
    if follow:
        for line in _appended(journal.path):
            if new := parse(line):
                show(new)


def _event_line(entry: dict[str, Any]) -> str:
    """One event for a person: its text, or what its fields say."""
    text = entry.get("text")
    if entry["kind"] == "swapped":
        text = (
            f"{entry['from']} -> {entry['to']} ({entry['reason']}) in {entry['took_ms']} ms; "
            f"{entry.get('why', '')}"
        )
    elif entry["kind"] == "preflight":
        text = ", ".join(f"{ref} {status}" for ref, status in entry["models"].items())
    elif entry["kind"] == "healed":
        text = f"{entry['profile']}, {len(entry['changes'])} changes; {entry.get('why', '')}"
    if not text:
        shown = {k: v for k, v in entry.items() if k not in ("at", "kind")}
        text = ", ".join(f"{key} {value}" for key, value in shown.items())
    return f"{entry['at'][:19].replace('T', ' ')}  {entry['kind']:<12} {text}"


def _appended(path: Path) -> Iterator[bytes]:
    """Lines as they are appended to a file that may be replaced."""
    while not path.exists():
        time.sleep(0.2)
    file = path.open("rb")
    file.seek(0, 2)
    while True:
        line = file.readline()
        if line:
            yield line
            continue
        time.sleep(0.2)
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
    """Show CCR's own log, its errors made readable and keys masked."""
    from synccr.cli.setup import redactor
    from synccr.paths import Paths

    redact = redactor()
    paths = Paths.from_environment()
    found = sorted(paths.ccr_logs.glob("ccr-*.log"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise SynccrError(f"CCR has written no log in {paths.ccr_logs}.", "Run: synccr start")
    newest = found[-1]
    with newest.open("rb") as file:
        for line in file:
            _show_log_line(line, redact)
    if follow:
        for line in _appended(newest):
            _show_log_line(line, redact)


def _show_log_line(line: bytes, redact: Redactor) -> None:
    import json

    try:
        entry = json.loads(line)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry["time"] / 1000))
        message = entry.get("msg") or entry.get("err", {}).get("message") or ""
        level = _LEVELS.get(entry.get("level"), "?")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
        return
    put(f"{when}  {level:<5} {redact.line(str(message), 400)}")


_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
