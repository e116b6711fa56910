"""CCR brought by npm, and what npm says when it fails."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ccr_kit import LOCK, NAME, ONE, TWO, Site, fake_node, install, whole
from pytest_subprocess import FakeProcess

from synccr.ccr.process import identify, with_parent_death_signal
from synccr.ccr.v2.pins import PINS
from synccr.errors import RuntimeMissing


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """npm is run without the wrapper that ends it with us."""
    monkeypatch.setattr("synccr.ccr.npm.with_parent_death_signal", lambda command: command)
    return Site(tmp_path)


async def test_no_npm_and_nothing_installed(site: Site) -> None:
    """Without npm and without the package the error says how to get both."""
    with pytest.raises(RuntimeMissing, match="no npm beside it"):
        await site.provide(npm=False, pins=PINS)


async def test_npm_brings_it(site: Site, fp: FakeProcess) -> None:
    """npm installs by our lock, in a private directory, without scripts; once."""
    laid_out: dict[str, bytes] = {}

    def work(directory: Path) -> None:
        laid_out.update({path.name: path.read_bytes() for path in directory.iterdir()})
        install(directory, "2.0.0")

    site.npm_does(fp, work)
    said: list[str] = []
    for _ in range(2):
        entry = await site.provide(progress=said.append)
        assert entry == site.place / "node_modules" / NAME / "dist/cli.js"
    assert said == ["Fetching Claude Code Router 2.0.0 with npm (only this once) …"]
    (command,) = fp.calls
    assert {"ci", "--ignore-scripts", "--omit=dev", "--prefer-offline"} <= set(command)
    assert set(laid_out) == {"package.json", "package-lock.json"}
    assert json.loads(laid_out["package-lock.json"]) == LOCK
    assert site.place.stat().st_mode & 0o777 == 0o700
    assert site.place.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in site.place.parent.iterdir()] == ["2.0.0"]


async def test_what_npm_is_told(site: Site, fp: FakeProcess) -> None:
    """npm gives up soon, unless the person says otherwise, and runs by the Node beside it."""
    site.environ["npm_config_fetch_retries"] = "7"
    seen = fp.register(
        [fp.any()],
        callback=lambda _: site.beside(whole),
    )
    node = fake_node(site.root)
    await site.provide(node=node)
    options = seen.calls[0].kwargs
    assert options is not None
    assert options["cwd"].parents[1] == site.place.parent  # no project's .npmrc has a say
    assert options["env"]["npm_config_fetch_retries"] == "7"
    assert options["env"]["npm_config_fetch_retry_mintimeout"] == "500"
    assert options["env"]["PATH"].startswith(str(node.path.parent))
    assert options["umask"] == (0o077 if os.name == "posix" else -1)  # for its owner alone


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
    site: Site, fp: FakeProcess, stderr: str, what: str
) -> None:
    """No such version, no network and other failures of npm are told apart, exit code 6."""
    fp.register([fp.any()], stderr=stderr, returncode=1, occurrences=2)
    with pytest.raises(RuntimeMissing) as caught:
        await site.provide()
    assert what in caught.value.what
    assert "\x1b" not in caught.value.what
    assert caught.value.todo
    assert caught.value.exit_code == 6
    assert list(site.place.parent.iterdir()) == []


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
async def test_what_helps_npm(site: Site, fp: FakeProcess, stderr: str, todo: str) -> None:
    """A cooldown in .npmrc is named, and npm's own remedy for its cache is passed on."""
    fp.register([fp.any()], stderr=stderr, returncode=1, occurrences=2)
    with pytest.raises(RuntimeMissing) as caught:
        await site.provide(pins=PINS)
    assert todo in caught.value.todo


async def test_a_version_younger_than_npms_record(site: Site, fp: FakeProcess) -> None:
    """npm's cache may hold a record without the version: then the registry is asked."""
    fp.register([fp.any(), "--prefer-offline"], stderr="npm error code ETARGET", returncode=1)
    fp.register(
        [fp.any(), "--prefer-online"],
        callback=lambda _: site.beside(whole),
    )
    assert await site.provide()


