"""Providing the pinned package: from npm's cache, through npx, and never one that was altered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ccr_kit import NAME, fake_node, install
from pytest_subprocess import FakeProcess

from synccr.ccr import package as package_module
from synccr.ccr.npx import fetch
from synccr.ccr.package import PINS, Pin, npx_directory, provide
from synccr.ccr.process_id import identify
from synccr.errors import RuntimeMissing

GOOD = hashlib.sha256(b"the program").hexdigest()
PIN = {"2.0.0": Pin("sha512-good", {"dist/cli.js": GOOD})}
COMMAND = ["--yes", f"--package={NAME}@2.0.0", "--", "node", "-p", "process.env.PATH"]


@pytest.fixture(autouse=True)
def _npx_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """npx is run without the wrapper that ends it with us."""
    monkeypatch.setattr("synccr.ccr.npx.guarded", lambda command: command)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "npm_config_cache": str(tmp_path / "npm"), "PATH": ""}


@pytest.fixture
def modules(environ: dict[str, str]) -> Path:
    return npx_directory("2.0.0", environ)


@pytest.mark.parametrize(
    ("version", "digest"), [("2.0.0", "3d25e6ed2bf9c274"), ("1.0.73", "a895282b4f075691")]
)
def test_name_of_the_npx_directory(version: str, digest: str) -> None:
    """npx's directory is computed as npm 11 was seen to name it."""
    path = npx_directory(version, {"NPM_CONFIG_CACHE": "/c"})
    assert path == Path("/c/_npx", digest, "node_modules")


def test_default_npm_cache() -> None:
    """Without a setting npm's cache is ~/.npm."""
    assert npx_directory("2.0.0", {"HOME": "/h"}).is_relative_to("/h/.npm/_npx")


def test_default_npm_cache_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows npm's cache lies in the local application data."""

    class Nt:
        name = "nt"

    monkeypatch.setattr(package_module, "os", Nt)
    assert "npm-cache" in npx_directory("2.0.0", {"LOCALAPPDATA": "/L"}).parts


async def test_cached_package_needs_no_npm(
    tmp_path: Path, environ: dict[str, str], modules: Path, fp: FakeProcess
) -> None:
    """A package that lies in npm's cache is run from there, without npx."""
    root = install(modules, "2.0.0")
    node = fake_node(tmp_path, npm=False)
    said: list[str] = []
    package = await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN, progress=said.append)
    assert package.command == (str(node.path), str(root / "dist/cli.js"), "start")
    assert said == []
    assert len(fp.calls) == 0


@pytest.mark.parametrize("version", ["3.1.1", "0.9.0", "10.0.0"])
async def test_unknown_kinds_of_ccr_are_refused(
    tmp_path: Path, environ: dict[str, str], version: str
) -> None:
    """CCR 3 and whatever is not 1.x or 2.x is refused before anything is fetched."""
    with pytest.raises(RuntimeMissing, match=f"{version} is not supported"):
        await provide(version, fake_node(tmp_path), environ, tmp_path / "c")


async def test_no_npm_and_nothing_cached(tmp_path: Path, environ: dict[str, str]) -> None:
    """Without npm and without the package the error says how to get both."""
    with pytest.raises(RuntimeMissing, match="no npm beside it"):
        await provide("2.0.0", fake_node(tmp_path, npm=False), environ, tmp_path / "c")


async def test_npx_brings_it(tmp_path: Path, environ: dict[str, str], fp: FakeProcess) -> None:
    """What npx installed is found by the PATH it made, and found again without npx."""
    node = fake_node(tmp_path)
    name = npx_directory("2.0.0", environ).parent.name
    elsewhere = tmp_path / "from-npmrc" / "_npx" / name / "node_modules"
    fp.register(
        [*node.npx, *COMMAND],
        stdout=os.pathsep.join([str(elsewhere / ".bin"), "/usr/bin"]) + "\n",
        callback=lambda _: install(elsewhere, "2.0.0"),
    )
    said: list[str] = []
    for _ in range(2):
        package = await provide(
            "2.0.0", node, environ, tmp_path / "c", pins=PIN, progress=said.append
        )
        assert package.entry == elsewhere / NAME / "dist/cli.js"
    assert len(said) == 1
    assert "2.0.0" in said[0]


async def test_npx_works_in_a_project_of_ours(
    tmp_path: Path, environ: dict[str, str], fp: FakeProcess
) -> None:
    """npx runs where no project's .npmrc has a say, without scripts of packages."""
    node = fake_node(tmp_path)
    seen = fp.register([*node.npx, *COMMAND], stdout="/x/node_modules/.bin\n")
    found = await fetch("2.0.0", node, environ, tmp_path / "c", 5)
    assert found == (Path("/x/node_modules"),)
    options = seen.calls[0].kwargs
    assert options["cwd"] == tmp_path / "c" / "npm"
    assert json.loads((tmp_path / "c" / "npm" / "package.json").read_text()) == {"private": True}
    assert options["env"]["npm_config_ignore_scripts"] == "true"
    assert options["env"]["PATH"].startswith(str(node.path.parent))


