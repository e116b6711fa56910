"""``synccr doctor``: what is wrong, and the line that mends it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from synccr.cli.options import Config, FallbackConfig, Json, Port
from synccr.cli.output import print_data, style, takes_colour
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Result
from synccr.cli.running_instance import named_or_running
from synccr.config.keys import below, with_keys
from synccr.config.store import offered_keys
from synccr.doctor.context import Context
from synccr.doctor.registry import select
from synccr.doctor.result import CheckResult
from synccr.doctor.runner import Watcher, examine
from synccr.errors import ConfigError, SynccrError
from synccr.paths import Paths

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_MARKS = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skip": "-"}
_MARK, _ID = 6, 20
_NARROW = 64
"""Columns below which the sentence goes under the name instead of beside it."""


def run(
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
) -> Result:
    """Check everything synccr needs, and say what is wrong and what mends it.

    Under each trouble stands a line to paste, or the page where you have to act.
    Each model is asked one small question. Nothing is changed without --fix.
    Exit code 1 when a check fails.
    """
    checks = select(names or [])
    if listing:
        return _listed({check.id: check.title for check in checks}, as_json=json)
    display = Display(live=not json)
    paths = Paths.from_environment()
    options = ProfileOptions(config, fallback_config, port).resolved()
    with contextlib.suppress(SynccrError):  # supervisor.healthy says that it does not answer
        options = named_or_running(paths.instance, options)
    context = Context(
        paths,
        _environ(paths, options.config),
        config=options.config,
        fallback_config=options.fallback_config,
        port=options.port,
        managed=_managed_settings(),
        named=frozenset(check.id for check in checks) if names else frozenset(),
    )
    try:
        results = examine(checks, context, fix=fix, watcher=Watcher(display.waiting, display.done))
    finally:
        display.clear()
    code = 1 if any(r.status == "fail" for r in results) else 0
    if json:
        return Result(document=document(results), exit_code=code)
    return Result(display.summary(results, asked=fix), exit_code=code)


def _environ(paths: Paths, config: Path | None) -> Mapping[str, str]:
    """The environment and the keys that are kept, or will be at the first start; ``keys.set``
    says when they cannot be read."""
    try:
        kept = with_keys(os.environ, paths.keys)
    except ConfigError:
        kept = os.environ
    return below(kept, offered_keys(paths, kept, config))


def document(results: Sequence[CheckResult]) -> dict[str, Any]:
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


def _count(results: Sequence[CheckResult]) -> dict[str, int]:
    return {level: sum(r.status == level for r in results) for level in _COLOURS}


def _managed_settings() -> tuple[Any, ...]:
    """Settings of Claude Code that an administrator makes; its documentation names the places."""
    root = {
        "darwin": "/Library/Application Support/ClaudeCode",
        "win32": "C:/Program Files/ClaudeCode",
    }.get(sys.platform, "/etc/claude-code")
    parts = sorted(Path(root, "managed-settings.d").glob("*.json"), reverse=True)
    return (*parts, Path(root, "managed-settings.json"))


def _listed(checks: Mapping[str, str], *, as_json: bool) -> Result:
    if as_json:
        rows = [{"id": name, "title": title} for name, title in checks.items()]
        return Result(document={"checks": rows})
    return Result([f"{name:<{_ID}} {title}" for name, title in checks.items()])


class Display:
    """Results as they come, and on a terminal what is still out.

    Args:
        live: show results; without it only the progress.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        # Beside results that go through a pipe to the same terminal it would be mixed in.
        self._progress = takes_colour(sys.stderr) and (not live or sys.stdout.isatty())
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

    def done(self, result: CheckResult) -> None:
        """One result."""
        if not self._live:
            return
        self.clear()
        for line in self.lines(result):
            print_data(line)

    def lines(self, result: CheckResult) -> list[str]:
        """A result in the width of the terminal; a line to paste is never broken."""
        mark = style(f"{_MARKS[result.status]:<{_MARK}}", _COLOURS[result.status], sys.stdout)
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
                " " * _MARK + style(line, "bold", sys.stdout) for line in result.fix.split("\n")
            ]
        return lines

    def summary(self, results: Sequence[CheckResult], *, asked: bool) -> list[str]:
        """How many of each, and what ``--fix`` would do."""
        count = _count(results)
        words = [f"{count['ok']} in order"]
        words += [f"{count['warn']} to look at"] if count["warn"] else []
        words += [f"{count['fail']} wrong"] if count["fail"] else []
        words += [f"{count['skip']} not looked at"] if count["skip"] else []
        colour = "red" if count["fail"] else "yellow" if count["warn"] else "green"
        lines = [style(line, colour, sys.stdout) for line in self._wrapped(", ".join(words) + ".")]
        if fixed := [r.id for r in results if r.fixed]:
            lines += self._wrapped(f"Mended: {', '.join(fixed)}.")
        if (fixable := [r.id for r in results if r.fixable]) and not asked:
            lines += self._wrapped(f"synccr doctor --fix mends: {', '.join(fixable)}.")
        return lines

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(text, self._width, break_on_hyphens=False)
