"""What is installed of CCR is never run when it was altered."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ccr_kit import NAME, Site, install, whole
from pytest_subprocess import FakeProcess

from synccr.ccr import installation
from synccr.ccr.generations import V2, V3, generation_of
from synccr.errors import RuntimeMissing


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """npm is run without the wrapper that ends it with us."""
    monkeypatch.setattr("synccr.ccr.npm.with_parent_death_signal", lambda command: command)
    return Site(tmp_path)


async def test_installed_package_needs_no_npm(site: Site, fp: FakeProcess) -> None:
    """A package that was installed is run from there; no process is started for it."""
    entry = site.put()
    said: list[str] = []
    found = await site.provide(npm=False, progress=said.append)
    assert found == entry
    assert said == []
    assert len(fp.calls) == 0


@pytest.mark.parametrize("version", ["4.0.0", "0.9.0", "10.0.0"])
def test_unknown_kinds_of_ccr_are_refused(version: str) -> None:
    """Whatever is not 1.x, 2.x or 3.x."""
    with pytest.raises(RuntimeMissing, match=f"{version} is not supported"):
        generation_of(version)


def spoil(entry: Path, damage: str) -> None:
    """What may have become of an installation."""
    if damage == "changed":
        entry.write_text("the prógram")
    if damage == "missing":
        entry.unlink()
    if damage == "other lock":
        (entry.parents[4] / "package-lock.json").write_text("{}")


@pytest.mark.parametrize("damage", ["changed", "missing", "other lock"])
async def test_altered_package_is_fetched_anew(site: Site, fp: FakeProcess, damage: str) -> None:
    """A package that is not what was published is never run: it is replaced by a good one."""
    entry = site.put()
    spoil(entry, damage)
    site.npm_does(fp, whole)
    said: list[str] = []
    assert entry == await site.provide(progress=said.append)
    assert entry.read_text() == "the program"
    assert [path.name for path in site.place.parent.iterdir()] == ["2.0.0"]
    assert ("not what its authors published" in said[0]) == (damage != "other lock")


async def test_altered_package_from_npm_is_refused(site: Site, fp: FakeProcess) -> None:
    """When npm brings something else than was published, it never gets the name."""
    site.npm_does(
        fp,
        lambda directory: spoil(install(directory, "2.0.0") / "dist/cli.js", "changed"),
    )
    with pytest.raises(RuntimeMissing, match="not what its authors published"):
        await site.provide()
    assert list(site.place.parent.iterdir()) == []


async def test_altered_and_no_npm(site: Site) -> None:
    """What cannot be mended is not run, and stays to be looked at."""
    entry = site.put()
    spoil(entry, "changed")
    with pytest.raises(RuntimeMissing, match=r"dist/cli\.js") as caught:
        await site.provide(npm=False)
    assert str(site.place) in caught.value.todo
    assert entry.exists()


async def test_two_starts_at_once(site: Site, fp: FakeProcess) -> None:
    """Who is second finds the first one's installation and takes that."""

    def first_wins(directory: Path) -> None:
        install(directory, "2.0.0")
        site.put()
        (site.place / "first").touch()

    site.npm_does(fp, first_wins)
    assert await site.provide()
    assert (site.place / "first").exists()
    assert [path.name for path in site.place.parent.iterdir()] == ["2.0.0"]