@pytest.mark.parametrize("gone", ["node", "npm-cli.js"])
async def test_node_that_vanishes(site: Site, gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Node that a version manager removes after it was found is named, and what helps; no
    directory is blamed. So with the wrapper that ends npm with us, and without it."""
    there = site.root / "v20"
    node = fake_node(there)
    if gone == "npm-cli.js":  # Node is there and says that it finds no such script
        node = replace(node, npm=(sys.executable, node.npm[1]))
    (there / gone).unlink()
    for wrapper in (lambda command: command, with_parent_death_signal):
        monkeypatch.setattr("synccr.ccr.npm.with_parent_death_signal", wrapper)
        with pytest.raises(RuntimeMissing, match=f"v20/{gone} is no longer there") as caught:
            await site.provide(node=node)
        assert "written" not in caught.value.what
        assert "another Node is looked for" in caught.value.todo
        assert "nodejs.org" in caught.value.todo
    assert list(site.place.parent.iterdir()) == []


async def test_npm_that_the_system_does_not_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told as what it is."""

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(RuntimeMissing, match=r"could not be run: Resource temporarily"):
        await site.provide()


@pytest.mark.slow
async def test_npm_that_hangs_is_ended(site: Site) -> None:
    """An npm that never comes back is ended after its time, with what it started."""
    pids = site.root / "pids"
    script = site.root / "npm.py"
    script.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    node = replace(fake_node(site.root), npm=(sys.executable, str(script)))
    with pytest.raises(RuntimeMissing, match="within 5 s"):
        await site.provide(node=node, timeout=5.0)
    async with asyncio.timeout(10):
        while any(identify(int(pid)) for pid in pids.read_text().split()):
            await asyncio.sleep(0.02)
    assert list(site.place.parent.iterdir()) == []


async def test_npm_that_brings_nothing(site: Site, fp: FakeProcess) -> None:
    """When npm ends well and nothing is there, that is an error."""
    fp.register([fp.any()])
    with pytest.raises(RuntimeMissing, match="there is no program"):
        await site.provide()
    assert list(site.place.parent.iterdir()) == []


async def test_unpinned_version(site: Site, fp: FakeProcess) -> None:
    """A version without a pin is installed by its number, and run from where its manifest says."""

    def work(directory: Path) -> None:
        root = install(directory, "2.0.1", script="out/main.js")
        (root / "out").mkdir()
        (root / "out" / "main.js").touch()

    place = site.cache / "ccr" / "2.0.1"
    site.npm_does(fp, work, "install")
    for _ in range(2):
        entry = await site.provide("2.0.1", pins={}, overrides={"library": "1.0.0"})
        assert entry == place / "node_modules" / NAME / "out" / "main.js"
    (command,) = fp.calls
    assert "--ignore-scripts" in command
    manifest = json.loads((place / "package.json").read_bytes())
    assert manifest["dependencies"] == {NAME: "2.0.1"}
    assert manifest["overrides"] == {"library": "1.0.0"}
    assert not (place / "package-lock.json").exists()


@pytest.mark.parametrize("script", ["../../../evil.js", "missing.js"])
async def test_unpinned_program_that_cannot_be_resolved(
    site: Site, fp: FakeProcess, script: str
) -> None:
    """A manifest that names no script inside the package: nothing is run."""

    def work(directory: Path) -> None:
        install(directory, "2.0.1", script=script)
        (directory / "evil.js").touch()

    site.npm_does(fp, work, "install")
    with pytest.raises(RuntimeMissing, match="there is no program"):
        await site.provide("2.0.1", pins={})


REFUSED = "npm error code ECONNREFUSED\nnpm error network request to {} failed"


def missing(name: str) -> str:
    """npm 11's words for a package that its registry does not have."""
    return (
        "npm error code E404\nnpm error 404 Not Found - GET https://r/x\nnpm error 404\n"
        f"npm error 404  The requested resource '{name}@^1.0.0' could not be found or you do not "
        "have permission to access it.\n"
    )


def missing_for_npm_10(name: str) -> str:
    return (
        "npm error code E404\nnpm error 404 Not Found - GET https://r/x\n"
        f"npm error 404  '{name}@^1.0.0' is not in this registry.\n"
    )


def no_such_version(name: str) -> str:
    return (
        f"npm error code ETARGET\nnpm error notarget No matching version found for {name}@^1.0.0.\n"
    )


@dataclass(frozen=True)
class Case:
    """What npm answers, and what comes of it.

    Attributes:
        answers: npm's order, and its words when it fails.
        without: the packages that are done without; None when nothing can be installed.
        said: of the one line about them, or of the error.
    """

    answers: tuple[tuple[str, str], ...]
    without: frozenset[str] | None
    said: str = ""


BOTH = frozenset({ONE, TWO})
NOT_NEEDED = {
    "they are there": Case((("install", ""),), frozenset()),
    "neither is there": Case(
        (("install", missing(TWO)), ("install", missing(ONE)), ("ci", "")),
        BOTH,
        f"Done without {ONE} and {TWO}: not in npm's registry",
    ),
    "one is not there": Case(
        (("install", missing_for_npm_10(TWO)), ("install", "")),
        frozenset({TWO}),
        f"Done without {TWO}: not in npm's registry",
    ),
    "no such version of one": Case(
        (("install", no_such_version(ONE)), ("install", no_such_version(ONE)), ("install", "")),
        frozenset({ONE}),
        f"Done without {ONE}: not in npm's registry",
    ),
    "CCR is not there": Case(
        (("install", missing(NAME)), ("install", missing(NAME))), None, "npm has no Claude Code"
    ),
    "something needed is not there": Case(
        (("install", missing("needed")),), None, "npm has no Claude Code Router 3.0.0: Not Found"
    ),
    "the registry breaks down": Case(
        (
            (
                "install",
                "npm error code E500\nnpm error 500 Internal Server Error - GET https://r/x",
            ),
        ),
        None,
        "could not fetch Claude Code Router 3.0.0: Internal Server Error",
    ),
    "the registry does not answer for one": Case(
        (("install", REFUSED.format(ONE)), ("ping", "")), None, "cannot reach its registry"
    ),
    "no network, npm's cache has the rest": Case(
        (("install", REFUSED.format(ONE)), ("ping", REFUSED.format("r")), ("ci", "")),
        BOTH,
        f"Done without {ONE} and {TWO}: not in npm's cache",
    ),
    "npm is told that there is no network": Case(
        (("install", "npm error code ENOTCACHED\nnpm error request to x failed"), ("ci", "")),
        BOTH,
        f"Done without {ONE} and {TWO}: not in npm's cache",
    ),
    "the registry has no ping": Case(
        (("install", REFUSED.format(ONE)), ("ping", "npm error code E404\nnpm error 404 x")),
        None,
        "cannot reach its registry",
    ),
    "no network, npm's cache has nothing": Case(
        (
            ("install", REFUSED.format(NAME)),
            ("ping", REFUSED.format("r")),
            ("ci", REFUSED.format(NAME)),
        ),
        None,
        "cannot reach its registry",
    ),
}


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("case", NOT_NEEDED.values(), ids=list(NOT_NEEDED))
async def test_what_is_not_needed(site: Site, fp: FakeProcess, case: Case, pinned: bool) -> None:
    """A package that CCR names and does not need comes where the registry has it. Another one
    stands in for it where the registry says that it has it not, or where there is no network;
    nothing else that goes wrong is taken for that. Whatever is in our lock is kept to."""
    place = site.cache / "ccr" / "3.0.0"
    overrides = json.loads((site.pins["3.0.0"].lock / "package.json").read_bytes())["overrides"]
    packages = json.loads((site.pins["3.0.0"].lock / "package-lock.json").read_bytes())["packages"]

    def bring(_: object) -> None:  # npm writes down what it has added to our lock
        def write(directory: Path) -> None:
            install(directory, "3.0.0")
            lock = directory / "package-lock.json"
            brought = json.loads(lock.read_bytes())["packages"] if lock.exists() else {}
            for name in BOTH - (case.without or frozenset()):
                assert f"node_modules/{name}" not in brought
                brought[f"node_modules/{name}"] = {"integrity": "sha512-came", "resolved": "x"}
            lock.write_text(json.dumps({"packages": brought}))

        site.beside(write)

    for order, stderr in case.answers:
        order = "install" if not pinned and order == "ci" else order
        fp.register(
            [fp.any(min=2, max=2), order, *([] if order == "ping" else [fp.any()])],
            stderr=stderr,
            returncode=1 if stderr else 0,
            callback=None if stderr or order == "ping" else bring,
        )
    said: list[str] = []
    options = {"overrides": overrides, "progress": said.append}
    pins = site.pins if pinned else {}
    if case.without is None:
        with pytest.raises(RuntimeMissing, match=case.said):
            await site.provide("3.0.0", pins=pins, **options)
        assert not place.exists()
        assert len(said) == 1
    else:
        for _ in range(2):
            assert await site.provide("3.0.0", pins=pins, **options)
        assert said[1:] == [line for line in said if "Done without" in line]
        assert len(said) == (2 if case.without else 1)
        assert case.said in said[-1]
        found = json.loads((place / "package.json").read_bytes())["overrides"]
        assert found == {n: what for n, what in overrides.items() if n not in BOTH - case.without}
        hashes = json.loads((place / "package-lock.json").read_bytes())["packages"]
        if pinned:
            for name in BOTH - case.without:
                assert hashes.pop(f"node_modules/{name}") != packages.pop(f"node_modules/{name}")
            assert hashes == packages
    commands = [list(map(str, command)) for command in fp.calls]
    orders = [command[2] for command in commands]
    assert orders == [o if pinned or o != "ci" else "install" for o, _ in case.answers]
    assert all("--ignore-scripts" in command for command in commands if command[2] != "ping")


async def test_npm_that_changes_what_is_locked(site: Site, fp: FakeProcess) -> None:
    """What is not needed must not bring another version of what is."""

    def change(directory: Path) -> None:
        install(directory, "3.0.0")
        lock = json.loads((directory / "package-lock.json").read_bytes())
        lock["packages"][f"node_modules/{NAME}"]["integrity"] = "sha512-other"
        (directory / "package-lock.json").write_text(json.dumps(lock))

    site.npm_does(fp, change, "install")
    with pytest.raises(RuntimeMissing, match="there is no program"):
        await site.provide("3.0.0")
