"""What runs CCR is looked up before each launch: Node, the installation, a person's own command."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from home import MAIN, SPARE, Home, Running, message, program
from npm_registry import SCOPE, registry
from ports import free_port
from provider import FakeProvider
from synccr.ccr.generations import V3
from synccr.ccr.installation import provide
from synccr.ccr.node import find_node
from synccr.ccr.npm import NAME
from synccr.errors import RuntimeMissing

pytestmark = [pytest.mark.integration, pytest.mark.long]

DEAD = f"http://127.0.0.1:{free_port()}"

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and signals")


def ask(running: Running, nonce: str) -> None:
    """A request is answered; while CCR is replaced it waits."""
    answer = httpx.post(f"{running.url}/v1/messages", json=message(nonce), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["content"][0]["text"] == nonce


def kill_ccr(home: Home, running: Running) -> None:
    """SIGKILL, and wait for another one."""
    pid = home.status()["ccr"]["pid"]
    psutil.Process(pid).kill()
    running.until(lambda: home.status()["ccr"]["pid"] not in (pid, None))


@posix
def test_a_node_that_vanishes(home: Home, provider: FakeProvider, tmp_path: Path) -> None:
    """A version manager removes the Node of the start: a crash of CCR and a swap cost nothing."""
    real = find_node(os.environ).path.resolve()
    once = tmp_path / "multishell"
    once.mkdir()
    (once / "node").symlink_to(real)
    home.env["PATH"] = os.pathsep.join((str(once), str(real.parent), home.env["PATH"]))
    home.use(provider)
    with home.running() as running:
        assert program(home)[0] == str(once / "node")
        shutil.rmtree(once)
        ask(running, "before")
        kill_ccr(home, running)
        ask(running, "after")
        assert program(home)[0] != str(once / "node")
        swapped = home.run("swap", "fallback")
        assert swapped.returncode == 0, swapped.stdout + swapped.stderr
        running.until_profile("fallback")
        ask(running, "swapped")
        assert [seen for seen in home.events() if "failed" in seen["kind"]] == []


@posix
def test_an_installation_that_is_altered_meanwhile(
    home: Home, provider: FakeProvider, tmp_path: Path
) -> None:
    """A program that was changed while CCR ran is not what the next launch runs, which mends
    it; so it goes with one that is gone."""
    home.use(provider)
    with home.running() as running:
        entry = Path(program(home)[1])
        assert entry.is_relative_to(home.cache)
        good = entry.read_bytes()
        for damage in ("altered", "gone"):
            entry.unlink()
            if damage == "altered":
                entry.write_bytes(
                    good + b"\n;require('fs').writeFileSync(process.env.HOME + '/ran', '')\n"
                )
            else:
                shutil.rmtree(home.cache / "ccr")
            kill_ccr(home, running)
            ask(running, damage)
            assert entry.read_bytes() == good
        assert not (home.root / "ran").exists()
        assert "not what its authors published" in running.log.read_text()


@posix
@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_command_of_ones_own(home: Home, provider: FakeProvider, where: str) -> None:
    """``npx -y …@2.0.0`` is run as it is written: led to the egress, watched, swapped, and
    ended with all that it started."""
    command = "npx -y @musistudio/claude-code-router@2.0.0"
    if where == "file":
        home.write("synccr.toml", f'ccr_command = "{command}"\n')
    else:
        home.env["SYNCCR_CCR_COMMAND"] = command
    home.env["SYNCCR_CCR_VERSION"] = "1.0.73"  # not what counts
    home.use(provider)
    with home.running() as running:
        status = home.status()
        assert status["ccr"]["version"] == "2.0.0"
        assert status["ccr"]["judged"] is True
        lines = [" ".join(process.cmdline()) for process in home.processes()]
        assert any("npm exec @musistudio/claude-code-router@2.0.0 start" in one for one in lines)
        serving = psutil.Process(status["ccr"]["pid"])
        assert serving.parent() != psutil.Process(running.process.pid)
        ask(running, "one")
        kill_ccr(home, running)
        ask(running, "two")
        provider.set(MAIN, "billing")
        ask(running, "three")
        assert running.until_profile("fallback")["routes"]["default"] == f"acme,{SPARE}"
        doctor = home.run("doctor", "ccr.package", "--json").stdout
        assert "your own command" in doctor
    assert running.process.returncode == 0
    assert home.processes() == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ccr_version", "4.1.1", "Claude Code Router 4.1.1 is not supported"),
        ("ccr_version", "2.99.99", "npm has no Claude Code Router 2.99.99"),
        ("ccr_command", "npx -y @musistudio/claude-code-router@4.1.1", "4.1.1 is not supported"),
        ("ccr_command", "nowhere-to-be-found start", "no command 'nowhere-to-be-found'"),
    ],
)
@pytest.mark.parametrize("where", ["file", "environment"])
@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_what_cannot_be_run(
    home: Home,
    provider: FakeProvider,
    name: str,
    value: str,
    words: str,
    where: str,
    detach: tuple[str, ...],
) -> None:
    """Exit 6 before a model is asked, with the place where it is set."""
    home.use(provider)
    if where == "file":
        home.write("synccr.toml", f'{name} = "{value}"\n')
        origin = f"{name} in {home.config / 'synccr.toml'}"
    else:
        home.env[f"SYNCCR_{name.upper()}"] = value
        origin = f"SYNCCR_{name.upper()} in the environment"
    done = home.run("start", *detach)
    assert done.returncode == 6
    assert words in done.stderr
    assert f"is set by {origin}." in done.stderr
    assert provider.requests() == []


@pytest.fixture
def environ(npm_cache: Path) -> dict[str, str]:
    """npm as it is set up here, with the packages that tests fetch."""
    return {**os.environ, "npm_config_cache": str(npm_cache)}


async def provided(
    environ: dict[str, str], cache: Path, *, pinned: bool = True
) -> tuple[Path, list[str]]:
    """The program of CCR 3, brought by npm of the Node that is found here; what was said."""
    said: list[str] = []
    pin = V3.pins["3.1.1"] if pinned else None
    node = await asyncio.to_thread(find_node, environ)
    entry = await provide(
        "3.1.1", pin, node, environ, cache, overrides=V3.overrides, progress=said.append
    )
    assert entry == cache / "ccr" / "3.1.1" / "node_modules" / NAME / "dist" / "main" / "cli.js"
    return entry, said


def found_of(entry: Path, name: str) -> dict[str, Any]:
    """What is installed beside CCR under a name."""
    modules = entry.parents[4]
    document: dict[str, Any] = json.loads((modules / name / "package.json").read_bytes())
    return document


GATEWAY, BRIDGE = f"{SCOPE}/ai-gateway", f"{SCOPE}/bot-gateway-sdk"
SCRIPT = {"postinstall": "echo >../../../ran"}
THERE = {
    GATEWAY: {
        "version": "1.0.99",
        "scripts": SCRIPT,
        "dependencies": {f"{SCOPE}/part": "^2.0.0", "undici": "^6.0.0"},
    },
    BRIDGE: {"version": "0.1.9", "scripts": SCRIPT},
    f"{SCOPE}/part": {"version": "2.0.1", "scripts": SCRIPT},
}


@pytest.mark.parametrize("pinned", [True, False])
async def test_ccr_3_as_the_registry_here_has_it(
    environ: dict[str, str], tmp_path: Path, pinned: bool
) -> None:
    """What npm brings is what is pinned, and is found again without npm; of what is not needed
    whatever is there. So with a version that is not pinned, which npm alone checks."""
    entry, said = await provided(environ, tmp_path, pinned=pinned)
    assert found_of(entry, "better-sqlite3")["version"] == "13.2.0"
    assert said[0] == "Fetching Claude Code Router 3.1.1 with npm (only this once) …"
    stand_ins = [
        name for name in (GATEWAY, BRIDGE) if found_of(entry, name)["name"] == "node-addon-api"
    ]
    if stand_ins:
        names = " and ".join(stand_ins)
        assert said[1:] == [
            f"Done without {names}: not in npm's registry, and not needed to route."
        ]
    found = await provided({"PATH": environ["PATH"]}, tmp_path, pinned=pinned)
    assert found == (entry, [])


@pytest.mark.parametrize("names", [(GATEWAY, BRIDGE), (GATEWAY,), (BRIDGE,), ()])
async def test_packages_that_some_registries_have(
    environ: dict[str, str], tmp_path: Path, names: tuple[str, ...]
) -> None:
    """They come from where they are, with what they need and without a script run; another
    package stands in for each that is nowhere. What is checked is the same."""
    packages = {name: what for name, what in THERE.items() if name in (*names, f"{SCOPE}/part")}
    with registry(packages) as address:
        environ[f"npm_config_{SCOPE}:registry"] = address
        entry, said = await provided(environ, tmp_path)
    assert len(said) == (1 if len(names) == 2 else 2)
    for name in (GATEWAY, BRIDGE):
        found = found_of(entry, name)
        if name in names:
            assert found["version"] == THERE[name]["version"]
        else:
            assert found["name"] == "node-addon-api"
            assert name in said[1]
    assert found_of(entry, "undici")["version"] == "7.30.2"
    if GATEWAY in names:
        assert found_of(entry, f"{SCOPE}/part")["version"] == "2.0.1"
    assert list(tmp_path.rglob("ran")) == []
    assert await provided({"PATH": environ["PATH"]}, tmp_path) == (entry, [])


@pytest.mark.parametrize("otherwise", [500, 403, 0])
async def test_a_registry_that_does_not_say_no(
    environ: dict[str, str], tmp_path: Path, otherwise: int
) -> None:
    """Whatever is no 404 is a failure, and nothing takes the place of anything."""
    environ |= {"npm_config_fetch_retries": "0", "npm_config_cache": str(tmp_path / "npm")}
    with registry({}, otherwise) as address:
        environ[f"npm_config_{SCOPE}:registry"] = address
        with pytest.raises(RuntimeMissing, match=r"could not fetch|cannot reach its registry"):
            await provided(environ, tmp_path)
    assert list((tmp_path / "ccr").iterdir()) == []


@pytest.mark.parametrize(
    "away",
    [{"npm_config_offline": "true"}, {"npm_config_proxy": DEAD, "npm_config_https_proxy": DEAD}],
    ids=["told so", "no way"],
)
async def test_without_a_network(
    environ: dict[str, str], tmp_path: Path, away: dict[str, str]
) -> None:
    """What npm's cache holds is enough, once it holds everything that is locked."""
    first, _ = await provided(environ, tmp_path / "first")
    offline = {**environ, **away, "npm_config_fetch_retries": "0", "npm_config_noproxy": ""}
    entry, said = await provided(offline, tmp_path / "second")
    assert found_of(entry, GATEWAY) == found_of(first, GATEWAY)
    for line in said[1:]:
        assert line.startswith(f"Done without {GATEWAY} and {BRIDGE}: not in npm's cache")
    empty = {**offline, "npm_config_cache": str(tmp_path / "empty")}
    with pytest.raises(RuntimeMissing, match="cannot reach its registry"):
        await provided(empty, tmp_path / "third")


@pytest.mark.parametrize(
    "damage", ["better-sqlite3/build/Release/better_sqlite3.node", "better-sqlite3/prebuilds"]
)
async def test_a_binary_that_is_altered_or_added(
    environ: dict[str, str], tmp_path: Path, damage: str
) -> None:
    """CCR 3 with another binary than that of its authors is not run, but fetched anew."""
    entry, _ = await provided(environ, tmp_path)
    target = entry.parents[4] / damage
    if target.is_dir():
        for binary in target.iterdir():
            binary.unlink()
            binary.write_bytes(b"another")
    else:
        target.parent.mkdir(parents=True)
        target.touch()
    again, said = await provided(environ, tmp_path)
    assert again == entry
    assert "is not what its authors published (not the same: better-sqlite3)" in said[0]
    assert not target.exists() or target.is_dir()
