"""``synccr status --watch``: a live view on a terminal, a line per change in a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synccr.cli.event_text import event_line
from synccr.cli.output import console, print_data, print_json, reader_gone
from synccr.cli.status_text import GOOD, colour_of, turns_line
from synccr.control import request
from synccr.errors import NotRunning, SynccrError
from synccr.journal import parse

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

INTERVAL = 1.0
"""Seconds between looks."""
_TAIL = 32 * 1024  # bytes of the journal that are looked at for its latest entries
_STEPS = "▁▂▃▄▅▆▇█"


def watch(instance: Path, *, as_json: bool) -> int:
    """Show ``instance`` until q, Ctrl-C, or the reader of the pipe goes; the exit code.

    Raises:
        NotRunning: nothing runs at the beginning, which in JSON is a state.
    """
    try:
        first: dict[str, Any] = request(instance, "status")
    except NotRunning:
        if not as_json:
            raise
        first = {"state": "stopped"}
    if as_json or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
        return _follow(instance, first, as_json=as_json)
    return _live(instance, first)


# ------------------------------------------------------------------ in a pipe


def _follow(instance: Path, status: dict[str, Any], *, as_json: bool) -> int:
    seen: Any = None
    while True:
        if (now := _gist(status)) != seen:
            seen = now
            print_json(status) if as_json else print_data(_sentence(status))
        if status["state"] == "stopped":
            return NotRunning.exit_code
        time.sleep(INTERVAL)
        if reader_gone(sys.stdout):
            return 0
        status = _look(instance)


def _look(instance: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = request(instance, "status", timeout=5.0)
    except NotRunning:
        return {"state": "stopped"}
    except SynccrError as error:
        return {"state": "silent", "why": error.what}
    return found


def _gist(status: dict[str, Any]) -> Any:
    """What a change is: all that is not a number that runs."""
    models = [(m["provider"], m["model"], m["status"]) for m in status.get("models", ())]
    return [
        *(status.get(name) for name in ("state", "profile", "routes", "swaps")),
        *(status.get("ccr", {}).get(name) for name in ("pid", "restarts")),
        models,
    ]


def _sentence(status: dict[str, Any]) -> str:
    if "routes" not in status:
        return f"{_clock()} {status['state']}"
    away = [f"{m['model']} {m['status']}" for m in status["models"] if m["status"] not in GOOD]
    return (
        f"{_clock()} {status['state']} on {status['profile']}, "
        f"default {status['routes'].get('default', '-')}, {status['swaps']} swaps"
        + (f"; {', '.join(away)}" if away else "")
    )


def _clock() -> str:
    return time.strftime("%H:%M:%S")


# -------------------------------------------------------------- on a terminal


def _live(instance: Path, status: dict[str, Any]) -> int:
    journal = instance / "journal.jsonl"
    with _keys() as pressed, _screen() as live:
        while True:
            width, height = live.console.size
            live.update(view(status, latest(journal, height), width, height), refresh=True)
            if pressed(INTERVAL) in ("q", "Q", "\x03", "\x04"):
                break
            status = _look(instance)
    return 0


@contextlib.contextmanager
def _screen() -> Iterator[Live]:
    """The terminal's other screen; whenever Ctrl-C comes, the first one is back afterwards."""
    from rich.live import Live

    live = Live(console=console(sys.stdout), screen=True, auto_refresh=False)
    try:
        with _interrupted_later():
            live.start()
        yield live
    finally:
        with _interrupted_later():
            live.stop()


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """Ctrl-C counts at the end of the block; on Windows, which cannot hold it back, at once."""
    if sys.platform == "win32":
        yield
    else:
        import signal

        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits so many seconds for a key and returns it, or an empty text."""
    if sys.platform == "win32":
        import msvcrt

        def pressed(seconds: float) -> str:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if msvcrt.kbhit():
                    return msvcrt.getwch()
                time.sleep(0.05)
            return ""

        yield pressed
    else:
        import select
        import termios
        import tty

        def pressed(seconds: float) -> str:
            if not sys.stdin.isatty():
                time.sleep(seconds)
            elif select.select([sys.stdin], [], [], seconds)[0]:
                return os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")[:1] or "q"
            return ""

        if not sys.stdin.isatty():
            yield pressed
            return
        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield pressed
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def latest(journal: Path, count: int) -> list[str]:
    """The last entries of a journal, as ``synccr events`` writes them."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            found = deque(filter(None, map(parse, file)), maxlen=count)
    except OSError:
        return []
    return [event_line(entry)[11:] for entry in found]


