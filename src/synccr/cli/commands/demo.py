"""``synccr demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from synccr.cli.result import Result
from synccr.demo.story import run_demo


def run(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's directory and say where it is.")
    ] = False,
    ccr: Annotated[
        str | None,
        typer.Option("--ccr", metavar="VERSION", help="Show it with this CCR, such as 3.1.1."),
    ] = None,
) -> Result:
    """Show the whole main job on an embedded provider: no key, no account, no configuration.

    The real Claude Code Router runs in a directory of its own; its main model
    runs out of credit, and synccr moves to the fallback. Everything is removed.
    """
    return Result(exit_code=run_demo(keep=keep, ccr=ccr))
