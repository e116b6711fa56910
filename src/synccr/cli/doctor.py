"""``synccr doctor``: what is wrong, and the line that mends it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synccr.cli.options import Config, FallbackConfig, Json, Port
from synccr.cli.output import coloured, paint, put, put_json

if TYPE_CHECKING:
    from synccr.doctor.result import Result
    from synccr.paths import Paths

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_MARKS = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skip": "-"}
_MARK, _ID = 6, 20
_NARROW = 64
"""Columns below which the sentence goes under the name instead of beside it."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(doctor)


def doctor(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these checks; a beginning such as 'keys'."),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended safely, and look again.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the checks; run none.")] = False,
    json: Json = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    port: Port = None,
) -> None:
    """Check everything synccr needs, and say what is wrong and what mends it.

    Under each trouble stands a line to paste, or the page where you have to act.
    Each model is asked one small question. Nothing is changed without --fix.
    Exit code 1 when a check fails.
    """
    from synccr.doctor.registry import select

    checks = select(names or [])
    if listing:
        _show_list([(check.id, check.title) for check in checks], as_json=json)
        return
    import contextlib

    from synccr.cli.running import Given, as_given
    from synccr.doctor.context import Context
    from synccr.doctor.runner import Watcher, examine
    from synccr.errors import SynccrError
    from synccr.paths import Paths

    display = Display(live=not json)
    paths = Paths.from_environment()
    given = Given.of(config, fallback_config, port)
    with contextlib.suppress(SynccrError):  # supervisor.healthy says that it does not answer
        given = as_given(paths.instance, given)
    context = Context(
        paths,
        _environ(paths),
        config=given.config,
        fallback_config=given.fallback_config,
        port=given.port,
        managed=_managed_settings(),
        named=frozenset(check.id for check in checks) if names else frozenset(),
    )
    try:
        results = examine(checks, context, mend=fix, watcher=Watcher(display.waiting, display.done))
    finally:
        display.clear()
    if json:
        put_json(document(results))
    else:
        display.summary(results, asked=fix)
    raise typer.Exit(1 if any(r.status == "fail" for r in results) else 0)


def _environ(paths: Paths) -> Mapping[str, str]:
    """The environment and the keys that are kept; ``keys.set`` says when they cannot be read."""
    from synccr.config.keys import with_keys
    from synccr.errors import ConfigError

    try:
        return with_keys(os.environ, paths.keys)
    except ConfigError:
        return os.environ


def document(results: Sequence[Result]) -> dict[str, Any]:
    """The contract's ``doctor --json``."""
    return {
        "checks": [
            {
                "id": r.id,
                "title": r.title,
                "status": r.status.value,
                "detail": r.detail,
                "fix": r.fix,
                "fixable": r.fixable,
            }
            for r in results
        ],
        "summary": _count(results),
    }


def _count(results: Sequence[Result]) -> dict[str, int]:
    return {level: sum(r.status == level for r in results) for level in _COLOURS}


def _managed_settings() -> tuple[Any, ...]:
    """Settings of Claude Code that an administrator makes; its documentation names the places."""
    from pathlib import Path

    root = {
        "darwin": "/Library/Application Support/ClaudeCode",
        "win32": "C:/Program Files/ClaudeCode",
    }.get(sys.platform, "/etc/claude-code")
    parts = sorted(Path(root, "managed-settings.d").glob("*.json"), reverse=True)
    return (*parts, Path(root, "managed-settings.json"))


def _show_list(rows: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    if as_json:
        put_json({"checks": [{"id": name, "title": title} for name, title in rows]})
        return
    for name, title in rows:
        put(f"{name:<{_ID}} {title}")


class Display:
    """Results as they come, and on a terminal what is still out.

    Args:
        live: show results; without it only the progress.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        # Beside results that go through a pipe to the same terminal it would be mixed in.
        self._progress = coloured(sys.stderr) and (not live or sys.stdout.isatty())
        self._width = shutil.get_terminal_size((80, 24)).columns

    def waiting(self, ids: Sequence[str]) -> None:
        """What is still out, in a line that is overwritten."""
        if self._progress:
            text = f"{len(ids)} to go: {', '.join(ids)}"
            text = text if len(text) < self._width else f"{text[: self._width - 4]}..."
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take that line away."""
        if self._progress:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def done(self, result: Result) -> None:
        """One result."""
        if not self._live:
            return
        self.clear()
        for line in self.lines(result):
            put(line)

    def lines(self, result: Result) -> list[str]:
        """A result in the width of the terminal; a line to paste is never broken."""
        import textwrap

        mark = paint(f"{_MARKS[result.status]:<{_MARK}}", _COLOURS[result.status], sys.stdout)
        narrow = self._width < _NARROW
        indent = _MARK if narrow else _MARK + _ID
        detail = textwrap.wrap(
            result.detail,
            max(20, self._width - indent - 1),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
        if narrow:
            lines = [f"{mark}{result.id}", *(" " * indent + line for line in detail)]
        else:
            first = f"{mark}{result.id:<{_ID - 1}} {detail[0]}"
            lines = [first, *(" " * indent + line for line in detail[1:])]
        if result.fix:
            lines += [
                " " * _MARK + paint(line, "bold", sys.stdout) for line in result.fix.split("\n")
            ]
        return lines

    def summary(self, results: Sequence[Result], *, asked: bool) -> None:
        """How many of each, and what ``--fix`` would do."""
        count = _count(results)
        words = [f"{count['ok']} in order"]
        words += [f"{count['warn']} to look at"] if count["warn"] else []
        words += [f"{count['fail']} wrong"] if count["fail"] else []
        words += [f"{count['skip']} not looked at"] if count["skip"] else []
        colour = "red" if count["fail"] else "yellow" if count["warn"] else "green"
        self._put(", ".join(words) + ".", colour)
        mended = [r.id for r in results if r.mended]
        if mended:
            self._put(f"Mended: {', '.join(mended)}.")
        open_now = [r.id for r in results if r.fixable]
        if open_now and not asked:
            self._put(f"synccr doctor --fix mends: {', '.join(open_now)}.")

    def _put(self, text: str, colour: str | None = None) -> None:
        import textwrap

        for line in textwrap.wrap(text, self._width, break_on_hyphens=False):
            put(paint(line, colour, sys.stdout) if colour else line)
