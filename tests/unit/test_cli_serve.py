"""``synccr start`` read without the command line's parser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synccr.cli import detach
from synccr.cli.profile_options import ProfileOptions as Profiles
from synccr.cli.start_options import LOG_LEVELS, StartOptions, plain, warning_of
from synccr.cli.terminal import Terminal
from synccr.errors import NotRunning, SynccrError


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], StartOptions()),
        (["--port", "1"], StartOptions(Profiles(port=1))),
        (["--port", "65535", "--skip-preflight"], StartOptions(Profiles(port=65535), True)),
        (["--config", "a", "--fallback-config", "b"], StartOptions(Profiles(Path("a"), Path("b")))),
        (["--config", "a", "--config", "b"], StartOptions(Profiles(Path("b")))),
        (["--log-level", "debug"], StartOptions(Profiles(log_level="debug"))),
    ],
)
def test_what_is_plain_is_read(arguments: list[str], options: StartOptions) -> None:
    """The options in their long form, as ``--detach`` and services write them."""
    assert plain(arguments) == options


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["-h"], ["--detach"], ["-d"], ["--debug"], ["extra"], ["--"], [""]),
        *(["--port"], ["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--port=1"]),
        *(["--port", "-1"], ["--port", "²"], ["--config"], ["--config", ""]),
        *(["--config", "--port", "1"], ["--config=a"], ["--skip-preflight", "no"]),
        *(["--log-level"], ["--log-level", "loud"], ["--log-level", "fatal"]),
    ],
)
def test_everything_else_is_left_to_the_real_parser(arguments: list[str]) -> None:
    """Help, mistakes, and spellings that it alone knows."""
    assert plain(arguments) is None


def test_a_detached_start_reads_its_own_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to the background is plain, and names files wherever it runs."""
    monkeypatch.chdir(tmp_path)
    options = StartOptions(Profiles(Path("a"), Path("b"), 3456, "debug"), skip_preflight=True)
    whole = StartOptions(Profiles(tmp_path / "a", tmp_path / "b", 3456, "debug"), True)
    assert plain(options.as_arguments()) == whole


@pytest.mark.parametrize("level", [None, *LOG_LEVELS])
def test_a_level_that_writes_prompts_is_said(level: str | None) -> None:
    """And where they are written."""
    warning = warning_of(level, Path("/home/x/logs"))
    assert (warning is not None) is (level in ("info", "debug", "trace"))
    assert warning is None or ("every prompt" in warning and "/home/x/logs" in warning)


@pytest.mark.parametrize("level", [None, *LOG_LEVELS])
def test_a_level_of_a_log_that_is_not_written_is_said_to_change_nothing(level: str | None) -> None:
    """Since no prompt is on disk then."""
    warning = warning_of(level, None)
    assert (warning is not None) is (level is not None)
    assert warning is None or "changes nothing" in warning


def test_a_supervisor_carries_no_parser_and_no_client() -> None:
    """Memory: neither typer, rich nor httpx is loaded by what runs for weeks."""
    code = (
        "import sys; sys.argv = ['synccr', 'start', '--port', '1']\n"
        "import synccr.__main__, synccr.cli.serve, synccr.supervisor.main\n"
        "synccr.cli.serve.serve = lambda options: 0\n"
        "try:\n    synccr.__main__.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "synccr" in loaded
    assert loaded.isdisjoint({"typer", "click", "pydantic", "rich", "httpx", "watchfiles"})


class Child:
    """A start in the background: what it wrote and its exit code, None while it runs."""

    pid = 7

    def __init__(self, *codes: int | None) -> None:
        self._codes = list(codes)

    def poll(self) -> int | None:
        return self._codes.pop(0)


@pytest.mark.parametrize(
    ("child", "pids", "heard"),
    [
        (Child(None, None), [7, 7], ["asking the models"]),
        (Child(None, 7), [8], []),
        (Child(None, 4), [8], ["asking the models"]),
        (Child(4), [], ["asking the models"]),
    ],
    ids=["it serves", "another one serves", "it ended", "it ended at once"],
)
def test_only_what_the_own_child_says_is_passed_on(
    child: Child,
    pids: list[int],
    heard: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two starts at one time both write into one log; the one that loses says nothing of
    what the other does."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    answers = [None, *pids]

    def request(*_: object, **__: object) -> dict[str, Any]:
        pid = answers.pop(0)
        if pid is None:
            raise NotRunning
        state = "starting" if answers else "running"
        return {"state": state, "supervisor": {"pid": pid}}

    def spawn(_arguments: list[str], log: Path) -> tuple[Child, int]:
        log.write_text("asking the models\nsynccr: It did not work.\n  Mend it.\n")
        return child, 0

    monkeypatch.setattr(detach, "request", request)
    monkeypatch.setattr(detach, "_spawn", spawn)
    told: list[str] = []
    monkeypatch.setattr(detach, "print_note", lambda line, _colour: told.append(line))
    try:
        detach.detach([])
    except SynccrError as error:
        assert error.what == "It did not work."
    assert told == heard


def test_in_the_background_nothing_is_said_of_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who started it says that it runs."""
    document = {"endpoint": "x", "profile": "primary", "routes": {"default": "a,b"}}
    for detached in (True, False):
        Terminal(tmp_path / "log").ready(document, detached=detached)
        assert ("Ctrl-C" not in capsys.readouterr().err) is detached
