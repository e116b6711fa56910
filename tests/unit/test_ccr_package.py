"""What to run: looked up anew before each launch, or a person's own command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ccr_kit import NAME, fake_node

from synccr.ccr import package_source as package_module
from synccr.ccr.node import Node
from synccr.ccr.package_source import PackageSource, own_command
from synccr.errors import RuntimeMissing


async def test_node_is_looked_up_before_each_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Node that a version manager has removed is followed by the next one."""
    nodes = [fake_node(tmp_path / "first"), fake_node(tmp_path / "second")]
    asked: list[Node] = []

    def find(environ: Mapping[str, str], cache: Path) -> Node:
        return nodes[len(asked)]

    async def provide(version: str, node: Node, *_: Any, **__: Any) -> Path:
        asked.append(node)
        return tmp_path / "cli.js"

    monkeypatch.setattr(package_module, "find_node", find)
    monkeypatch.setattr(package_module, "provide", provide)
    source = PackageSource("2.0.0", {}, tmp_path)
    for node in nodes:
        package = await source.now()
        assert package.command == (str(node.path), str(tmp_path / "cli.js"), "start")
    assert source.named == package.version == "2.0.0"


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment with an npx and a ccr on its PATH."""
    for name in ("npx", "ccr"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": str(tmp_path)}


@pytest.mark.skipif(sys.platform == "win32", reason="programs have other names there")
@pytest.mark.parametrize(
    ("line", "words", "version"),
    [
        (f"npx -y {NAME}@2.0.0", f"npx -y {NAME}@2.0.0 start", "2.0.0"),
        (f"npx -y {NAME}@1.0.73 start", f"npx -y {NAME}@1.0.73 start", "1.0.73"),
        (f"npx --package={NAME}@2.0.0 -- ccr", f"npx --package={NAME}@2.0.0 -- ccr start", "2.0.0"),
        ("ccr", "ccr start", "unknown"),
        ("'ccr' start", "ccr start", "unknown"),
    ],
)
async def test_own_command(
    programs: dict[str, str], tmp_path: Path, line: str, words: str, version: str
) -> None:
    """It is run as it is written, with ``start`` at its end, as a tree that Node is not our
    part of."""
    source = PackageSource("2.0.0", programs, tmp_path, line)
    package = await source.now()
    program, *rest = words.split()
    assert package.command == (str(tmp_path / program), *rest)
    assert package.entry is None
    assert package.version == source.named == version


@pytest.mark.skipif(sys.platform == "win32", reason="quotes stay in the words there")
def test_own_command_word_by_word(
    programs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quotes within a word stay, and "./" means this directory, whatever is on PATH."""
    command = own_command("""npx -c 'exec ccr "start"'""", programs).command
    assert command[2:] == ('exec ccr "start"', "start")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RuntimeMissing, match=r"no command '\./ccr'"):
        own_command("./ccr", programs)
    (tmp_path / "here" / "ccr").symlink_to(tmp_path / "ccr")
    assert own_command("./ccr", programs).command == (str(tmp_path / "here" / "ccr"), "start")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"npx {NAME}", "names no version"),
        (f"npx {NAME}@latest start", "names no version"),
        (f"npx {NAME}@4.1.1 start", "4.1.1 is not supported"),
        ("nowhere-to-be-found start", "no command 'nowhere-to-be-found'"),
        ("ccr 'start", "cannot be read: No closing quotation"),
        ("~nobody-at-all/ccr", "no command '~nobody-at-all/ccr'"),
        ("''", "no command ''"),
        (" ", "no command ''"),
    ],
)
def test_own_command_that_cannot_be_run(programs: dict[str, str], line: str, what: str) -> None:
    """It is refused before anything is started, exit code 6; so is what would bring CCR 3."""
    with pytest.raises(RuntimeMissing, match=what) as caught:
        own_command(line, programs)
    assert caught.value.exit_code == 6
    assert "2.0.0" in caught.value.todo
