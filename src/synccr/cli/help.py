"""``synccr --help``, written without the parser of the command line, which costs more than
all the rest of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from textwrap import fill, shorten

from synccr.cli.commands import COMMANDS

ABOUT = """\
Run Claude Code Router so that a model you cannot use never ends your session.

synccr checks every configured model, writes a healed configuration for Claude Code Router
(CCR), runs CCR, watches it, and moves to your fallback when a model runs out of credit, goes
away or breaks down.

That is CCR 2.0.0, unless ccr_version in synccr.toml, or SYNCCR_CCR_VERSION, says otherwise: 3.1.1
for CCR 3."""
FIRST_STEPS = """\
  First steps:
    synccr init     asks for your provider's key, and whether your models can serve
    synccr start    in place of: npx @musistudio/claude-code-router start
    synccr code     Claude Code through the router
    synccr demo     all of it without a key or an account"""
OPTIONS = {
    "--version": "Show the version.",
    "--debug": "Show tracebacks instead of sentences.",
    "-h, --help": "Show this message and exit.",
}


def root_help(width: int | None = None) -> str:
    """What ``synccr --help`` prints.

    Args:
        width: columns; without it, those of the terminal, within the bounds that click has.
    """
    width = width or max(50, min(80, shutil.get_terminal_size().columns) - 2)
    about = [fill(text, width, initial_indent="  ", subsequent_indent="  ")
             for text in ABOUT.split("\n\n")]  # fmt: skip
    return "\n\n".join(
        (
            "Usage: synccr [OPTIONS] COMMAND [ARGS]...",
            *about,
            FIRST_STEPS,
            f"Options:\n{_rows(OPTIONS, width)}",
            f"Commands:\n{_rows(COMMANDS, width)}\n",
        )
    )


def _rows(rows: Mapping[str, str], width: int) -> str:
    column = max(map(len, rows))
    room = width - column - 6
    return "\n".join(
        f"  {name:<{column}}  {shorten(text, room, placeholder='...')}"
        for name, text in rows.items()
    )
