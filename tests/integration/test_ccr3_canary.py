"""CCR 3 under synccr in a home where CCR 3, Claude Code, Codex and Claude Desktop are: no prompt
and no key on any disk at any moment, nothing of theirs changed, nothing of ours open or left."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

import fault_kit as kit
from ccr3_kit import checksums, lay_out
from home import KEY, MAIN, Home, message
from provider import FakeProvider

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.ccr("3.1.1"),
    pytest.mark.skipif(os.name == "nt", reason="modes are POSIX"),
]

PROMPT = "prompt-canary-6b20e7d4915f"
THEIRS = (".claude", ".codex", ".config/Claude-3p")


class Watch:
    """Reads every file below some directories again as soon as it has changed, all the time:
    what CCR 3 writes of a request is gone after seconds.

    Attributes:
        held: files in which a canary was, with the canary.
        loose: what others could have read or entered, below directories that are ours.
        passes: how often everything was looked at.
    """

    def __init__(self, places: list[Path], ours: list[Path], left_out: Path) -> None:
        self.held: set[tuple[Path, str]] = set()
        self.loose: set[tuple[Path, str]] = set()
        self.passes = 0
        self._places, self._ours, self._left_out = places, ours, left_out
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(60)

    def once_more(self) -> None:
        """Return when everything was looked at since now."""
        passes = self.passes + 2
        kit.until(lambda: self.passes >= passes, 60, "the watch goes round")

    def _run(self) -> None:
        while not self._done.wait(0.02):
            for place in self._places:
                for path in self._below(place):
                    with contextlib.suppress(OSError):
                        self._look(path)
            self.passes += 1

    def _below(self, place: Path) -> Iterator[Path]:
        yield place
        with contextlib.suppress(OSError):
            for path in place.iterdir():
                if path == self._left_out:
                    continue
                if path.is_dir() and not path.is_symlink():
                    yield from self._below(path)
                else:
                    yield path

    def _look(self, path: Path) -> None:
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077 and any(path.is_relative_to(own) for own in self._ours):
            self.loose.add((path, oct(mode)))
        known = (found.st_ino, found.st_mtime_ns, found.st_size)
        if not stat.S_ISREG(found.st_mode) or self._seen.get(path) == known:
            return
        content = path.read_bytes()
        self._seen[path] = known
        self.held |= {(path, word) for word in (PROMPT, KEY) if word.encode() in content}


@pytest.fixture
def settled(home: Home, provider: FakeProvider) -> Home:
    """Somebody who uses all of them, has their key in ``keys.env`` and the usual modes."""
    lay_out(home.root, "native", origin=provider.base_url, port=home.port)
    for name in (
        ".claude/settings.json", ".claude/.claude.json", ".codex/config.toml", ".config/Claude-3p/x"
    ):  # fmt: skip
        path = home.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps({"mine": name}))
    home.use(provider)
    keys = home.config / "keys.env"
    keys.write_text(f"ACME_KEY={home.env.pop('ACME_KEY')}\n")
    keys.chmod(0o600)
    home.cache.chmod(0o700)
    temporary = home.root / "tmp"
    temporary.mkdir(mode=0o700)
    home.env |= {"TMPDIR": str(temporary), "SYNCCR_SWAP_COOLDOWN": "0"}
    return home


@contextlib.contextmanager
def watched(home: Home) -> Iterator[Watch]:
    """What must hold at every moment and at the end."""
    before = theirs(home)
    ours = [home.root / ".local/state/synccr", home.root / "tmp", home.ccr, home.cache]
    umask = os.umask(0)
    try:
        with Watch([home.root], ours, home.cache / "ccr") as watch:
            yield watch
            watch.once_more()
    finally:
        os.umask(umask)
    assert watch.passes > 20
    assert watch.held == {(home.config / "keys.env", KEY)}
    assert watch.loose == set()
    assert theirs(home) == before
    assert set(home.where_is(KEY)) == {home.config / "keys.env"}
    assert home.where_is(PROMPT) == []


def theirs(home: Home) -> dict[str, str]:
    """Checksums of what belongs to others."""
    found = {room: checksums(home.root / room) for room in THEIRS}
    own = checksums(home.ccr)
    found["CCR 3's"] = {name: sum_ for name, sum_ in own.items() if name != "config.json"}
    return {f"{room}/{name}": sum_ for room, sums in found.items() for name, sum_ in sums.items()}


def assert_closed(home: Home) -> None:
    """Every process of this home listens on loopback alone, and no CCR has the key."""
    everybody = home.processes()
    listening = [
        (connection.laddr.ip, " ".join(process.cmdline()))
        for process in everybody
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or not connection.raddr
    ]
    assert len(listening) >= 4  # the public port, the egress, CCR's two
    assert {ip for ip, _ in listening} == {"127.0.0.1"}, listening
    ccr = [*kit.ccr_processes(home), *kit.gateways(home)]
    assert len(ccr) >= 2
    for process in ccr:
        assert KEY not in " ".join([*process.environ().values(), *process.cmdline()])


def said(text: str, **more: Any) -> dict[str, Any]:
    return message(f"{PROMPT} {text}", **more)


TOOL_RESULT = {
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "echo:tool"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": PROMPT}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": PROMPT}],
        },
    ],
}


def send_everything(home: Home, provider: FakeProvider) -> None:
    """Requests of every kind: streamed, whole, large, with tools, broken off, failing."""
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    with httpx.Client(timeout=120, trust_env=False) as http:
        for body in (
            said("whole"),
            said("streamed", stream=True),
            said("long " * 1_000_000, stream=True),
            said("tool", stream=True) | TOOL_RESULT,
            said("tool") | TOOL_RESULT,
        ):
            answer = http.post(url, json=body)
            assert answer.status_code == 200, answer.text[:300]
        assert http.post(f"{url}/count_tokens", json=said("counted")).status_code < 500
        with http.stream("POST", url, json=said("broken off " * 50, stream=True)) as stream:
            next(stream.iter_bytes())
        for trouble in ("billing", 500):
            provider.set_all(trouble)
            for stream_it in (True, False):
                assert http.post(url, json=said("fails", stream=stream_it)).status_code >= 400
            provider.set_all(None)
            until_answered(home)


def until_answered(home: Home) -> None:
    """Until a request is answered again."""
    url = f"http://127.0.0.1:{home.port}/v1/messages"

    def answered() -> bool:
        return httpx.post(url, json=said("again"), timeout=60).status_code == 200

    kit.until(answered, 60, "requests are answered again")


def kill_ccr(home: Home) -> None:
    """SIGKILL to all of CCR; another one serves then."""
    before = kit.status(home)["ccr"]["pid"]
    for process in (*kit.ccr_processes(home), *kit.gateways(home)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until_answered(home)
    assert kit.status(home)["ccr"]["pid"] != before


def command(*arguments: str) -> Callable[[Home], None]:
    """One of ours, which works."""

    def run(home: Home) -> None:
        done = home.run(*arguments)
        assert done.returncode == 0, done.stderr

    return run


def test_no_prompt_no_key_and_nothing_of_others(settled: Home, provider: FakeProvider) -> None:
    """Through requests of every kind, a swap by hand, a restart, a kill of CCR and a stop."""
    home = settled
    home.env |= {"SYNCCR_RECOVERY_INTERVAL": "1", "SYNCCR_RECOVERY_INTERVAL_MAX": "1"}
    with watched(home) as watch:
        supervisor = kit.start(home)
        try:
            assert len(kit.run_directories(home)) == 1
            for step in (command("swap", "fallback"), command("restart"), kill_ccr):
                send_everything(home, provider)
                assert_closed(home)
                step(home)
                watch.once_more()
            send_everything(home, provider)
            assert_closed(home)
            assert len(kit.run_directories(home)) == 1
        finally:
            kit.stop(supervisor)
        assert kit.run_directories(home) == []
    kit.assert_whole(home)
    assert PROMPT not in kit.terminal(home)
    assert any(PROMPT.encode() in request.raw for request in provider.requests(MAIN))


def test_nothing_is_left_of_a_killed_supervisor(settled: Home, provider: FakeProvider) -> None:
    """What CCR ran in goes with the next start, and holds nothing until then."""
    home = settled
    with watched(home):
        supervisor = kit.start(home)
        send_everything(home, provider)
        (left,) = kit.run_directories(home)
        supervisor.kill()
        supervisor.wait()
        kit.until(lambda: not home.processes(), 15, "CCR ends with it")
        assert kit.run_directories(home) == [left]
        kit.assert_next_start_works(home)
        assert not left.exists()
