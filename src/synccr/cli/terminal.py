"""What ``synccr start`` shows in the foreground: one line for each thing that happened."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synccr.cli.detach import bound_own_log
from synccr.cli.output import print_note, style
from synccr.models.report import Report

_COLOURS = {
    "crashed": "red",
    "error_seen": "red",
    "exhausted": "red",
    "swap_failed": "red",
    "swapped": "yellow",
    "healed": "yellow",
    "edited": "yellow",
    "override": "yellow",
    "quota": "yellow",
    "log_level": "yellow",
    "translation": "yellow",
    "recovered": "green",
    "restarted": "green",
    "progress": "dim",
    "stopping": "dim",
}


class Terminal:
    """Writes to stderr; stdout of ``start`` stays empty.

    Args:
        log: where stderr goes when it is in the background.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    def tell(self, kind: str, text: str, todo: str, notify: bool) -> None:  # noqa: ARG002
        """One event: time, what happened, what to do."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        bound_own_log(self._log)
        print_note(line + (f" {todo}" if todo else ""), _COLOURS.get(kind))

    def report(self, report: Report) -> None:
        """One model of the preflight."""
        word = style(f"{report.status:<12}", "green" if report.serves else "red", sys.stderr)
        latency = f" {report.latency_ms} ms" if report.latency_ms is not None else ""
        detail = f"  {report.detail}" if report.detail and not report.serves else ""
        print_note(f"  {word} {report.ref}{latency}{detail}")

    def ready(self, status: Mapping[str, Any], *, detached: bool) -> None:
        """The endpoint answers; in the background, who started it says so."""
        if detached:
            return
        print_note(
            f"{time.strftime('%H:%M:%S')} Ready at {status['endpoint']} on the "
            f"{status['profile']} profile; default is {status['routes']['default']}.",
            "green",
        )
        print_note('         Use it: synccr code, or eval "$(synccr env)". Ctrl-C ends it.')
