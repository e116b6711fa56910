"""The command line: a typer group whose commands are loaded when they are asked for."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from synccr import __version__
from synccr.cli.commands import COMMANDS
from synccr.cli.help import OPTIONS, root_help
from synccr.cli.result import Result, print_result
from synccr.cli.shells import COMPLETE


class LazyCommand(TyperCommand):
    """A command's name and line of help; its context belongs to the real command.

    click takes every further step, help and completion among them, from the context.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """Load the command, and let it read its arguments."""
        module = import_module(f"synccr.cli.commands.{self.name}")
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(self.name, context_settings=getattr(module, "CONTEXT", None))(module.run)
        return typer.main.get_command(app).make_context(info_name, args, *rest, **more)


class Root(TyperGroup):
    """``synccr`` itself."""

    def format_help(self, _context: Any, formatter: Any) -> None:
        """The same text as where the parser is not loaded."""
        formatter.write(root_help(formatter.width))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"synccr {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[  # typer calls _version
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help=OPTIONS["--version"]),
    ] = False,
    debug: Annotated[  # read where errors are shown
        bool, typer.Option("--debug", help=OPTIONS["--debug"])
    ] = False,
) -> None:
    pass


def command() -> Any:
    """The click command to run."""
    app = typer.Typer(
        cls=Root,
        callback=_root,
        no_args_is_help=True,
        add_completion=COMPLETE in os.environ,  # its options are our command
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group: Any = typer.main.get_command(app)
    for name, line in COMMANDS.items():
        group.add_command(LazyCommand(name, help=line))
    return group


def run() -> int:
    """Parse the command line, run its command and print the result; the exit code."""
    # Whether click is a package of its own or part of typer depends on typer's
    # version; its errors are reached through what typer makes public.
    click_error: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        result = command().main(prog_name="synccr", standalone_mode=False)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes an exit code 1 of it
            raise end.__context__ from None
        raise
    except typer.Abort:
        return 130
    except click_error as error:
        error.show()  # type: ignore[attr-defined]
        return int(error.exit_code)  # type: ignore[attr-defined]
    if isinstance(result, Result):
        return print_result(result)
    return result if isinstance(result, int) else 0
