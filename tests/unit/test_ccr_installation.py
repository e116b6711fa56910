"""CCR installed by npm in a directory of our own, and never run when it was altered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ccr_kit import NAME, fake_node, install
from pytest_subprocess import FakeProcess

from synccr.ccr import installation
from synccr.ccr.installation import PINS, Pin, provide
from synccr.ccr.process import identify, with_parent_death_signal
from synccr.errors import RuntimeMissing

GOOD = hashlib.sha256(b"the program").hexdigest()
LOCK = {"packages": {f"node_modules/{NAME}": {"version": "2.0.0", "integrity": "sha512-good"}}}


@pytest.fixture(autouse=True)
def _npm_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """npm is run without the wrapper that ends it with us."""
    monkeypatch.setattr("synccr.ccr.npm.with_parent_death_signal", lambda command: command)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "npm_config_cache": str(tmp_path / "npm"), "PATH": ""}


@pytest.fixture
def pins(tmp_path: Path) -> dict[str, Pin]:
    """A pinned 2.0.0 of one short file."""
    lock = tmp_path / "lock"
    lock.mkdir()
    (lock / "package.json").write_text(json.dumps({"dependencies": {NAME: "2.0.0"}}))
    (lock / "package-lock.json").write_text(json.dumps(LOCK))
    return {"2.0.0": Pin(lock, f"{NAME}/dist/cli.js", {f"{NAME}/dist/cli.js": GOOD})}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "c"


@pytest.fixture
def place(cache: Path) -> Path:
    return cache / "ccr" / "2.0.0"


def put(place: Path, pins: dict[str, Pin]) -> Path:
    """A whole installation in its place; the program."""
    root = install(place, "2.0.0")
    shutil.copy(pins["2.0.0"].lock / "package-lock.json", place)
    return root / "dist" / "cli.js"


def npm_does(
    fp: FakeProcess, place: Path, work: Callable[[Path], object], what: str = "ci", **more: object
) -> None:
    """A registered npm that works where it is started."""

    def beside(_: object) -> None:
        for directory in place.parent.glob(".new-*/*"):
            work(directory)

    fp.register([fp.any(min=2, max=2), what, fp.any()], callback=beside, **more)  # type: ignore[arg-type]


async def test_installed_package_needs_no_npm(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """A package that was installed is run from there; no process is started for it."""
    entry = put(place, pins)
    said: list[str] = []
    node = fake_node(tmp_path, npm=False)
    found = await provide("2.0.0", node, environ, cache, pins=pins, progress=said.append)
    assert found == entry
    assert said == []
    assert len(fp.calls) == 0


@pytest.mark.parametrize("version", ["3.1.1", "0.9.0", "10.0.0"])
async def test_unknown_kinds_of_ccr_are_refused(
    tmp_path: Path, environ: dict[str, str], version: str
) -> None:
    """CCR 3 and whatever is not 1.x or 2.x is refused before anything is fetched."""
    with pytest.raises(RuntimeMissing, match=f"{version} is not supported"):
        await provide(version, fake_node(tmp_path), environ, tmp_path / "c")


async def test_no_npm_and_nothing_installed(
    tmp_path: Path, environ: dict[str, str], cache: Path
) -> None:
    """Without npm and without the package the error says how to get both."""
    with pytest.raises(RuntimeMissing, match="no npm beside it"):
        await provide("2.0.0", fake_node(tmp_path, npm=False), environ, cache)


async def test_npm_brings_it(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """npm installs by our lock, in a private directory, without scripts; once."""
    laid_out: dict[str, bytes] = {}

    def work(directory: Path) -> None:
        laid_out.update({path.name: path.read_bytes() for path in directory.iterdir()})
        install(directory, "2.0.0")

    npm_does(fp, place, work)
    said: list[str] = []
    for _ in range(2):
        entry = await provide(
            "2.0.0", fake_node(tmp_path), environ, cache, pins=pins, progress=said.append
        )
        assert entry == place / "node_modules" / NAME / "dist/cli.js"
    assert said == ["Fetching Claude Code Router 2.0.0 with npm (only this once) …"]
    (command,) = fp.calls
    assert {"ci", "--ignore-scripts", "--omit=dev", "--prefer-offline"} <= set(command)
    assert set(laid_out) == {"package.json", "package-lock.json"}
    assert json.loads(laid_out["package-lock.json"]) == LOCK
    assert place.stat().st_mode & 0o777 == 0o700
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in place.parent.iterdir()] == ["2.0.0"]


async def test_what_npm_is_told(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """npm gives up soon, unless the person says otherwise, and runs by the Node beside it."""
    environ["npm_config_fetch_retries"] = "7"
    seen = fp.register(
        [fp.any()], callback=lambda _: [install(d, "2.0.0") for d in place.parent.glob(".new-*/*")]
    )
    node = fake_node(tmp_path)
    await provide("2.0.0", node, environ, cache, pins=pins)
    options = seen.calls[0].kwargs
    assert options is not None
    assert options["cwd"].parents[1] == place.parent  # no project's .npmrc has a say
    assert options["env"]["npm_config_fetch_retries"] == "7"
    assert options["env"]["npm_config_fetch_retry_mintimeout"] == "500"
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
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
    stderr: str,
    what: str,
) -> None:
    """No such version, no network and other failures of npm are told apart, exit code 6."""
    fp.register([fp.any()], stderr=stderr, returncode=1, occurrences=2)
    with pytest.raises(RuntimeMissing) as caught:
        await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)
    assert what in caught.value.what
    assert "\x1b" not in caught.value.what
    assert caught.value.todo
    assert caught.value.exit_code == 6
    assert list(place.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "todo"),
    [
        (
            (
                "npm error code ETARGET\nnpm error notarget No matching version found for x with a "
                "date before 1/1/2020."
            ),
            "min-release-age",
        ),
        (
            (
                "npm error code EACCES\nnpm error\nnpm error Your cache folder contains root-owned "
                'files\nnpm error   sudo chown -R 1000:1000 "/home/me/.npm"'
            ),
            'sudo chown -R 1000:1000 "/home/me/.npm"',
        ),
    ],
)
async def test_what_helps_npm(
    tmp_path: Path, environ: dict[str, str], cache: Path, fp: FakeProcess, stderr: str, todo: str
) -> None:
    """A cooldown in .npmrc is named, and npm's own remedy for its cache is passed on."""
    fp.register([fp.any()], stderr=stderr, returncode=1, occurrences=2)
    with pytest.raises(RuntimeMissing) as caught:
        await provide("2.0.0", fake_node(tmp_path), environ, cache)
    assert todo in caught.value.todo


