"""``synccr status``, as the parser of the command line reads it."""

from __future__ import annotations

from typing import Annotated

import typer

from synccr.cli.options import Json
from synccr.cli.result import Result
from synccr.cli.status_text import status
from synccr.cli.status_watch import watch as follow
from synccr.paths import Paths


def run(
    json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="A live view; in a pipe, a line per change.")
    ] = False,
) -> Result:
    """Show what runs, each model's state, and what happened last.

    Exit code 3 when nothing runs. The live view ends with q or Ctrl-C.
    """
    if watch:
        return Result(exit_code=follow(Paths.from_environment().instance, as_json=json))
    return status(as_json=json)
