"""How CCR is made to load the module that leads its requests to the egress."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ccr_kit import fake_environ, fake_package, make_paths

from synccr.ccr.generations import V2
from synccr.ccr.launch_context import EgressAddress
from synccr.ccr.package import Package
from synccr.ccr.v2.launch import Launcher
from synccr.ccr.v2.preload import PRELOAD, led_command, led_environ

EGRESS = EgressAddress("http://127.0.0.1:7", "s3cret", ("https://a.example", "http://b:8"))
OWN = Package("2.0.0", ("/n/node", "/p/cli.js", "start"), Path("/p/cli.js"), V2)
NPX = Package("2.0.0", ("/n/npx", "--yes", "--", "ccr", "start"), None, V2)


def test_the_module_is_there() -> None:
    """It is found beside its users."""
    assert PRELOAD.is_file()


def test_no_secret_is_shown() -> None:
    """What is logged of the address does not open CCR's port."""
    assert EGRESS.secret not in repr(EGRESS)


def test_on_our_own_command_line() -> None:
    """Node loads it before CCR; what NODE_OPTIONS holds is not touched."""
    assert led_command(OWN, Path("/a b/x.cjs")) == (
        *("/n/node", "--require", "/a b/x.cjs"),
        *("/p/cli.js", "start"),
    )
    environ = led_environ(OWN, {"NODE_OPTIONS": "--x", "A": "b"}, EGRESS)
    assert environ == {
        "NODE_OPTIONS": "--x",
        "A": "b",
        "SYNCCR_EGRESS": "http://127.0.0.1:7",
        "SYNCCR_EGRESS_SECRET": "s3cret",
        "SYNCCR_ORIGINS": "https://a.example http://b:8",
    }


@pytest.mark.parametrize(
    ("held", "place", "result"),
    [
        (None, "/x.cjs", '--require "/x.cjs"'),
        ("", "/x.cjs", '--require "/x.cjs"'),
        ("--a --b", "/with space/x.cjs", '--a --b --require "/with space/x.cjs"'),
        (None, 'C:\\a "b"', '--require "C:\\\\a \\"b\\""'),
    ],
)
def test_under_npx(held: str | None, place: str, result: str) -> None:
    """NODE_OPTIONS names it, quoted, after what stood there."""
    assert led_command(NPX) == NPX.command
    environ = {} if held is None else {"NODE_OPTIONS": held}
    assert led_environ(NPX, environ, EGRESS, Path(place))["NODE_OPTIONS"] == result


@pytest.mark.integration
@pytest.mark.parametrize("name", ["with space", 'quote " and \\ backslash', "dollar $HOME ü"])
def test_node_reads_what_was_quoted(tmp_path: Path, name: str) -> None:
    """Whatever the place is called, Node finds the module there."""
    node = shutil.which("node")
    assert node is not None
    preload = tmp_path / name / "x.cjs"
    preload.parent.mkdir()
    preload.write_text("console.log('loaded')")
    environ = led_environ(NPX, {"NODE_OPTIONS": "--no-deprecation"}, EGRESS, preload)
    said = subprocess.check_output([node, "-e", "1"], env=environ, text=True)
    assert said == "loaded\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the command is made of a shell script")
async def test_launched_with_and_without(tmp_path: Path) -> None:
    """The launcher puts both in place, and sees that a CCR is not led which answers anybody."""
    paths = make_paths(tmp_path)
    package = fake_package(tmp_path)
    node = tmp_path / "node"
    node.write_text(f'#!/bin/sh\n[ "$1" = --require ] && shift 2\nexec {sys.executable} "$@"\n')
    node.chmod(0o755)
    package = replace(package, command=(str(node), *package.command[1:]))
    for egress in (EGRESS, None):
        backend = await Launcher(paths, fake_environ(tmp_path), egress=egress).launch(package)
        environ = psutil.Process(backend.pid).environ()
        await backend.stop(5)
        assert environ.get("SYNCCR_EGRESS") == (egress.url if egress else None)
        assert not backend.led
