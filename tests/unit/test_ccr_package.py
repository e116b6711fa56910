"""What to run: looked up anew before each launch, or a person's own command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ccr_kit import NAME, fake_node

from synccr.ccr import package_source as package_module
from synccr.ccr.generations import V2, V3
from synccr.ccr.node import OLDEST, Node, OldestNode
from synccr.ccr.npm import NotInRegistry
from synccr.ccr.package import Generation
from synccr.ccr.package_source import PackageSource, configured_generation, own_command
from synccr.errors import RuntimeMissing


async def test_node_is_looked_up_before_each_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Node that a version manager has removed is followed by the next one."""
    nodes = [fake_node(tmp_path / "first"), fake_node(tmp_path / "second")]
    asked: list[Node] = []

    def find(environ: Mapping[str, str], cache: Path, oldest: OldestNode) -> Node:
        assert oldest is OLDEST
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


LATEST = f"npx -y {NAME}"


@pytest.mark.skipif(sys.platform == "win32", reason="programs have other names there")
@pytest.mark.parametrize(
    ("line", "words", "version", "generation"),
    [
        (f"npx -y {NAME}@2.0.0", f"npx -y {NAME}@2.0.0 start", "2.0.0", V2),
        (f"npx -y {NAME}@1.0.73 start", f"npx -y {NAME}@1.0.73 start", "1.0.73", V2),
        (f"npx --package={NAME}@2 -- ccr", f"npx --package={NAME}@2 -- ccr start", "2", V2),
        (f"npx {NAME}@^2.0.0 start", f"npx {NAME}@^2.0.0 start", "^2.0.0", V2),
        ("ccr", "ccr start", "unknown", V2),
        ("'ccr' start", "ccr start", "unknown", V2),
        (LATEST, f"{LATEST} serve --no-open", "latest", V3),
        (f"{LATEST}@latest start", f"{LATEST}@latest serve --no-open", "latest", V3),
        (f"{LATEST}@3.1.1", f"{LATEST}@3.1.1 serve --no-open", "3.1.1", V3),
        (f"{LATEST}@3.1.1 start", f"{LATEST}@3.1.1 serve --no-open", "3.1.1", V3),
        (f"{LATEST}@~3.1 serve", f"{LATEST}@~3.1 serve --no-open", "~3.1", V3),
        (f"{LATEST}@3.1.1 serve --no-open", f"{LATEST}@3.1.1 serve --no-open", "3.1.1", V3),
        (f"{LATEST}@next", f"{LATEST}@next serve --no-open", "next", V3),
    ],
)
async def test_own_command(
    programs: dict[str, str],
    tmp_path: Path,
    line: str,
    words: str,
    version: str,
    generation: Generation,
) -> None:
    """It is run as it is written, with what makes its generation serve at its end, as a tree that
    Node is not our part of."""
    source = PackageSource("2.0.0", programs, tmp_path, line)
    package = await source.now()
    program, *rest = words.split()
    assert package.command == (str(tmp_path / program), *rest)
    assert package.entry is None
    assert package.version == source.named == version
    assert package.generation is generation is configured_generation("2.0.0", line)


@pytest.mark.skipif(sys.platform == "win32", reason="a script for sh")
@pytest.mark.parametrize(
    ("line", "node", "runs"),
    [
        (LATEST, "20.20.2", False),
        (f"{LATEST}@3.1.1", "22.13.1", False),
        (f"{LATEST}@3.1.1", "22.14.0", True),
        (f"{LATEST}@2.0.0", "20.20.2", True),
        (f"{LATEST}@2.0.0", "18.0.0", False),
        ("ccr", "18.0.0", True),
    ],
)
async def test_the_node_that_an_own_command_gets(
    programs: dict[str, str], tmp_path: Path, line: str, node: str, runs: bool
) -> None:
    """One that is too old is told before anything is started; what a script of a person's own
    runs is not known."""
    (tmp_path / "node").write_text(f"#!/bin/sh\necho v{node}\n")
    (tmp_path / "node").chmod(0o755)
    source = PackageSource("2.0.0", programs, tmp_path, line, origin=lambda: "is set in a test")
    if runs:
        await source.check()
        return
    with pytest.raises(RuntimeMissing, match=f"on Node {node}") as caught:
        await source.check()
    assert "The command is set in a test." in caught.value.what
    assert "PATH" in caught.value.todo


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
        (f"npx {NAME}@0.9 start", "0.9 is not supported"),
        (f"npx {NAME}@4.1.1 start", "4.1.1 is not supported"),
        ("nowhere-to-be-found start", "no command 'nowhere-to-be-found'"),
        ("ccr 'start", "cannot be read: No closing quotation"),
        ("~nobody-at-all/ccr", "no command '~nobody-at-all/ccr'"),
        ("''", "no command ''"),
        (" ", "no command ''"),
    ],
)
def test_own_command_that_cannot_be_run(programs: dict[str, str], line: str, what: str) -> None:
    """It is refused before anything is started, exit code 6."""
    with pytest.raises(RuntimeMissing, match=what) as caught:
        own_command(line, programs)
    assert caught.value.exit_code == 6
    assert "2.0.0" in caught.value.todo


