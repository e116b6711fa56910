"""The one place that prints.

Data goes to stdout, everything for people beside it to stderr. Colour only on
a terminal and without ``NO_COLOR``; rich is loaded only where a table is drawn.
What comes from outside can carry sequences that move, hide or rename things on a
terminal: their control characters are shown and not obeyed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Literal, TextIO

from synccr.errors import SynccrError
from synccr.redact import escape_controls

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


def takes_colour(stream: TextIO) -> bool:
    """Whether colour and live display are welcome on this stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, colour: str, stream: TextIO) -> str:
    """``text`` in a colour, where the stream takes colours."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if takes_colour(stream) else text


def print_data(text: str) -> None:
    """Data for stdout."""
    sys.stdout.write(escape_controls(text, coloured=takes_colour(sys.stdout)) + "\n")
    sys.stdout.flush()


def print_json(document: Any) -> None:
    """One JSON document on stdout, readable on a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    print_data(json.dumps(document, indent=indent, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value, enc_hook=str)


def reader_gone(stream: TextIO) -> bool:
    """Whether nobody reads our end of a pipe any more, as after ``| head -1``.

    A command that waits for news would learn it at its next line only.
    """
    if sys.platform == "win32":  # no poll there
        return False
    else:
        import select

        try:
            if stream.isatty():
                return False
            looking = select.poll()
            looking.register(stream.fileno(), 0)  # errors and hang-ups are always reported
            return any(what & (select.POLLERR | select.POLLHUP) for _, what in looking.poll(0))
        except (OSError, ValueError):
            return False


def print_note(text: str, colour: str | None = None) -> None:
    """A line for a person, on stderr; when nobody can hear it, the work goes on."""
    try:
        line = style(text, colour, sys.stderr) if colour else text
        sys.stderr.write(escape_controls(line, coloured=takes_colour(sys.stderr)) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        redirect_to_devnull(sys.stderr)
    except OSError:
        pass


def redirect_to_devnull(stream: TextIO) -> None:
    """Nobody reads this stream any more; what it still holds would be a fault at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_error(error: SynccrError, *, as_json: bool = False) -> None:
    """An error: one sentence on what happened, one on what to do."""
    if as_json:
        told = {"what": error.what, "todo": error.todo, "exit_code": error.exit_code}
        print_json({"error": told})
    print_note(f"{style('synccr:', 'red', sys.stderr)} {error.what}")
    if error.todo:
        print_note(f"  {error.todo}")


def console(stream: TextIO) -> Console:
    """A rich console for tables; as wide as the terminal, 80 columns in a pipe."""
    from rich.console import Console

    columns = os.environ.get("COLUMNS", "")
    width = None if stream.isatty() else max(20, int(columns) if columns.isdecimal() else 100)
    # Without a colour system there is no bold either.
    colours: Literal["auto"] | None = "auto" if takes_colour(stream) else None
    return Console(file=stream, width=width, highlight=False, color_system=colours)


def draw(what: RenderableType, *, stream: TextIO | None = None) -> None:
    """A table or another rich thing, on stdout unless told otherwise."""
    stream = stream or sys.stdout
    drawing = console(stream)
    with drawing.capture() as drawn:
        drawing.print(what)
    stream.write(escape_controls(drawn.get(), coloured=takes_colour(stream)))