def view(status: dict[str, Any], events: Sequence[str], width: int, height: int) -> RenderableType:
    """One picture: what serves, routes, models, traffic, what happened last.

    Args:
        status: as ``status --json``.
        events: lines, oldest first.
        width, height: columns and rows of the terminal.
    """
    from rich.console import Group
    from rich.text import Text

    def text(words: str, style: str = "") -> Text:
        return Text(words, style=style, no_wrap=True, overflow="ellipsis")

    def title(words: str) -> Text:
        return text(words, "bold")

    state = Text(no_wrap=True, overflow="ellipsis")
    state.append(status["state"], f"bold {colour_of(status['state'])}")
    rows: list[RenderableType] = [state]
    if "routes" in status:
        state.append(f" on {status['profile']}  {status['endpoint']}")
        ccr = status["ccr"]
        numbers = f"CCR {ccr['version']}, {ccr['restarts']} restarts, {status['swaps']} swaps"
        rows.append(text(numbers, "dim"))
        if status.get("why"):
            rows.append(text(status["why"], "dim"))
        if noted := turns_line(status):
            rows.append(text(noted, "yellow"))
        rows.append(title("routes"))
        rows += [text(f"  {name:<12} {ref}") for name, ref in status["routes"].items()]
        rows.append(title("models"))
        rows += map(_model_row, status["models"])
        rows += [text(line) for line in traffic_lines(status.get("traffic"), width)]
    else:
        state.append("  " + (status.get("why") or "synccr is not running. Run: synccr start"))
    del rows[max(1, height - 3) :]  # the newest event and the last line are always seen
    if (room := height - len(rows) - 2) > 0:
        rows += [title("events"), *(text(f"  {line}") for line in events[-room:])]
    return Group(*rows, text("q ends", "dim"))


def _model_row(model: dict[str, Any]) -> Text:
    from rich.text import Text

    row = Text("  ", no_wrap=True, overflow="ellipsis")
    row.append(f"{model['status']:<12} ", "green" if model["status"] in GOOD else "red")
    row.append(model["model"])
    if model["latency_ms"] is not None and model["status"] in GOOD:
        row.append(f"  {model['latency_ms']} ms", "dim")
    elif model["detail"]:
        row.append(f"  {model['detail']}", "dim")
    return row


def traffic_lines(traffic: dict[str, Any] | None, width: int) -> list[str]:
    """Requests and latency of the last minute as two small plots, each with its latest
    and greatest value."""
    if not traffic:
        return []
    room = max(8, min(traffic["seconds"], width - 36))
    requests, latency = traffic["requests"], traffic["latency_ms"]
    known = [value for value in latency if value is not None]
    total, failed = sum(requests), sum(traffic["errors"])
    slow = f"{known[-1]:.0f} ms, most {max(known):.0f}" if known else "-"
    return [
        f"requests  {sparkline(requests, room)} {total} a minute, {failed} failed",
        f"latency   {sparkline(latency, room)} {slow}",
    ]


def sparkline(values: Sequence[float | None], room: int) -> str:
    """The last ``room`` values as bars from nothing to the greatest; a blank for None and 0."""
    shown = list(values)[-room:]
    top = max((value for value in shown if value), default=0)
    bars = (
        _STEPS[min(len(_STEPS) - 1, int(value / top * len(_STEPS)))] if value else " "
        for value in shown
    )
    return "".join(bars).rjust(room)
