"""Reaching a person: what the setting means, commands, web hooks, and how often."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.errors import UsageError
from synccr.journal import Journal
from synccr.notify import Notice, Target, lacks, send, target
from synccr.redact import Redactor
from synccr.supervisor.notifier import MAX_MESSAGES, WINDOW, Notifier, RateLimiter

KEY = "canary-93b1f0c2d4"
NOTICE = Notice("swapped", "primary -> fallback; $(touch pwned) `id` ; rm -rf .", "Top up.", "now")

TELL = """
import json, os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(json.dumps({
    "arguments": sys.argv[2:], "stdin": sys.stdin.read(),
    "event": json.loads(os.environ["SYNCCR_EVENT"]),
}))
"""


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("off", Target("off")),
        ("", Target("off")),
        (" Desktop ", Target("desktop")),
        ("https://ntfy.sh/topic", Target("url", url="https://ntfy.sh/topic")),
        ("slack://token/channel", Target("url", url="slack://token/channel")),
        (
            "notify-send -u 'my router'",
            Target("command", command=("notify-send", "-u", "my router")),
        ),
        ("curl https://x.org", Target("command", command=("curl", "https://x.org"))),
    ],
)
def test_what_the_setting_means(setting: str, expected: Target) -> None:
    """off, desktop, a URL, else a command."""
    assert target(setting) == expected


@pytest.mark.parametrize(("setting", "why"), [("notify-send 'x", "quotation"), ("'' x", "empty")])
def test_a_setting_that_cannot_be_read(setting: str, why: str) -> None:
    """Quotes that do not match are an error that says what may stand there."""
    with pytest.raises(UsageError, match=why) as error:
        target(setting)
    assert "off, desktop, a URL" in error.value.todo


def test_a_url_is_never_shown() -> None:
    """It may hold a token."""
    assert "s3cret" not in repr(target("https://hooks.example.org/s3cret"))


async def test_a_command_gets_text_and_json_and_no_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line as argument and on standard input, JSON in the environment; what looks like
    shell in it is only text."""
    script = tmp_path / "tell.py"
    script.write_text(TELL)
    out = tmp_path / "out put.json"
    to = target(shlex.join([sys.executable, str(script), str(out)]))
    monkeypatch.chdir(tmp_path)
    assert await send(to, NOTICE, os.environ) is None
    told = json.loads(out.read_text())
    assert told["arguments"] == [NOTICE.line]
    assert told["stdin"] == NOTICE.line
    assert told["event"] == {
        "kind": "swapped",
        "text": NOTICE.text,
        "todo": "Top up.",
        "at": "now",
    }
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/nowhere/notifier", "cannot be run: No such file"),
        (f"{sys.executable} -c 'import sys; sys.exit(3)'", "exit code 3"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"no bus\")'", "no bus"),
    ],
)
async def test_a_command_that_fails(command: str, why: str) -> None:
    """Why a message was not delivered is said, in the notifier's words where it has some."""
    failure = await send(target(command), NOTICE, os.environ)
    assert failure is not None
    assert why in failure


@pytest.mark.slow
async def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """After the timeout neither the command nor its children are left, and nothing that a child
    left behind."""
    pids = tmp_path / "pids"
    hang = f"sleep 600 & (sleep 600 & echo $! $$ > {pids}); echo $! >> {pids}; wait"
    begin = time.monotonic()
    failure = await send(target(shlex.join(["sh", "-c", hang])), NOTICE, os.environ, timeout=1.0)
    assert failure == "not delivered within 1 s"
    assert time.monotonic() - begin < 10
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 5
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert not psutil.pid_exists(pid)


async def test_what_a_command_leaves_running_keeps_nobody_waiting() -> None:
    """A command that goes to the background has delivered; what it started lives on."""
    begin = time.monotonic()
    assert await send(target("sh -c 'sleep 5 &'"), NOTICE, os.environ, timeout=4.0) is None
    assert time.monotonic() - begin < 4


class Hook(BaseHTTPRequestHandler):
    """Takes messages; answers 500 below /broken."""

    got: ClassVar[list[Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(json.loads(body))
        self.send_response(500 if self.path.startswith("/broken") else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Any]]]:
    class Own(Hook):
        got: ClassVar[list[Any]] = []

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Own.got
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_web_hook_gets_the_message(hook: tuple[str, list[Any]]) -> None:
    """A plain URL gets one POST with JSON; ``text`` is the whole line."""
    url, got = hook
    assert await send(target(f"{url}/t0ken"), NOTICE, os.environ) is None
    assert got == [
        {
            "text": NOTICE.line,
            "kind": "swapped",
            "what": NOTICE.text,
            "todo": "Top up.",
            "at": "now",
        }
    ]


async def test_a_web_hook_that_refuses_or_is_not_there(hook: tuple[str, list[Any]]) -> None:
    """The answer's status, or that nobody was there; never the address, which may hold a token."""
    url, _ = hook
    assert await send(target(f"{url}/broken"), NOTICE, os.environ) == "the web hook answered 500"
    gone = await send(target("http://127.0.0.1:9/t0ken"), NOTICE, os.environ)
    assert gone == "the web hook was not reached (ConnectError)"