async def test_faster_by_a_moment(
    site: Site, fp: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another start has installed is not taken away from under its CCR, also when that
    happens after ours has looked for it."""
    rename, others = Path.rename, iter([site.place / "first"])

    def late(source: Path, target: Path) -> Path:
        for first in others:
            site.put()
            first.touch()
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", late)
    site.npm_does(fp, whole)
    assert await site.provide()
    assert (site.place / "first").exists()
    assert [path.name for path in site.place.parent.iterdir()] == ["2.0.0"]


async def test_what_a_kill_left_is_removed(site: Site, fp: FakeProcess) -> None:
    """A directory of an installation that was killed goes at the next start, also when nothing
    has to be installed any more; that of an installation under way stays."""
    for name in (".new-old", ".new-young"):
        install(site.place.parent / name / "2.0.0", "2.0.0")
    os.utime(site.place.parent / ".new-old", (time.time() - 7200,) * 2)
    site.put()
    await site.provide()
    assert {path.name for path in site.place.parent.iterdir()} == {"2.0.0", ".new-young"}


async def test_change_after_the_first_check_is_noticed(site: Site) -> None:
    """A file that changes between two starts is hashed again, even with its old time and size,
    and even when that happens at once."""
    entry = site.put()
    await site.provide(npm=False)
    stat = entry.stat()
    entry.write_text("the PROGRAM")
    os.utime(entry, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(RuntimeMissing, match=r"dist/cli\.js"):
        await site.provide(npm=False)


async def test_start_reads_no_file_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that was checked and has not changed for a while is not hashed again; one that
    changed a moment ago is, since a further change would leave no trace."""
    site.put()
    hashed: list[object] = []
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> object:
        hashed.append(file)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr(installation, "_SETTLED", 3600.0)
    for _ in range(2):
        await site.provide(npm=False)
    assert len(hashed) == 2
    monkeypatch.setattr(installation, "_SETTLED", -1.0)
    for _ in range(3):
        await site.provide(npm=False)
    assert len(hashed) == 3


async def test_unwritable_cache(site: Site) -> None:
    """A cache directory that cannot be made is one sentence."""
    site.cache.write_text("a file")
    with pytest.raises(RuntimeMissing, match="cannot be written"):
        await site.provide()


async def test_cache_of_another(site: Site) -> None:
    """A link where installations would lie is not followed."""
    site.cache.mkdir()
    (site.root / "anybody").mkdir(mode=0o777)
    (site.cache / "ccr").symlink_to(site.root / "anybody")
    with pytest.raises(RuntimeMissing, match="cannot be written"):
        await site.provide()


PINS = {**V2.pins, **V3.pins}


def test_pins_are_whole() -> None:
    """Each pin has a lock with npm's sha512 of every package that names no registry, and a sha256
    of what runs."""
    assert set(PINS) == {"1.0.73", "2.0.0", "3.1.1"}
    for version, pin in PINS.items():
        assert pin.integrity.startswith("sha512-")
        assert any(Path(pin.entry).is_relative_to(name) for name in pin.files)
        assert all(len(digest) == 64 for digest in pin.files.values())
        manifest = json.loads((pin.lock / "package.json").read_bytes())
        assert manifest["dependencies"] == {NAME: version}
        packages = json.loads((pin.lock / "package-lock.json").read_bytes())["packages"]
        assert packages.pop("") == {"dependencies": {NAME: version}}
        for package in packages.values():
            assert package["integrity"].startswith("sha512-")
            assert "resolved" not in package


def test_what_is_pinned_of_each_generation() -> None:
    """CCR 2 is three files: the program, the tokenizer and the page. CCR 3 is whole packages, and
    what is overridden in its lock is overridden for versions that are not pinned."""
    for pin in V2.pins.values():
        names = {name.removeprefix(f"{NAME}/") for name in pin.files}
        assert names == {"dist/cli.js", "dist/tiktoken_bg.wasm", "dist/index.html"}
    for pin in V3.pins.values():
        assert set(pin.files) == {NAME, "better-sqlite3", "undici"}
        manifest = json.loads((pin.lock / "package.json").read_bytes())
        assert manifest["overrides"] == V3.overrides
        packages = json.loads((pin.lock / "package-lock.json").read_bytes())["packages"]
        for name, what in V3.overrides.items():
            locked = packages[f"node_modules/{name}"]
            real = f"npm:{locked['name']}@" if "name" in locked else ""
            assert what == f"{real}{locked['version']}"


def spoil_directory(root: Path, damage: str) -> None:
    """What may have become of a package."""
    match damage:
        case "changed":
            (root / "lib" / "index.js").write_text("another")
        case "added":
            (root / "build").mkdir()
            (root / "build" / "binding.node").touch()
        case "removed":
            (root / "lib" / "index.js").unlink()
        case "renamed":
            (root / "lib" / "index.js").rename(root / "lib" / "other.js")
        case "link to a directory":
            (root / "node_modules").symlink_to(root / "lib")
        case "gone":
            shutil.rmtree(root)


@pytest.mark.parametrize(
    "damage", ["changed", "added", "removed", "renamed", "link to a directory", "gone"]
)
def test_a_package_that_is_checked_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Every file of it counts, and that there is no other: Node may prefer it. So with files whose
    hashes are remembered."""
    monkeypatch.setattr(installation, "_SETTLED", -1.0)
    root = tmp_path / "package"
    (root / "lib").mkdir(parents=True)
    (root / "package.json").write_text("{}")
    (root / "lib" / "index.js").write_text("the program")
    hashes = tmp_path / "hashes.json"
    good = installation.FileHashes(hashes).of([root])
    assert good == installation.FileHashes(hashes).of([root]) != [None]
    spoil_directory(root, damage)
    assert installation.FileHashes(hashes).of([root]) != good


@pytest.mark.skipif(sys.platform == "win32", reason="sha256sum")
def test_the_sum_of_a_package_is_that_of_sha256sum(tmp_path: Path) -> None:
    """Anybody can look it up without us."""
    root = tmp_path / "package"
    for name in ("b.js", "B.js", "a/é.js", "a.js", "a/deep/c.js", "a-b.js"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    line = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    shown = subprocess.run(["sh", "-c", line], cwd=root, capture_output=True, text=True, check=True)
    assert installation.FileHashes(tmp_path / "hashes").of([root]) == [shown.stdout.split()[0]]


def test_hashes_of_what_is_gone_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each installation is first seen in a directory of another name."""
    monkeypatch.setattr(installation, "_SETTLED", -1.0)
    hashes = tmp_path / "hashes.json"
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        installation.FileHashes(hashes).of([tmp_path / name])
        (tmp_path / "one").unlink(missing_ok=True)
    assert list(json.loads(hashes.read_bytes())["hashes"]) == [str(tmp_path / "two")]


LOCKED = f"node_modules/{NAME}"


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda packages: packages.update({"node_modules/more": {"integrity": "sha512-m"}}), True),
        (lambda packages: packages[LOCKED].update(resolved="https://r/x", license="MIT"), True),
        (lambda packages: packages[LOCKED].update(integrity="sha512-other"), False),
        (lambda packages: packages.pop(LOCKED), False),
    ],
)
async def test_a_lock_that_npm_has_completed(
    site: Site, fp: FakeProcess, change: Callable[[dict[str, Any]], object], kept: bool
) -> None:
    """An installation counts while each package of our lock is in its own as we know it."""
    site.put()
    lock = site.place / "package-lock.json"
    document = json.loads(lock.read_bytes())
    change(document["packages"])
    lock.write_text(json.dumps(document))
    site.npm_does(fp, whole)
    await site.provide()
    assert len(fp.calls) == (0 if kept else 1)