async def test_a_version_younger_than_npms_record(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """npm's cache may hold a record without the version: then the registry is asked."""
    fp.register([fp.any(), "--prefer-offline"], stderr="npm error code ETARGET", returncode=1)
    fp.register(
        [fp.any(), "--prefer-online"],
        callback=lambda _: [install(d, "2.0.0") for d in place.parent.glob(".new-*/*")],
    )
    assert await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)


@pytest.mark.parametrize("gone", ["node", "npm-cli.js"])
async def test_node_that_vanishes(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    gone: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Node that a version manager removes after it was found is named, and what helps; no
    directory is blamed. So with the wrapper that ends npm with us, and without it."""
    node = fake_node(tmp_path / "v20")
    if gone == "npm-cli.js":  # Node is there and says that it finds no such script
        node = replace(node, npm=(sys.executable, node.npm[1]))
    (tmp_path / "v20" / gone).unlink()
    for wrapper in (lambda command: command, with_parent_death_signal):
        monkeypatch.setattr("synccr.ccr.npm.with_parent_death_signal", wrapper)
        with pytest.raises(RuntimeMissing, match=f"v20/{gone} is no longer there") as caught:
            await provide("2.0.0", node, environ, cache, pins=pins)
        assert "written" not in caught.value.what
        assert "another Node is looked for" in caught.value.todo
        assert "nodejs.org" in caught.value.todo
    assert list(place.parent.iterdir()) == []


async def test_npm_that_the_system_does_not_start(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is told as what it is."""

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(RuntimeMissing, match=r"could not be run: Resource temporarily"):
        await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)


