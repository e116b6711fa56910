"""``synccr start`` read without the command line's parser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from synccr.cli.serve import Options, plain


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], Options()),
        (["--port", "1"], Options(port=1)),
        (["--port", "65535", "--skip-preflight"], Options(port=65535, skip_preflight=True)),
        (["--config", "a", "--fallback-config", "b"], Options(Path("a"), Path("b"))),
        (["--config", "a", "--config", "b"], Options(Path("b"))),
    ],
)
def test_what_is_plain_is_read(arguments: list[str], options: Options) -> None:
    """The options in their long form, as ``--detach`` and services write them."""
    assert plain(arguments) == options


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["-h"], ["--detach"], ["-d"], ["--debug"], ["extra"], ["--"], [""]),
        *(["--port"], ["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--port=1"]),
        *(["--port", "-1"], ["--port", "²"], ["--config"], ["--config", ""]),
        *(["--config", "--port", "1"], ["--config=a"], ["--skip-preflight", "no"]),
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
    options = Options(Path("a"), Path("b"), 3456, skip_preflight=True)
    whole = Options(tmp_path / "a", tmp_path / "b", 3456, skip_preflight=True)
    assert plain(options.as_arguments()) == whole


def test_a_supervisor_carries_no_parser_and_no_client() -> None:
    """Memory: neither typer, rich nor httpx is loaded by what runs for weeks."""
    code = (
        "import sys; sys.argv = ['synccr', 'start', '--port', '1']\n"
        "import synccr.__main__, synccr.cli.serve, synccr.supervisor.run\n"
        "synccr.cli.serve.serve = lambda options: 0\n"
        "try:\n    synccr.__main__.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "synccr" in loaded
    assert loaded.isdisjoint({"typer", "click", "pydantic", "rich", "httpx", "watchfiles"})
