"""The list of commands and ``synccr --help``, which are written without loading a command."""

from __future__ import annotations

import inspect
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

from synccr.cli import commands
from synccr.cli.app import command
from synccr.cli.commands import COMMANDS
from synccr.cli.help import OPTIONS, root_help


def test_every_module_is_a_command() -> None:
    """And every command a module."""
    assert {module.name for module in pkgutil.iter_modules(commands.__path__)} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_is_the_docstring(name: str) -> None:
    """What help says of a command in one line is its first sentence."""
    module: Any = import_module(f"synccr.cli.commands.{name}")
    told = module.app.info.help if hasattr(module, "app") else inspect.getdoc(module.run)
    first = re.match(r"(.+?\.)(\s|$)", " ".join((told or "").split()))
    assert first
    assert COMMANDS[name] == first[1]


def test_every_option_is_listed() -> None:
    """With the words that the parser has of it."""
    found = command()
    context = found.make_context("synccr", [], resilient_parsing=True)
    told = dict(option.get_help_record(context) for option in found.get_params(context))
    assert told == OPTIONS


@pytest.mark.parametrize("width", [50, 62, 78])
def test_help_keeps_within_its_width(width: int) -> None:
    """Two lines are longer: each is to be pasted or read as a whole."""
    wide = [line for line in root_help(width).splitlines() if len(line) > width]
    assert all("    synccr " in line for line in wide)
    assert set(re.findall(r"^  ([a-z]+) ", root_help(width), re.M)) >= set(COMMANDS)


def _loaded(*arguments: str) -> set[str]:
    """The modules that a command line leaves loaded."""
    code = (
        "import sys, synccr.__main__\n"
        f"sys.argv = ['synccr', *{arguments!r}]\n"
        "try:\n    synccr.__main__.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('loaded', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded ")[2].split())


def test_help_loads_no_parser() -> None:
    """It is the first thing that people ask for, and comes at once."""
    assert _loaded("--help").isdisjoint({"typer", "rich", "dataclasses", "json", "pathlib"})


def test_a_command_loads_its_own_module_only() -> None:
    """The others cost nothing."""
    loaded = {name for name in _loaded("env", "--help") if name.startswith("synccr.cli.commands.")}
    assert loaded == {"synccr.cli.commands.env"}


def test_help_of_a_command_is_the_command_s_own() -> None:
    """Its options are there although the list knows nothing of them."""
    done = subprocess.run(
        [sys.executable, "-m", "synccr", "swap", "-h"], capture_output=True, text=True, check=True
    )
    assert "primary|fallback  Where to go." in done.stdout
