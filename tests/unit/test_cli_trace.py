"""``synccr trace``: a real control channel, the real command."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from turns_kit import MAIN, SPARE, moved, tried, turn

from synccr.background import Background
from synccr.cli.commands.trace import seconds_of, turn_line
from synccr.control.server import ControlServer
from synccr.errors import UsageError
from synccr.journal import Journal
from synccr.paths import Paths
from synccr.redact import MASK, Redactor
from synccr.supervisor.starting import Starting
from synccr.supervisor.trace import Tracing
from synccr.turns.trace import TraceLog, TurnRow

KEY = "sk-canary-0123456789abcdef"


class Stage(NamedTuple):
    """A supervisor, as far as a trace needs one."""

    log: TraceLog
    instance: Path
    background: Background

    def start(self, *arguments: str) -> Any:
        return asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "synccr", "trace", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    for name in [name for name in os.environ if name.startswith(("XDG_", "SYNCCR_"))]:
        monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    return Paths.from_environment()


@asynccontextmanager
async def served(paths: Paths, log: TraceLog) -> AsyncIterator[Stage]:
    journal, background = Journal(paths.instance / "journal.jsonl"), Background()
    tracing = Tracing(paths.instance, journal, Redactor([KEY]), background, log)
    parts = cast("Any", SimpleNamespace(tracing=tracing))
    server = ControlServer(paths.instance, Starting(parts).answer)
    await server.start()
    try:
        yield Stage(log, paths.instance, background)
    finally:
        await background.cancel()
        await server.close()


@pytest.fixture
async def stage(home: Paths) -> AsyncIterator[Stage]:
    async with served(home, TraceLog()) as found:
        yield found


async def test_nothing_runs(home: Paths) -> None:
    """The contract's exit code."""
    for arguments in ([], ["--json"], ["--follow"], ["--capture", "1m"]):
        code, _, err = await Stage(TraceLog(), home.instance, Background()).run(*arguments)
        assert (code, "not running" in err) == (3, True)


async def test_a_table_for_people(stage: Stage) -> None:
    """A line a try, the newest last, without escapes in a pipe."""
    assert await stage.run() == (0, "", "No request has come yet.\n")
    stage.log.add(moved(1))
    stage.log.add(turn(2, tried(tokens_in=1200, tokens_out=7, bytes_in=4200)))
    stage.log.add(turn(3, judged=False, served_by=None))
    code, out, err = await stage.run()
    assert (code, err, "\x1b" in out) == (0, "", False)
    head, *rows = [line.split() for line in out.splitlines()]
    assert head[:4] == ["turn", "at", "route", "model"]
    assert rows[0][:6] == ["1", "03:04:01", "default", MAIN, "402", "status"]
    assert rows[1][:3] == [SPARE, "200", "ok"]
    assert all(words in out for words in ("1.5 s", "120 ms", "4.2 kB", "1200 + 7"))
    assert "not judged" in out.splitlines()[-1]


async def test_a_narrow_terminal_keeps_every_word(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is folded, not lost."""
    monkeypatch.setenv("COLUMNS", "70")
    stage.log.add(moved(1))
    _, out, _ = await stage.run()
    assert max(map(len, out.splitlines())) <= 70
    assert "402 status" in out
    assert "480b" in out
    assert "03:04:01" in out


async def test_json(stage: Stage) -> None:
    """One document, every field."""
    stage.log.add(moved(1))
    code, out, err = await stage.run("--json")
    assert (code, err) == (0, "")
    (row,) = json.loads(out)["turns"]
    assert list(json.loads(out)) == ["turns"]
    assert set(row) == set(TurnRow.__struct_encode_fields__)
    assert [each["verdict"] for each in row["tries"]] == ["status", "ok"]
    assert row["tries"][0]["tokens_in"] is None


@pytest.mark.parametrize("as_json", [False, True])
async def test_follow(stage: Stage, as_json: bool) -> None:
    """What there is, then each turn as it ends, once; it ends when the supervisor does not."""
    stage.log.add(moved(5))
    process = await stage.start("--follow", *(["--json"] if as_json else []))
    try:
        seen = [await asyncio.wait_for(process.stdout.readline(), 20)]
        stage.log.add(turn(4, tried()))  # began earlier, ended later
        seen.append(await asyncio.wait_for(process.stdout.readline(), 20))
    finally:
        process.terminate()
    rest, err = await process.communicate()
    assert (rest, err) == (b"", b"")
    found = [json.loads(line)["turn"] if as_json else int(line.split()[0]) for line in seen]
    assert found == [5, 4]


async def test_follow_over_another_supervisor(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the turns are counted anew, and none is missed."""
    log = TraceLog()
    for number in (1, 2, 3):
        log.add(turn(number, tried()))
    async with served(home, log) as stage:
        process = await stage.start("--follow", "--json")
        try:
            for _ in range(3):
                await asyncio.wait_for(process.stdout.readline(), 20)
            monkeypatch.setattr("os.getpid", lambda: 1)
            log.__init__()  # type: ignore[misc]
            log.add(turn(1, tried(SPARE)))
            line = await asyncio.wait_for(process.stdout.readline(), 20)
        finally:
            process.terminate()
            await process.communicate()
    assert json.loads(line)["served_by"] == SPARE


def test_a_turn_in_a_line() -> None:
    """Who served, and why not the first."""
    told = turn_line(moved(12))
    assert told.split()[:5] == ["12", "03:04:12", "default", "200", SPARE]
    assert told.endswith(f"({MAIN} 402 status, {SPARE} 200 ok)")
    silent = turn(1, tried(verdict="silent", status=None), status=504)
    assert turn_line(silent).endswith(f"504  -  1.6 s  ({MAIN} silent)")


async def test_capture(stage: Stage) -> None:
    """A private file in the state directory, keys masked, until it is ended."""
    code, out, err = await stage.run("--capture", "10m")
    path = Path(out.strip())
    assert (code, path.parent) == (0, stage.instance)
    assert "prompts" in err
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    capture = stage.log.capture
    assert capture
    assert stage.log.document()["capture"] == str(path)
    capture.write(1, 1, "request", f"my key is {KEY} ".encode())
    assert await stage.run("--capture", "off") == (0, f"{path}\n", "Ended.\n")
    assert stage.log.capture is None
    assert MASK in path.read_text()
    assert KEY not in path.read_text()
    assert await stage.run("--capture", "off") == (0, "", "Nothing was being captured.\n")


async def test_capture_ends_by_itself(stage: Stage) -> None:
    """Also when no request comes; and a second one ends the first."""
    await stage.run("--capture", "1h")
    first = stage.log.capture
    code, out, _ = await stage.run("--capture", "1s", "--json")
    second = stage.log.capture
    assert first
    assert second
    assert (code, json.loads(out)["capture"]["path"]) == (0, str(second.path))
    assert (first.active, second is first) == (False, False)
    async with asyncio.timeout(10):
        while stage.log.capture:
            await asyncio.sleep(0.02)
    assert not second.active


async def test_the_end_of_a_supervisor_ends_a_capture(home: Paths) -> None:
    """What waited is in the file."""
    async with served(home, TraceLog()) as stage:
        await stage.run("--capture", "1h")
        capture = stage.log.capture
        assert capture
        capture.write(1, 1, "answer", b"word")
    assert not capture.active
    assert json.loads(capture.path.read_bytes())["text"] == "word"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("24h", 86400), ("off", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    """As people write them."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "25h", "-1m", "1d", "OFF", "1m "])
def test_what_is_no_duration(text: str) -> None:
    """Said with what is one."""
    with pytest.raises(UsageError, match="no duration"):
        seconds_of(text)