@pytest.mark.parametrize(
    ("version", "what", "subject"),
    [
        ("4.0.0", "Claude Code Router 4.0.0 is not supported: synccr runs 1.x, 2.x and 3.x.", "It"),
        ("0.9.0", "Claude Code Router 0.9.0 is not supported: synccr runs 1.x, 2.x and 3.x.", "It"),
        ("3.1.1", "No Node 22.14 or newer was found.", "3.1.1 needs it; that version"),
        ("2.0.0", "No Node 20 or newer was found.", "2.0.0 needs it; that version"),
    ],
)
@pytest.mark.parametrize("origin", ["is set by X in Y", "is the default", ""])
async def test_a_version_that_cannot_be_run_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    what: str,
    subject: str,
    origin: str,
) -> None:
    """``check`` says so, and so does each launch: with where it is set, before npm is asked."""
    monkeypatch.setattr("synccr.ccr.node.places", lambda _: iter(()))
    source = PackageSource(version, {"PATH": ""}, tmp_path, origin=lambda: origin)

    async def generation() -> object:
        return source.generation

    asks = [source.check, source.now, *([generation] if "supported" in what else [])]
    for ask in asks:
        with pytest.raises(RuntimeMissing) as caught:
            await ask()
        said = caught.value.what
        assert said.startswith(what)
        assert said.endswith(f" {subject} {origin}." if origin else ".")
        assert (subject in said) == bool(origin)
        assert caught.value.todo
        assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("version", "command", "pinned"),
    [
        ("2.0.0", "", True),
        ("1.0.73", "", True),
        ("3.1.1", "", True),
        ("2.0.1", "", False),
        ("9.0.0", "", False),
        ("2.0.0", "ccr", False),
    ],
)
def test_what_npm_surely_has(version: str, command: str, pinned: bool) -> None:
    """Versions with a lock file of ours."""
    assert PackageSource(version, {}, Path(), command).pinned is pinned


async def test_a_version_that_npm_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is set is told, too."""

    async def provide(*_: Any, **__: Any) -> Path:
        raise NotInRegistry("npm has no Claude Code Router 3.9.9.", "Set another.", NAME)

    monkeypatch.setattr(package_module, "find_node", lambda *_: fake_node(tmp_path))
    monkeypatch.setattr(package_module, "provide", provide)
    source = PackageSource("3.9.9", {}, tmp_path, origin=lambda: "is set by X")
    with pytest.raises(RuntimeMissing, match=r"no Claude Code Router 3\.9\.9\. It is set by X\."):
        await source.now()


@pytest.mark.parametrize(
    ("version", "command"),
    [("2.0.0", ("start",)), ("3.1.1", ("serve", "--no-open")), (None, ("start",))],
)
def test_own_command_that_is_installed(
    programs: dict[str, str], tmp_path: Path, version: str | None, command: tuple[str, ...]
) -> None:
    """``ccr`` of a global installation is run as its version wants it."""
    root = tmp_path / "lib" / "node_modules" / "@musistudio" / "claude-code-router"
    root.mkdir(parents=True)
    (root / "package.json").write_text(json.dumps({"version": version} if version else {}))
    program = root / "cli.js"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    there = tmp_path / "global"
    there.mkdir()
    (there / "ccr").symlink_to(program)
    node = there / "node"
    node.write_text("#!/bin/sh\necho v24.1.0\n")
    node.chmod(0o755)
    environ = {**programs, "PATH": os.pathsep.join((str(there), programs["PATH"]))}
    found = own_command("ccr", environ)
    assert (found.version, found.command[1:]) == (version or "unknown", command)
    assert configured_generation("2.0.0", str(there / "ccr")) is found.generation
