"""What a command has to say, and the one place that says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from synccr.cli.output import draw, print_data, print_json, print_note

if TYPE_CHECKING:
    from rich.table import Table


class Note(NamedTuple):
    """A line for a person, on stderr."""

    text: str
    colour: str | None = None


class Result(NamedTuple):
    """The outcome of a command that is printed when it has ended.

    Attributes:
        lines: in their order; a text or a table is data, for stdout.
        document: printed as JSON, after them.
        exit_code: of the process.
    """

    lines: Sequence[str | Note | Table] = ()
    document: Any = None
    exit_code: int = 0


def print_result(result: Result) -> int:
    """Print it; returns the exit code."""
    for line in result.lines:
        if isinstance(line, Note):
            print_note(*line)
        elif isinstance(line, str):
            print_data(line)
        else:
            draw(line)
    if result.document is not None:
        print_json(result.document)
    return result.exit_code
