"""Commands that are read without the command line's parser do what they do with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest

from synccr import __main__ as program
from synccr.cli import models_result, serve, start_options, status_text
from synccr.cli.app import command
from synccr.cli.commands import models, statusline
from synccr.cli.result import Result
from synccr.errors import NoAnswer, NotRunning

MODEL = {"provider": "acme", "model": "main", "status": "ok", "detail": ""}
STATUS = {
    "state": "running",
    "profile": "primary",
    "endpoint": "http://127.0.0.1:3456",
    "supervisor": {"pid": 1},
    "ccr": {"version": "2.0.0", "pid": 2, "restarts": 0},
    "routes": {"default": "acme,main"},
    "models": [MODEL],
}


class Outcome(NamedTuple):
    """What a person and a script see."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command line in an empty home, read quickly or by the parser."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("SYNTHETIC_API_KEY", raising=False)
    monkeypatch.setattr(program, "gc", Mock())

    def run(*words: str, quick: bool) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["synccr", *words])
            if not quick:
                patch.setattr(program, "_quick", lambda _words: None)
            with pytest.raises(SystemExit) as end:
                program.main()
        return Outcome(int(end.value.code or 0), *capsys.readouterr())

    return run


LINES = ["--help", "-h", "status", "status --json", "statusline", "models", "models --json"]
LINES += ["models --json --fresh", "models --changes", "start", "start --port 3456"]
TO_THE_PARSER = ["", "--version", "stauts", "status --jsno", "status -h", "status --json --json"]
TO_THE_PARSER += ["status --watch", "status --json --watch", "status -w --json", "statusline x"]
TO_THE_PARSER += ["models --help", "models --tiemout 3", "models --config", "start --port 0"]
TO_THE_PARSER += ["start -h", "start --config", "start --log-level loud", "start now"]


@pytest.mark.parametrize("line", [*LINES, *TO_THE_PARSER])
def test_nothing_runs(line: str, run: Run) -> None:
    """Words, streams and exit codes are the same, those of mistakes included."""
    quickly = run(*line.split(), quick=True)
    assert quickly == run(*line.split(), quick=False)
    assert "unforeseen" not in quickly.err


@pytest.mark.parametrize("line", [*LINES, *TO_THE_PARSER])
def test_who_reads_what(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests here would compare the parser with itself."""
    for room, name in ((status_text, "status"), (models_result, "models")):
        monkeypatch.setattr(room, name, lambda *_args, **_options: Result())
    monkeypatch.setattr(serve, "serve", lambda _options: 0)
    monkeypatch.setattr(statusline, "run", lambda: None)
    assert (program._quick(line.split()) is not None) is (line in LINES)


@pytest.mark.parametrize("line", ["status", "status --json", "statusline"])
@pytest.mark.parametrize(
    "answer",
    [
        STATUS,
        NotRunning(),
        NoAnswer("The supervisor (pid 1) does not answer.", "Run: synccr stop"),
        OSError(28, "No space left on device"),
        RuntimeError("a mistake"),
        KeyboardInterrupt(),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_what_the_supervisor_says(
    line: str, answer: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs, is silent, or something goes wrong meanwhile."""
    for room in (status_text, statusline):
        monkeypatch.setattr(room, "request", Mock(side_effect=[answer]))
    quickly = run(*line.split(), quick=True)
    for room in (status_text, statusline):
        monkeypatch.setattr(room, "request", Mock(side_effect=[answer]))
    assert quickly == run(*line.split(), quick=False)


@pytest.mark.parametrize("line", ["status --json", "status --json --watch", "status -w --json"])
def test_in_json_not_running_is_a_state(line: str, run: Run) -> None:
    """And no error, with the live view, too; the exit code says it as well."""
    outcome = run(*line.split(), quick=True)
    assert (outcome.code, json.loads(outcome.out)) == (3, {"state": "stopped"})
    assert outcome.err == ""


def test_a_mistake_of_ours_is_told_with_a_line_that_works(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says to type is understood, and shows where the mistake is."""
    monkeypatch.setattr(status_text, "request", Mock(side_effect=RuntimeError("a mistake")))
    told = re.search(r"  Run: synccr (--debug) COMMAND", run("status", quick=True).err)
    assert told
    monkeypatch.setattr("sys.argv", ["synccr", told[1], "status"])
    with pytest.raises(RuntimeError, match="a mistake"):
        program.main()


@pytest.mark.parametrize("option", ["--config", "--fallback-config"])
@pytest.mark.parametrize("quick", [True, False])
def test_a_file_that_cannot_be_read_is_a_configuration_that_cannot_be_used(
    option: str, quick: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, and no mistake in the command line."""
    monkeypatch.setenv("SYNTHETIC_API_KEY", "x" * 9)
    path = tmp_path / "mine.json"
    path.touch()
    read = Path.read_bytes

    def refused(asked: Path) -> bytes:
        if asked == path:
            raise PermissionError(13, "Permission denied", str(asked))
        return read(asked)

    monkeypatch.setattr("os.access", lambda *_args, **_options: False)
    monkeypatch.setattr(Path, "read_bytes", refused)
    outcome = run("start", option, str(path), quick=quick)
    assert (outcome.code, f"{path} cannot be read" in outcome.err) == (4, True)


PIECES = {
    "start": [
        *(["--port", "1"], ["--port", "65535"], ["--port", "007"], ["--port", "0"], ["--port=2"]),
        *(["--port", "+3"], ["--port", " 4"], ["--config", "a"], ["--config", "b c"], ["--config"]),
        *(["--config", "~/x"], ["--config", "-"], ["--config", ""], ["--fallback-config", "--"]),
        *(["--fallback-config", "d"], ["--skip-preflight"], ["--log-level", "debug"], ["--"]),
        *(["--log-level", "Debug"], ["--skip"], ["x"]),
    ],
    "models": [
        *(["--json"], ["--fresh"], ["--changes"], ["--timeout", "3"], ["--config", "a"], ["x"]),
        *(["--"], ["--js"], ["--json=1"], ["--no-json"], [""]),
    ],
}
PLAIN: dict[str, Any] = {"start": start_options.plain, "models": models_result.plain}


@pytest.mark.parametrize("name", PIECES)
def test_the_parser_reads_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is plain, in any order and more than once."""
    done = {"start": Mock(return_value=0), "models": Mock(return_value=Result())}
    monkeypatch.setattr(serve, "serve", done["start"])
    monkeypatch.setattr(models, "models", done["models"])
    for pieces in chain.from_iterable(product(PIECES[name], repeat=n) for n in range(3)):
        words = list(chain.from_iterable(pieces))
        if (quickly := PLAIN[name](words)) is not None:
            command().main([name, *words], prog_name="synccr", standalone_mode=False)
            done[name].assert_called_with(quickly)
    assert done[name].call_count > 10
