"""Every command in every kind of terminal, pipe and home: words, exit codes, no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from home import KEY, LONG, MAIN, SPARE, Home
from provider import FakeProvider
from terminal import SYNCCR, in_terminal, plain

pytestmark = [pytest.mark.integration, pytest.mark.long]

UNTIDY = ("Traceback", "unforeseen", "Exception ignored", "BrokenPipe", "RuntimeWarning")

NOTHING_RUNS: dict[str, int] = {
    "--help": 0,
    "--version": 0,
    "completion bash": 0,
    "completion nosuch": 2,
    "nonsense": 2,
    "status": 3,
    "status --json": 3,
    "status --watch": 3,
    "status --watch --json": 3,
    "status --nonsense": 2,
    "ask hello": 3,
    "ask": 3,
    "swap primary": 3,
    "swap nowhere": 2,
    "env": 3,
    "env --shell fish": 3,
    "env --shell nosuch": 2,
    "statusline": 0,
    "stop": 0,
    "events": 0,
    "events --json": 0,
    "logs": 1,
    "models": 4,
    "models --json": 4,
    "heal": 4,
    "heal --dry-run --json": 4,
    "start": 4,
    "start --detach": 4,
    "start --port 0": 2,
    "restart": 4,
    "code --version": 6,
    "init --key-from NOT_SET": 2,
    "service status": 3,
    "service status --json": 3,
    "service uninstall": 0,
    "service": 2,
    "demo --help": 0,
}
"""Commands in an empty home without a key, and the exit codes of the contract."""


def tidy(text: str) -> None:
    for word in UNTIDY:
        assert word not in text, text
    assert KEY not in text


@pytest.fixture
def empty(home: Home) -> Home:
    """A home with nothing in it, no key, and a PATH without Claude Code."""
    del home.env["ACME_KEY"]
    node = shutil.which("node")
    folders = [str(Path(node).parent)] if node else []
    clean = [f for f in (*folders, "/usr/bin", "/bin") if not Path(f, "claude").exists()]
    home.env["PATH"] = os.pathsep.join(clean)
    return home


@pytest.mark.parametrize("command", NOTHING_RUNS)
def test_nothing_runs(empty: Home, command: str) -> None:
    """Without a terminal: the contract's exit code, an error of two lines, no colour;
    with ``--json`` one document on standard output."""
    done = empty.run(*command.split())
    tidy(done.stdout + done.stderr)
    assert done.returncode == NOTHING_RUNS[command], done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    if done.returncode not in (0, 2) and "--json" in command:
        json.loads(done.stdout)
    if done.returncode > 3:
        first, *rest = done.stderr.splitlines()[-2:]
        assert first.startswith("synccr: ")
        assert rest[0].startswith("  ")


@pytest.mark.parametrize("command", [name for name in NOTHING_RUNS if "init" not in name])
def test_a_narrow_terminal(empty: Home, command: str) -> None:
    """40 columns, with colours: the same exit codes, and nothing breaks."""
    done = in_terminal([*SYNCCR, *command.split()], empty.env, columns=40, keys=b"hello\n\x04\x04")
    tidy(done.text)
    assert done.code == NOTHING_RUNS[command], plain(done.text)


@pytest.mark.parametrize("command", ["--help", "status", "models", "start", "service status"])
def test_no_color(empty: Home, command: str) -> None:
    """On a terminal with NO_COLOR, or a dumb one, nothing is coloured."""
    for variable in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        done = in_terminal([*SYNCCR, *command.split()], empty.env | variable)
        assert "\x1b[3" not in done.text
        assert done.code == NOTHING_RUNS[command]


def _dropped() -> list[str]:
    """What takes the superuser's right to read everything away; nothing for others."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not here to change that")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@pytest.mark.parametrize("kind", ["closed", "file", "missing", "empty", "relative"])