async def test_unknown_schemes_say_how_to_get_what_they_need() -> None:
    """Either the library is missing, and how to get it, or it does not know the address."""
    failure = await send(target("nosuch://t0ken"), NOTICE, os.environ)
    assert failure is not None
    assert "synccr[notify]" in failure or "does not know" in failure
    assert "t0ken" not in failure


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["x", "y", "1 s", "2.5 s"]),
            st.floats(0, 4000),
        ),
        max_size=60,
    )
)
def test_never_a_flood_never_twice(story: list[tuple[str, str, float]]) -> None:
    """Over any history: at most ``MAX_MESSAGES`` messages an hour, and one trouble once."""
    limiter, moment = RateLimiter(), 0.0
    passed: list[tuple[float, str, str]] = []
    for kind, text, pause in story:
        moment += pause
        if limiter.allows(kind, text, moment):
            passed.append((moment, kind, "#" if text[0].isdigit() else text))
    for at, kind, text in passed:
        same = [t for t, k, x in passed if (k, x) == (kind, text) and at - 6 * WINDOW < t < at]
        assert same == []
        assert len([t for t, _, _ in passed if at - WINDOW < t <= at]) <= MAX_MESSAGES


def test_lines_that_differ_in_durations_are_one_trouble() -> None:
    """The same swap, slower this time, is not told again; another model's is."""
    limiter = RateLimiter()
    assert limiter.allows("swapped", "primary -> fallback (a,b: billing); took 0.6 s.", 0)
    assert not limiter.allows("swapped", "primary -> fallback (a,b: billing); took 0.9 s.", 60)
    assert limiter.allows("swapped", "primary -> fallback (a,b2: billing); took 0.6 s.", 60)


async def test_notices_are_clean_and_journaled(tmp_path: Path, hook: tuple[str, list[Any]]) -> None:
    """No key goes out; one message for one trouble; a failure is in the journal without the
    address; telling never waits."""
    url, got = hook
    journal = Journal(tmp_path / "journal.jsonl")
    shown: list[str] = []
    for path in ("/fine", "/broken"):
        notices = Notifier.from_setting(
            url + path, journal, Redactor([KEY]), os.environ, unseen=True
        )
        tell = notices.with_notifications(lambda _kind, text, _todo, _notify: shown.append(text))
        begin = time.monotonic()
        for _ in range(3):
            tell("error_seen", f"invalid key {KEY}", "Check it.", True)
        tell("error_seen", "not worth it", "", False)
        assert time.monotonic() - begin < 0.1
        await asyncio.wait(list(notices._sending._tasks))
        await notices.close()
    assert len(shown) == 8
    assert len(got) == 2
    assert KEY not in json.dumps(got)
    entries = list(journal.read())
    assert [entry["delivered"] for entry in entries] == [True, False]
    assert entries[1]["text"].startswith("Not delivered (the web hook answered 500): ")
    assert url not in json.dumps(entries)


async def test_nobody_is_messaged_who_looks(tmp_path: Path) -> None:
    """With a terminal the line there is enough; an unusable setting is journaled, no more."""
    journal = Journal(tmp_path / "journal.jsonl")
    seen = Notifier.from_setting("desktop", journal, Redactor(), os.environ, unseen=False)
    assert seen.to.way == "off"
    broken = Notifier.from_setting("x 'y", journal, Redactor(), os.environ, unseen=True)
    broken.notify("swapped", "text")
    assert list(journal.read()) == []
    assert "quotation" in str(broken.unusable)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("off", None),
        (shlex.quote(sys.executable), None),
        ("https://example.org/x", None),
        ("desktp", "did you mean desktop?"),
        ("/nowhere/notifier x", "there is no command '/nowhere/notifier'"),
    ],
)
def test_what_is_missing_is_known_before_the_first_message(setting: str, why: str | None) -> None:
    """A command that is not there, with the nearest right word."""
    found = lacks(target(setting), os.environ)
    assert found is None if why is None else why in str(found)


@pytest.mark.skipif(shutil.which("dbus-run-session") is None, reason="needs a session bus")
def test_a_desktop_shows_the_message(tmp_path: Path) -> None:
    """On a session bus with a notification service the message arrives there."""
    pytest.importorskip("desktop_notifier")
    desktop = Path(__file__).with_name("data") / "desktop.py"
    out = tmp_path / "shown.json"
    command = ["dbus-run-session", "--", sys.executable, str(desktop), str(out)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text()) == ["synccr", "synccr", "primary -> fallback\nTop up."]


async def test_without_a_desktop_it_says_so() -> None:
    """No session bus: a failure in one sentence, not a success."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS_", "DISPLAY"))}
    failure = await send(Target("desktop"), NOTICE, bare)
    assert failure is not None
    assert "desktop" in failure


@pytest.mark.slow
async def test_services_that_apprise_knows(hook: tuple[str, list[Any]]) -> None:
    """An address of apprise's own kind goes through it."""
    pytest.importorskip("apprise")
    url, got = hook
    assert await send(target(url.replace("http://", "json://") + "/x"), NOTICE, os.environ) is None
    assert got[0]["message"] == f"{NOTICE.text}\nTop up."