@pytest.mark.slow
async def test_npm_that_hangs_is_ended(
    tmp_path: Path, environ: dict[str, str], pins: dict[str, Pin], cache: Path, place: Path
) -> None:
    """An npm that never comes back is ended after its time, with what it started."""
    pids = tmp_path / "pids"
    script = tmp_path / "npm.py"
    script.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    node = replace(fake_node(tmp_path), npm=(sys.executable, str(script)))
    with pytest.raises(RuntimeMissing, match="within 2 s"):
        await provide("2.0.0", node, environ, cache, pins=pins, timeout=2.0)
    async with asyncio.timeout(10):
        while any(identify(int(pid)) for pid in pids.read_text().split()):
            await asyncio.sleep(0.02)
    assert list(place.parent.iterdir()) == []


async def test_npm_that_brings_nothing(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """When npm ends well and nothing is there, that is an error."""
    fp.register([fp.any()])
    with pytest.raises(RuntimeMissing, match="there is no program"):
        await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)
    assert list(place.parent.iterdir()) == []


def spoil(entry: Path, damage: str) -> None:
    """What may have become of an installation."""
    if damage == "changed":
        entry.write_text("the prógram")
    if damage == "missing":
        entry.unlink()
    if damage == "other lock":
        (entry.parents[4] / "package-lock.json").write_text("{}")


@pytest.mark.parametrize("damage", ["changed", "missing", "other lock"])
async def test_altered_package_is_fetched_anew(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
    damage: str,
) -> None:
    """A package that is not what was published is never run: it is replaced by a good one."""
    entry = put(place, pins)
    spoil(entry, damage)
    npm_does(fp, place, lambda directory: install(directory, "2.0.0"))
    said: list[str] = []
    assert entry == await provide(
        "2.0.0", fake_node(tmp_path), environ, cache, pins=pins, progress=said.append
    )
    assert entry.read_text() == "the program"
    assert [path.name for path in place.parent.iterdir()] == ["2.0.0"]
    assert ("not what its authors published" in said[0]) == (damage != "other lock")


async def test_altered_package_from_npm_is_refused(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """When npm brings something else than was published, it never gets the name."""
    npm_does(
        fp, place, lambda directory: spoil(install(directory, "2.0.0") / "dist/cli.js", "changed")
    )
    with pytest.raises(RuntimeMissing, match="not what its authors published"):
        await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)
    assert list(place.parent.iterdir()) == []


async def test_altered_and_no_npm(
    tmp_path: Path, environ: dict[str, str], pins: dict[str, Pin], cache: Path, place: Path
) -> None:
    """What cannot be mended is not run, and stays to be looked at."""
    entry = put(place, pins)
    spoil(entry, "changed")
    with pytest.raises(RuntimeMissing, match=r"dist/cli\.js") as caught:
        await provide("2.0.0", fake_node(tmp_path, npm=False), environ, cache, pins=pins)
    assert str(place) in caught.value.todo
    assert entry.exists()


async def test_two_starts_at_once(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """Who is second finds the first one's installation and takes that."""

    def first_wins(directory: Path) -> None:
        install(directory, "2.0.0")
        put(place, pins)
        (place / "first").touch()

    npm_does(fp, place, first_wins)
    assert await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)
    assert (place / "first").exists()
    assert [path.name for path in place.parent.iterdir()] == ["2.0.0"]


