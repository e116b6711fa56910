"""The command line: one typer application, its commands in one file a group."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from synccr import __version__
from synccr.cli import check, doctor, home, look, notify, run, trace, use


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"synccr {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[  # typer calls _version
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[  # read where errors are shown
        bool, typer.Option("--debug", help="Show tracebacks instead of sentences.")
    ] = False,
) -> None:
    """Run Claude Code Router so that a model you cannot use never ends your session.

    synccr checks every configured model, writes a healed configuration for
    Claude Code Router (CCR), runs CCR, watches it, and moves to your fallback
    when a model runs out of credit, goes away or breaks down.

    \b
    First steps:
      synccr init     asks for your provider's key, and whether your models can serve
      synccr start    in place of: npx @musistudio/claude-code-router start
      synccr code     Claude Code through the router
      synccr demo     all of it without a key or an account
    """


def command() -> Any:
    """The click command to run."""
    app = typer.Typer(
        callback=_root,
        no_args_is_help=True,
        add_completion=use.COMPLETE in os.environ,  # its options are our command
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in (run, check, use, look, trace, notify, doctor, home):
        group.add_to(app)
    return typer.main.get_command(app)