@pytest.mark.parametrize(
    ("stderr", "what"),
    [
        (
            f"npm error code ETARGET\nnpm error notarget No matching version found for {NAME}@9.",
            f"npm has no Claude Code Router 2.0.0: No matching version found for {NAME}@9.",
        ),
        ("npm ERR! code E404\nnpm ERR! 404 Not Found", "npm has no Claude Code Router 2.0.0"),
        (
            "npm error code ENOTFOUND\nnpm error syscall getaddrinfo\nnpm error network request",
            "npm cannot reach its registry (ENOTFOUND)",
        ),
        ("npm error code ENOTCACHED\nnpm error request to", "is not in npm's cache"),
        (
            (
                "npm warn Unknown\nnpm error code ENOSPC\nnpm error syscall write\n"
                "npm error nospc ENOSPC: no space left on device, write\nnpm error A complete log"
            ),
            "could not fetch Claude Code Router 2.0.0: ENOSPC: no space left on device, write",
        ),
        ("sh: 1: node: not found\n", "could not fetch Claude Code Router 2.0.0: sh: 1: node: not"),
        ("", "no reason given"),
        (
            (
                "npm error code SELF_SIGNED_CERT_IN_CHAIN\nnpm error errno SELF_SIGNED_CERT\n"
                "npm error request to https://r/x failed, reason: self-signed certificate"
            ),
            "2.0.0: request to https://r/x failed, reason: self-signed certificate",
        ),
        ("npm error code EX\nnpm error \x1b]0;title\x07 alert", "alert"),
    ],
)
async def test_npm_failures_in_one_sentence(
    tmp_path: Path, environ: dict[str, str], fp: FakeProcess, stderr: str, what: str
) -> None:
    """No such version, no network and other failures of npm are told apart, exit code 6."""
    node = fake_node(tmp_path)
    fp.register([*node.npx, *COMMAND], stderr=stderr, returncode=1)
    with pytest.raises(RuntimeMissing) as caught:
        await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)
    assert what in caught.value.what
    assert "\x1b" not in caught.value.what
    assert caught.value.todo
    assert caught.value.exit_code == 6


@pytest.mark.slow
async def test_npm_that_hangs_is_ended(tmp_path: Path, environ: dict[str, str]) -> None:
    """An npm that never comes back is ended after its time, with what it started."""
    pids = tmp_path / "pids"
    script = tmp_path / "npx.py"
    script.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    node = fake_node(tmp_path)
    node = replace(node, npx=(sys.executable, str(script)))
    task = asyncio.create_task(
        provide("2.0.0", node, environ, tmp_path / "c", pins=PIN, timeout=2.0)
    )
    with pytest.raises(RuntimeMissing, match="within 2 s"):
        await task
    async with asyncio.timeout(10):
        while any(identify(int(pid)) for pid in pids.read_text().split()):
            await asyncio.sleep(0.02)


async def test_npm_that_believes_its_record(
    tmp_path: Path, environ: dict[str, str], modules: Path, fp: FakeProcess
) -> None:
    """When npm says it is there and it is not, its directory is removed and it is asked again.

    Directories of other packages that npx runs stay.
    """
    node = fake_node(tmp_path)
    another = modules.parent.with_name("0123456789abcdef") / "node_modules"
    another.mkdir(parents=True)
    modules.mkdir(parents=True)
    out = f"{modules / '.bin'}{os.pathsep}{another / '.bin'}\n"
    fp.register([*node.npx, *COMMAND], stdout=out)
    fp.register([*node.npx, *COMMAND], stdout=out, callback=lambda _: install(modules, "2.0.0"))
    package = await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)
    assert package.entry is not None
    assert another.exists()


async def test_npm_that_never_puts_it_there(
    tmp_path: Path, environ: dict[str, str], modules: Path, fp: FakeProcess
) -> None:
    """When npm says twice that it is there and it is not, that is an error."""
    node = fake_node(tmp_path)
    fp.register([*node.npx, *COMMAND], stdout=f"{modules / '.bin'}\n", occurrences=2)
    with pytest.raises(RuntimeMissing, match="not where npm says"):
        await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)