@pytest.mark.parametrize("command", NOTHING_RUNS)
def test_a_home_that_cannot_be_used(empty: Home, command: str, kind: str, tmp_path: Path) -> None:
    """A HOME that is closed, a file, not there, or no path: one sentence, never a traceback."""
    place = tmp_path / "elsewhere"
    prefix: list[str] = []
    match kind:
        case "closed":
            prefix = _dropped()
            place.mkdir()
            place.chmod(0)
        case "file":
            place.write_text("")
        case "empty":
            place = Path()
        case "relative":
            place = Path("somewhere")
    env = {**empty.env, "HOME": "" if kind == "empty" else str(place)}
    done = subprocess.run(
        [*prefix, *SYNCCR, *command.split()],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    if kind == "closed":
        place.chmod(0o700)
    tidy(done.stdout + done.stderr)
    assert done.returncode in range(8), done.stderr
    if command.startswith("-") or ("no" in command.split()[-1] and "init" not in command):
        assert done.returncode == NOTHING_RUNS[command], done.stderr
    if done.returncode:
        assert (done.stdout + done.stderr).strip()
    if command == "statusline":
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["models", "start", "status", "ask x", "statusline", "heal"])
def test_without_a_network(home: Home, command: str) -> None:
    """No interface is up, loopback included: sentences and the contract's exit codes."""
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("a network of its own cannot be made here")
    home.write("ccr-config.json", {
        "PORT": home.port,
        "Providers": [{
            "name": "acme", "api_base_url": "https://api.acme.example/v1/chat/completions",
            "api_key": "$ACME_KEY", "models": [MAIN],
        }],
        "Router": {"default": f"acme,{MAIN}"},
    })  # fmt: skip
    home.env |= {"SYNCCR_PREFLIGHT_TIMEOUT": "2", "SYNCCR_PREFLIGHT_ATTEMPTS": "1"}
    done = subprocess.run(
        [*apart, *SYNCCR, *command.split()],
        env=home.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    tidy(done.stdout + done.stderr)
    expected = {"status": 3, "ask x": 3, "statusline": 0}.get(command, 5)
    assert done.returncode == expected, done.stdout + done.stderr


# ---------------------------------------------------------- while it runs


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Iterator[Home]:
    """A home in which synccr runs."""
    home = Home(tmp_path_factory.mktemp("served") / "home", npm_cache)
    models = {MAIN: "ok", SPARE: "ok", LONG: "ok", "vendor/breaks": "stream_error"}
    with FakeProvider(models, key=KEY) as provider:
        home.use(provider)
        with home.running():
            home.run("ask", "x")
            yield home
    assert home.processes() == []


def test_an_answer_that_breaks_off(served: Home) -> None:
    """An error inside a stream: the provider's words, once, below the part that had come."""
    done = served.run("ask", "--route", "acme,vendor/breaks", "echo:abcdefgh")
    tidy(done.stdout + done.stderr)
    assert done.returncode == 1
    assert done.stdout.endswith("\n")
    assert "The provider broke off: The model stopped working." in done.stderr


WHILE_IT_RUNS: dict[str, int] = {
    "status": 0,
    "status --json": 0,
    "ask echo:hello": 0,
    "ask --route codex echo:hello": 2,
    "ask --route nowhere hello": 2,
    "models": 0,
    "models --json": 0,
    "heal --dry-run": 0,
    "env": 0,
    "statusline": 0,
    "events": 0,
    "events --json": 0,
    "logs": 0,
    "start": 7,
    "start --detach": 7,
    "swap primary": 0,
    "service status": 3,
}


@pytest.mark.parametrize("command", WHILE_IT_RUNS)
def test_while_it_runs(served: Home, command: str) -> None:
    """In a pipe, in 40 columns, and without colour: the same exit code everywhere."""
    expected = WHILE_IT_RUNS[command]
    done = served.run(*command.split())
    tidy(done.stdout + done.stderr)
    assert done.returncode == expected, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    narrow = in_terminal([*SYNCCR, *command.split()], served.env, columns=40)
    tidy(narrow.text)
    assert narrow.code == expected
    bare = in_terminal([*SYNCCR, *command.split()], served.env | {"NO_COLOR": "1"})
    assert "\x1b[" not in bare.text
    assert "\\u001b" not in bare.text
    assert bare.code == expected


@pytest.mark.parametrize(
    "command",
    [*(name for name in WHILE_IT_RUNS if name != "start"),
     "status --watch", "status --watch --json", "events --follow", "--help"],
)  # fmt: skip
def test_a_reader_that_goes(served: Home, command: str) -> None:
    """``| head -1`` ends every command, the endless ones too, without a word about it."""
    line = f"'{sys.executable}' -m synccr {command} | head -1"
    done = subprocess.run(
        ["bash", "-c", line],
        env=served.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    tidy(done.stdout + done.stderr)
    assert len(done.stdout.splitlines()) <= 1


def test_a_start_that_nobody_reads(home: Home, provider: FakeProvider) -> None:
    """``start 2>&1 | head -1``: it goes on without its reader, and ends with 0 when asked to."""
    home.use(provider)
    with home.begin("start") as started:
        assert started.stderr
        assert started.stderr.readline()
        started.stderr.close()
        deadline = time.monotonic() + 60
        while home.run("ask", "hello").returncode:
            assert started.poll() is None
            assert time.monotonic() < deadline
        assert home.run("stop").returncode == 0
        assert started.wait(30) == 0
    assert home.processes() == []


@pytest.mark.parametrize(("columns", "rows"), [(40, 18), (100, 40)])
def test_the_live_view(served: Home, columns: int, rows: int) -> None:
    """Routes, models, traffic and events on one screen; q ends it and leaves the terminal."""
    done = in_terminal(
        [*SYNCCR, "status", "--watch"], served.env, columns=columns, rows=rows, keys=b"q"
    )
    tidy(done.text)
    assert done.code == 0
    for word in ("running on primary", "routes", "models", "requests", "events", "q ends"):
        assert word in plain(done.text)
    assert done.text.count("\x1b[?1049h") == done.text.count("\x1b[?1049l") == 1


def test_the_live_view_ends_with_ctrl_c(served: Home) -> None:
    """Ctrl-C is how people end things: no traceback, the terminal as it was."""
    done = in_terminal([*SYNCCR, "status", "--watch"], served.env, keys=b"\x03")
    tidy(done.text)
    assert done.code in (0, 130)
    assert done.text.count("\x1b[?1049l") == 1


@pytest.mark.parametrize("given", ["", "{}", "garbage", "[" * 5000, '{"model": {"id": "a,v/b"}}'])
def test_status_line_takes_any_input(served: Home, given: str) -> None:
    """Whatever comes on standard input, one line goes out."""
    done = served.run("statusline", input=given)
    assert done.returncode == 0
    assert done.stdout.startswith("synccr: ")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_status_line_does_not_wait_for_its_input(served: Home) -> None:
    """A pipe that is never closed holds nothing up."""
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [*SYNCCR, "statusline"],
            env=served.env,
            stdin=read,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    finally:
        os.close(read)
        os.close(write)
    assert (done.returncode, done.stdout) == (0, "synccr: main-480b\n")


SHELLS = {
    "bash": ["bash", "-c"],
    "zsh": ["zsh", "-fc"],
    "fish": ["fish", "--no-config", "-c"],
    "powershell": ["pwsh", "-NoProfile", "-Command"],
}


@pytest.mark.parametrize("shell", SHELLS)
def test_env_in_real_shells(served: Home, shell: str) -> None:
    """What ``synccr env`` prints sets the variables in that shell."""
    program, *options = SHELLS[shell]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    exports = served.run("env", "--shell", shell).stdout
    show = "$env:ANTHROPIC_BASE_URL" if shell == "powershell" else 'echo "$ANTHROPIC_BASE_URL"'
    done = subprocess.run(
        [program, *options, f"{exports}\n{show}"],
        env=served.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == f"http://127.0.0.1:{served.port}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_in_real_shells(empty: Home, shell: str) -> None:
    """The printed script is valid there, and completing ``synccr sta`` offers its commands."""
    program = SHELLS[shell][0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    script = empty.run("completion", shell).stdout
    checked = subprocess.run(
        [program, "-n"], input=script, env=empty.env, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    asked = {
        "bash": {"COMP_WORDS": "synccr sta", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "synccr sta"},
        "fish": {"_TYPER_COMPLETE_ARGS": "synccr sta", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        SYNCCR,
        env={**empty.env, **asked, "_SYNCCR_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    tidy(done.stdout + done.stderr)
    for name in ("start", "status", "statusline"):
        assert name in done.stdout


def test_completion_for_powershell(empty: Home) -> None:
    """The script registers a completer for the command."""
    script = empty.run("completion", "powershell").stdout
    assert "Register-ArgumentCompleter" in script
    assert "-CommandName synccr" in script


def test_a_long_home(tmp_path: Path, npm_cache: Path, provider: FakeProvider) -> None:
    """A home whose path is longer than a socket's may be: start, status and stop work."""
    home = Home(tmp_path.joinpath(*["a-name-that-is-long-by-itself"] * 5) / "home", npm_cache)
    home.use(provider)
    with home.running():
        assert home.status()["state"] == "running"
        assert home.run("statusline").stdout == "synccr: main-480b\n"
    assert home.run("status").returncode == 3
    assert home.processes() == []


def test_two_users_on_one_machine(
    home: Home, provider: FakeProvider, tmp_path: Path, npm_cache: Path
) -> None:
    """Two homes, two supervisors, neither sees or ends the other's."""
    other = Home(tmp_path / "other", npm_cache)
    for one in (home, other):
        one.use(provider)
    with other.running():
        with home.running():
            assert home.status()["supervisor"]["pid"] != other.status()["supervisor"]["pid"]
        assert home.run("status").returncode == 3
        assert other.status()["state"] == "running"
        assert other.run("ask", "echo:mine").stdout == "mine\n"
    assert other.processes() == []