async def test_faster_by_a_moment(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another start has installed is not taken away from under its CCR, also when that
    happens after ours has looked for it."""
    rename, others = Path.rename, iter([place / "first"])

    def late(source: Path, target: Path) -> Path:
        for first in others:
            put(place, pins)
            first.touch()
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", late)
    npm_does(fp, place, lambda directory: install(directory, "2.0.0"))
    assert await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)
    assert (place / "first").exists()
    assert [path.name for path in place.parent.iterdir()] == ["2.0.0"]


async def test_what_a_kill_left_is_removed(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    fp: FakeProcess,
) -> None:
    """A directory of an installation that was killed goes at the next start, also when nothing
    has to be installed any more; that of an installation under way stays."""
    for name in (".new-old", ".new-young"):
        install(place.parent / name / "2.0.0", "2.0.0")
    os.utime(place.parent / ".new-old", (time.time() - 7200,) * 2)
    put(place, pins)
    await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)
    assert {path.name for path in place.parent.iterdir()} == {"2.0.0", ".new-young"}


async def test_change_after_the_first_check_is_noticed(
    tmp_path: Path, environ: dict[str, str], pins: dict[str, Pin], cache: Path, place: Path
) -> None:
    """A file that changes between two starts is hashed again, even with its old time and size,
    and even when that happens at once."""
    entry = put(place, pins)
    node = fake_node(tmp_path, npm=False)
    await provide("2.0.0", node, environ, cache, pins=pins)
    stat = entry.stat()
    entry.write_text("the PROGRAM")
    os.utime(entry, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(RuntimeMissing, match=r"dist/cli\.js"):
        await provide("2.0.0", node, environ, cache, pins=pins)


async def test_start_reads_no_file_twice(
    tmp_path: Path,
    environ: dict[str, str],
    pins: dict[str, Pin],
    cache: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A package that was checked and has not changed for a while is not hashed again; one that
    changed a moment ago is, since a further change would leave no trace."""
    put(place, pins)
    node = fake_node(tmp_path, npm=False)
    hashed: list[object] = []
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> object:
        hashed.append(file)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    for _ in range(2):
        await provide("2.0.0", node, environ, cache, pins=pins)
    assert len(hashed) == 2
    monkeypatch.setattr(installation, "_SETTLED", -1.0)
    for _ in range(3):
        await provide("2.0.0", node, environ, cache, pins=pins)
    assert len(hashed) == 3


async def test_unpinned_version(
    tmp_path: Path, environ: dict[str, str], cache: Path, fp: FakeProcess
) -> None:
    """A version without a pin is installed by its number, and run from where its manifest says."""

    def work(directory: Path) -> None:
        root = install(directory, "2.0.1", script="out/main.js")
        (root / "out").mkdir()
        (root / "out" / "main.js").touch()

    place = cache / "ccr" / "2.0.1"
    npm_does(fp, place, work, "install")
    for _ in range(2):
        entry = await provide("2.0.1", fake_node(tmp_path), environ, cache, pins={})
        assert entry == place / "node_modules" / NAME / "out" / "main.js"
    (command,) = fp.calls
    assert {"--save-exact", f"{NAME}@2.0.1", "--ignore-scripts"} <= set(command)


@pytest.mark.parametrize("script", ["../../../evil.js", "missing.js"])
async def test_unpinned_program_that_cannot_be_resolved(
    tmp_path: Path, environ: dict[str, str], cache: Path, fp: FakeProcess, script: str
) -> None:
    """A manifest that names no script inside the package: nothing is run."""

    def work(directory: Path) -> None:
        install(directory, "2.0.1", script=script)
        (directory / "evil.js").touch()

    npm_does(fp, cache / "ccr" / "2.0.1", work, "install")
    with pytest.raises(RuntimeMissing, match="there is no program"):
        await provide("2.0.1", fake_node(tmp_path), environ, cache, pins={})


async def test_unwritable_cache(
    tmp_path: Path, environ: dict[str, str], pins: dict[str, Pin], cache: Path
) -> None:
    """A cache directory that cannot be made is one sentence."""
    cache.write_text("a file")
    with pytest.raises(RuntimeMissing, match="cannot be written"):
        await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)


async def test_cache_of_another(
    tmp_path: Path, environ: dict[str, str], pins: dict[str, Pin], cache: Path
) -> None:
    """A link where installations would lie is not followed."""
    cache.mkdir()
    (tmp_path / "anybody").mkdir(mode=0o777)
    (cache / "ccr").symlink_to(tmp_path / "anybody")
    with pytest.raises(RuntimeMissing, match="cannot be written"):
        await provide("2.0.0", fake_node(tmp_path), environ, cache, pins=pins)


def test_pins_are_whole() -> None:
    """Each pin has a sha256 for the program, the tokenizer and the page, and a lock that has
    npm's sha512 of every package and names no registry."""
    assert set(PINS) == {"1.0.73", "2.0.0"}
    for version, pin in PINS.items():
        assert pin.integrity.startswith("sha512-")
        names = {name.removeprefix(f"{NAME}/") for name in pin.files}
        assert names == {"dist/cli.js", "dist/tiktoken_bg.wasm", "dist/index.html"}
        assert pin.entry in pin.files
        assert all(len(digest) == 64 for digest in pin.files.values())
        manifest = json.loads((pin.lock / "package.json").read_bytes())
        assert manifest["dependencies"] == {NAME: version}
        packages = json.loads((pin.lock / "package-lock.json").read_bytes())["packages"]
        assert packages.pop("") == {"dependencies": {NAME: version}}
        for package in packages.values():
            assert package["integrity"].startswith("sha512-")
            assert "resolved" not in package