@pytest.mark.parametrize("damage", ["changed", "missing", "other archive"])
async def test_altered_package_is_fetched_anew(
    tmp_path: Path, environ: dict[str, str], modules: Path, fp: FakeProcess, damage: str
) -> None:
    """A package that is not what was published is never run: it is thrown away and fetched."""
    spoil(modules, damage)
    node = fake_node(tmp_path)
    fp.register(
        [*node.npx, *COMMAND],
        stdout=f"{modules / '.bin'}\n",
        # As npm does: what looks installed is left as it is.
        callback=lambda _: None if modules.exists() else install(modules, "2.0.0"),
    )
    package = await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)
    assert package.entry is not None
    assert package.entry.read_text() == "the program"
    assert fp.call_count([*node.npx, *COMMAND]) == 1


@pytest.mark.parametrize("damage", ["changed", "other archive"])
async def test_altered_package_from_npm_is_refused(
    tmp_path: Path, environ: dict[str, str], modules: Path, fp: FakeProcess, damage: str
) -> None:
    """When npm brings something else than was published, it is refused."""
    node = fake_node(tmp_path)
    fp.register(
        [*node.npx, *COMMAND],
        stdout=f"{modules / '.bin'}\n",
        callback=lambda _: spoil(modules, damage),
    )
    with pytest.raises(RuntimeMissing, match="not what its authors published"):
        await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)


def spoil(modules: Path, damage: str) -> None:
    root = install(
        modules, "2.0.0", integrity="sha512-bad" if damage == "other archive" else "sha512-good"
    )
    if damage == "changed":
        (root / "dist" / "cli.js").write_text("the prógram")
    if damage == "missing":
        (root / "dist" / "cli.js").unlink()


async def test_change_after_the_first_check_is_noticed(
    tmp_path: Path, environ: dict[str, str], modules: Path
) -> None:
    """A file that changes between two starts is hashed again, even with its old time and size."""
    root = install(modules, "2.0.0")
    node = fake_node(tmp_path, npm=False)
    await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)
    entry = root / "dist" / "cli.js"
    stat = entry.stat()
    entry.write_text("the PROGRAM")
    os.utime(entry, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(RuntimeMissing, match=r"dist/cli\.js"):
        await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)


async def test_start_reads_no_file_twice(
    tmp_path: Path, environ: dict[str, str], modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that was checked and has not changed is not hashed again."""
    install(modules, "2.0.0")
    node = fake_node(tmp_path, npm=False)
    await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)

    def refuse(data: bytes) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr(hashlib, "sha256", refuse)
    await provide("2.0.0", node, environ, tmp_path / "c", pins=PIN)


async def test_unpinned_version(tmp_path: Path, environ: dict[str, str], fp: FakeProcess) -> None:
    """A version without a pin is run from where its manifest says, checked by npm alone."""
    modules = npx_directory("2.0.1", environ)
    root = install(modules, "2.0.1")
    (root / "package.json").write_text(
        json.dumps({"version": "2.0.1", "bin": {"ccr": "out/main.js"}})
    )
    (root / "out").mkdir()
    (root / "out" / "main.js").touch()
    package = await provide("2.0.1", fake_node(tmp_path), environ, tmp_path / "c", pins=PIN)
    assert package.entry == root / "out" / "main.js"


@pytest.mark.parametrize("script", ["../../../evil.js", "missing.js"])
async def test_npx_runs_what_cannot_be_resolved(
    tmp_path: Path, environ: dict[str, str], fp: FakeProcess, script: str
) -> None:
    """When the manifest names no script inside the package, npx itself is what is run."""
    modules = npx_directory("2.0.1", environ)
    root = install(modules, "2.0.1")
    (modules.parent / "evil.js").touch()
    (root / "package.json").write_text(json.dumps({"version": "2.0.1", "bin": {"ccr": script}}))
    node = fake_node(tmp_path)
    fp.register([*node.npx, fp.any()], stdout=f"{modules / '.bin'}\n")
    package = await provide("2.0.1", node, environ, tmp_path / "c", pins=PIN)
    assert package.entry is None
    assert package.command == (*node.npx, "--yes", f"--package={NAME}@2.0.1", "--", "ccr", "start")


async def test_unwritable_cache(tmp_path: Path, environ: dict[str, str]) -> None:
    """A cache directory that cannot be made is one sentence."""
    (tmp_path / "c").write_text("a file")
    with pytest.raises(RuntimeMissing, match="cannot be written"):
        await provide("2.0.0", fake_node(tmp_path), environ, tmp_path / "c", pins=PIN)


def test_pins_are_whole() -> None:
    """Each pin has npm's sha512 and a sha256 for the program, the tokenizer and the page."""
    assert set(PINS) == {"1.0.73", "2.0.0"}
    for pin in PINS.values():
        assert pin.integrity.startswith("sha512-")
        assert set(pin.files) == {"dist/cli.js", "dist/tiktoken_bg.wasm", "dist/index.html"}
        assert all(len(digest) == 64 for digest in pin.files.values())
