"""What the command line makes of facts: status line, live view, keys."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from synccr.ccr.v2.log_files import unread
from synccr.cli.commands import ask, logs
from synccr.cli.commands.ask import _model_for, _once, _pieces
from synccr.cli.commands.env import FORMS, _quote
from synccr.cli.commands.statusline import line
from synccr.cli.endpoint import Endpoint
from synccr.cli.event_text import event_line
from synccr.cli.status_text import lines, plan_lines, turns_line
from synccr.cli.status_watch import latest, sparkline, traffic_lines, view
from synccr.config.keys import read_keys, with_keys, write_keys
from synccr.errors import ConfigError, SynccrError, UsageError
from synccr.journal import Journal
from synccr.paths import Paths
from synccr.supervisor.traffic_rate import SPAN, Traffic
from synccr.turns.resent_log import Entry

MAIN, SPARE = "acme,vendor/main-480b", "acme,vendor/spare-32b"


def status(**changes: Any) -> dict[str, Any]:
    """A supervisor's status while all is well."""
    return {
        "state": "running",
        "profile": "primary",
        "endpoint": "http://127.0.0.1:3456",
        "ccr": {"version": "2.0.0", "pid": 2, "restarts": 0},
        "routes": {"default": MAIN, "fallback": SPARE},
        "preferred": {"default": MAIN},
        "models": [row(MAIN, "ok"), row(SPARE, "ok")],
        "swaps": 0,
        "last_swap": None,
        "pinned": None,
        "why": "primary serves its owner's first choice",
        **changes,
    }


def row(ref: str, word: str, detail: str = "") -> dict[str, Any]:
    provider, _, model = ref.partition(",")
    return {
        "provider": provider,
        "model": model,
        "status": word,
        "latency_ms": 20,
        "detail": detail,
    }


def planned(ref: str, breaker: str = "closed", *, rests: bool = False) -> dict[str, Any]:
    """A candidate of the plan."""
    return {"model": ref, "reason": "number 2", "breaker": breaker, "rests": rests}


FALLEN = {
    "profile": "fallback",
    "routes": {"default": SPARE},
    "models": [row(MAIN, "billing"), row(SPARE, "ok")],
    "last_swap": {"reason": "billing", "model": MAIN},
}


@pytest.mark.parametrize(
    ("changes", "session", "expected"),
    [
        ({}, {}, "synccr: main-480b"),
        ({}, {"model": {"id": "claude-sonnet-4"}}, "synccr: main-480b"),
        ({}, {"model": {"id": SPARE}}, "synccr: spare-32b"),
        ({"state": "swapping"}, {}, "synccr: main-480b | swapping"),
        (FALLEN, {}, "synccr: spare-32b | fallback (main-480b billing)"),
        (FALLEN | {"preferred": None}, {}, "synccr: spare-32b | fallback (main-480b billing)"),
        (FALLEN | {"pinned": "fallback"}, {}, "synccr: spare-32b | fallback by hand"),
        (
            {"routes": {"default": SPARE}, "models": [row(MAIN, "missing"), row(SPARE, "ok")]},
            {},
            "synccr: spare-32b | instead (main-480b missing)",
        ),
        (
            {"quota": {"remaining": 12.0, "limit": 135.0}},
            {},
            "synccr: main-480b | 12/135 left",
        ),
        (
            {"quota": [{"remaining": None}, {"remaining": 1, "limit": 2}]},
            {},
            "synccr: main-480b | 1/2 left",
        ),
        ({"quota": None}, {"model": 3}, "synccr: main-480b"),
        ({"routes": {}}, {}, "synccr: - | instead of main-480b"),
    ],
)
def test_status_line(changes: dict[str, Any], session: dict[str, Any], expected: str) -> None:
    """One line: what serves, why it is not the preferred one, what is left."""
    assert line(status(**changes), session) == expected


def test_status_line_has_no_escapes() -> None:
    """A model's name cannot move the cursor of the terminal that shows it."""
    evil = status(routes={"default": "acme,v/\x1b[2Jx\n"}, preferred={})
    assert line(evil, {}) == "synccr: x"


def served(model: str, instead_of: str | None) -> dict[str, Any]:
    turn = {"model": model, "instead_of": instead_of, "verdict": "status" if instead_of else None}
    return {"served": {"default": turn}}


@pytest.mark.parametrize(
    ("changes", "session", "expected"),
    [
        ({"turns": served(MAIN, None)}, {}, "synccr: main-480b"),
        ({"turns": served(SPARE, MAIN)}, {}, "synccr: spare-32b | instead (main-480b status)"),
        ({"turns": served(SPARE, MAIN)}, {"model": {"id": MAIN}}, "synccr: main-480b"),
        (
            FALLEN | {"turns": served(SPARE, MAIN)},
            {},
            "synccr: spare-32b | fallback (main-480b billing)",
        ),
        ({"turns": {"served": {}}}, {}, "synccr: main-480b"),
    ],
    ids=["as routed", "moved", "named", "swapped since", "none yet"],
)
def test_status_line_after_a_turn(
    changes: dict[str, Any], session: dict[str, Any], expected: str
) -> None:
    """Who served the latest request, where the route still leads to the one that failed it."""
    assert line(status(**changes), session) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ""),
        ({"breakers": {MAIN: "closed"}, "turns": {"not_judged": 0, "requests": 9}}, ""),
        (
            {"breakers": {MAIN: "open", SPARE: "half_open"}},
            f"not asked now: {MAIN}. on trial: {SPARE}",
        ),
        (
            {"turns": {"not_judged": 3, "requests": 9}},
            "3 of 9 requests not judged (synccr doctor running)",
        ),
        ({"turns": {"capture": "/x/c"}}, "requests and answers are written to /x/c"),
        (
            {"ccr": {"version": "2.0.0", "pid": 2, "restarts": 0, "judged": False}},
            "CCR runs without synccr's module: nothing is judged (synccr doctor running)",
        ),
        ({"plan": {"default": [planned(MAIN)]}}, ""),
        ({"plan": {"default": [planned(MAIN, rests=True)]}}, f"rests for a moment: {MAIN}"),
    ],
)
def test_what_is_odd_about_the_traffic(more: dict[str, Any], expected: str) -> None:
    """One short line in the status and in the live view, or none."""
    document = status(**more, supervisor={"pid": 1})
    assert turns_line(document) == expected
    assert any(expected in text for text in lines(document)) or not expected
    shown = io.StringIO()
    Console(file=shown, width=200).print(view(document, [], 200, 30))
    assert expected in shown.getvalue()


@pytest.mark.parametrize(
    ("rows", "goes"),
    [
        ([planned(MAIN), planned(SPARE)], False),
        ([planned(MAIN, rests=True), planned(SPARE)], True),
        ([planned(SPARE), planned(MAIN, "open")], True),
        ([planned(MAIN, rests=True), planned(SPARE, "open")], False),
        ([planned(MAIN, "open"), planned(SPARE, "open")], False),
        ([], False),
    ],
)
def test_where_requests_go_meanwhile(rows: list[dict[str, Any]], goes: bool) -> None:
    """A line for a route whose model is not asked, as long as another one is."""
    document = status(plan={"default": rows, "think": rows}, supervisor={"pid": 1})
    expected = [f"default goes to {SPARE} (number 2), not to {MAIN}"] if goes else []
    assert plan_lines(document) == expected
    assert all(f"  {line}" in lines(document) for line in expected)


@pytest.mark.parametrize(
    ("values", "room", "expected"),
    [
        ([], 4, "    "),
        ([0, None, 0], 3, "   "),
        ([1, 2, 4, 8], 4, "▂▃▅█"),
        ([5, 5], 2, "██"),
        ([1, 9, 9], 2, "██"),
        ([0.1, None, 1000.0], 5, "  ▁ █"),
    ],
)
def test_sparkline(values: list[float | None], room: int, expected: str) -> None:
    """The latest values, each a bar against the greatest shown."""
    assert sparkline(values, room) == expected


@pytest.mark.parametrize(("width", "height"), [(20, 5), (20, 30), (40, 18), (100, 11), (100, 30)])
@pytest.mark.parametrize(
    "document", [status(), status(**FALLEN), {"state": "stopped"}, {"state": "silent", "why": "x"}]
)
def test_the_view_fits_its_window(width: int, height: int, document: dict[str, Any]) -> None:
    """No line is longer than the window is wide, each model keeps one line, and whatever the
    height, the newest event and how it ends are to be seen; a high window shows more events."""
    traffic = Traffic()
    traffic.observe(200, 0.01, b"/v1/messages")
    document = document | {"traffic": traffic.document()}
    out = io.StringIO()
    events = [f"{number} swapped " + "x" * 200 for number in range(50)]
    Console(file=out, width=width).print(view(document, events, width, height))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == height
    assert document["state"] in lines[0]
    assert lines[-2].startswith("  49 swapped")
    assert lines[-1] == "q ends"
    assert sum("main-480b" in text for text in lines) <= 4


def test_traffic_is_the_last_minute() -> None:
    """Counts, failures and mean latency per second; a second older than a minute is gone,
    and what is no API request does not count."""
    now = 1000.0
    traffic = Traffic(lambda: now)
    traffic.observe(200, 0.010, b"/v1/messages")
    traffic.observe(402, 0.030, b"/v1/messages")
    traffic.observe(200, 9.0, b"/health")
    now = 1002.5
    traffic.observe(200, 0.5, b"/v1/chat/completions")
    found = traffic.document()
    assert found["requests"][-3:] == [2, 0, 1]
    assert found["errors"][-3:] == [1, 0, 0]
    assert found["latency_ms"][-3:] == [20.0, None, 500.0]
    assert all(len(found[name]) == SPAN for name in ("requests", "errors", "latency_ms"))
    assert traffic_lines(found, 40)[0].endswith("3 a minute, 1 failed")
    now += SPAN
    assert sum(traffic.document()["requests"]) == 0
    assert traffic_lines(None, 40) == []


def test_latest_events_of_a_broken_journal(tmp_path: Path) -> None:
    """Half a line and garbage are passed over; no journal is no events."""
    journal = tmp_path / "journal.jsonl"
    assert latest(journal, 3) == []
    entry = b'{"at": "2026-01-02T03:04:05.000Z", "kind": "swapped", "text": "x"}\n'
    journal.write_bytes(b"garbage\n\xff\n" + entry * 1000 + b'{"at": "20')
    assert len(latest(journal, 3)) == 3
    journal.write_bytes(b'{"at": "2026-01-02T03:04:05.000Z", "kind": "healed"}\n')
    assert len(latest(journal, 3)) == 1


@pytest.mark.parametrize("kind", ["resent", "cut"])
def test_events_of_turns(kind: Any) -> None:
    """A sentence, with how many."""
    told = Entry(kind, MAIN, "status", None, 12)
    shown = event_line({"at": "2026-01-02T03:04:05.000Z", "kind": kind, **told.fields()})
    assert shown.startswith(f"2026-01-02 03:04:05  {kind:<12} {MAIN} (status): 12 ")


def test_an_event_without_a_model() -> None:
    """What an event does not have is not shown."""
    entry = {"at": "2026-01-02T03:04:05.000Z", "kind": "swap_started", "from": "primary"}
    told = event_line(entry | {"to": "fallback", "reason": "asked", "model": None, "why": "x"})
    assert told.endswith("swap_started from primary, to fallback, reason asked, why x")


@pytest.fixture
def ccr_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CCR's directory of logs in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = tmp_path / ".claude-code-router" / "logs"
    found.mkdir(parents=True)
    return found


def log(path: Path, *seconds: int) -> None:
    """Append entries of these times, each named by its own."""
    with path.open("a") as file:
        for second in seconds:
            file.write(json.dumps({"level": 50, "time": second * 1000, "msg": f"n{second}"}) + "\n")


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [text.rpartition(" ")[2] for text in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("name", "value"),
    [("VERSION", "3.1.1"), ("COMMAND", "npx -y @musistudio/claude-code-router@3.1.1")],
)
def test_a_ccr_without_a_log_has_the_journal(
    ccr_logs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    """In place of a hint to start what may run; a log of CCR 2 is not taken for its own."""
    monkeypatch.setenv(f"SYNCCR_CCR_{name}", value)
    log(ccr_logs / "ccr-20260101000001.log", 1)
    Journal(Paths.from_environment().instance / "journal.jsonl").write("crashed", pid=7)
    logs.run()
    said = capsys.readouterr()
    assert "Claude Code Router 3.1.1 keeps no log; this is synccr's journal." in said.err
    assert "crashed" in said.out
    assert "n1" not in said.out


def test_logs_of_all_starts(
    ccr_logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest lines of all files in the order of time: a swap begins a new, empty file while
    the CCR before it still writes; garbage is passed over."""
    log(ccr_logs / "ccr-20260101000001.log", 1, 2, 5)
    log(ccr_logs / "ccr-20260101000003.log", 3, 4)
    (ccr_logs / "ccr-20260101000006.log").write_text("garbage\n[1]\n")
    logs.run()
    assert shown(capsys) == ["n1", "n2", "n3", "n4", "n5"]
    monkeypatch.setattr(logs, "_MOST", 2)
    logs.run()
    assert shown(capsys) == ["n4", "n5"]


def test_logs_are_followed_over_a_swap(
    ccr_logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes into the file that a new CCR begins, into the old one, and into one that the
    rotation has renamed is shown, each line once."""
    old, new = ccr_logs / "ccr-20260101000001.log", ccr_logs / "ccr-20260101000002.log"
    log(old, 1)

    def swap() -> None:
        log(new, 2)
        log(old, 3)

    def rotate() -> None:
        new.rename(ccr_logs / "ccr-20260101000002_1.log")
        log(new, 4)

    steps = [swap, rotate, old.unlink]
    monkeypatch.setattr("time.sleep", lambda _seconds: steps.pop(0)())
    monkeypatch.setattr(logs, "reader_gone", lambda _stream: not steps)
    logs.run(follow=True)
    assert sorted(shown(capsys)) == ["n1", "n2", "n3", "n4"]


def test_half_a_line_of_a_log_waits_for_its_end(tmp_path: Path) -> None:
    """A line that is still being written is read when it is whole."""
    path = tmp_path / "ccr-20260101000001.log"
    done: dict[int, int] = {}
    path.write_bytes(b"one\ntw")
    assert list(unread(tmp_path, done)) == [b"one\n"]
    path.write_bytes(b"one\ntwo\n")
    assert list(unread(tmp_path, done)) == [b"two\n"]
    path.write_bytes(b"")
    assert list(unread(tmp_path, done)) == []


@pytest.mark.parametrize(
    ("route", "expected"),
    [("default", MAIN), ("fallback", SPARE), (SPARE, SPARE), ("acme,unlisted", "acme,unlisted")],
)
def test_routes_of_ask(route: str, expected: str) -> None:
    """A route's name is its model; a provider's model is itself."""
    assert _model_for(route, status()) == expected


@pytest.mark.parametrize(
    ("route", "nearest"),
    [
        ("defalt", "default"),
        ("Fallback", "fallback"),
        ("acne,vendor/spare-32b", SPARE),
        ("zzz", "Routes: default, fallback"),
        ("nobody,x", "Models: acme,vendor/main-480b"),
    ],
)
def test_unknown_routes_of_ask(route: str, nearest: str) -> None:
    """The nearest right one is named."""
    with pytest.raises(UsageError, match=route) as caught:
        _model_for(route, status())
    assert nearest in caught.value.todo


PIECE = {"type": "content_block_delta", "delta": {"text": "half"}}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"message": {"type": "api_error", "message": "It stopped."}}, "It stopped"),
        ({"error": {"type": "api_error", "message": "It stopped"}}, "It stopped"),
        ({"message": "It stopped"}, "It stopped"),
        ({"error": "It stopped"}, "It stopped"),
        ({"message": {"type": "api_error", "message": '{"message": "It stopped"}'}}, "It stopped"),
        ({"error": {"code": 5}}, "no reason given"),
        ({}, "no reason given"),
    ],
)
def test_an_error_inside_a_stream(error: dict[str, Any], said: str) -> None:
    """In Anthropic's form, in that of CCR 2.0.0, or as a bare text: said in one sentence, after
    the part of the answer that had come."""
    events = [3, {"type": "message_start"}, PIECE, {"type": "error", **error}]
    pieces = _pieces(["event: x", "data: [DONE]", *(f"data: {json.dumps(e)}" for e in events)])
    assert next(pieces) == ("text", "half")
    with pytest.raises(SynccrError) as caught:
        next(pieces)
    assert caught.value.what == f"The provider broke off: {said}."


def test_an_error_after_half_an_answer_begins_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer's last line is ended before anything else is said."""

    def broken(*_: object) -> Iterator[tuple[str, str]]:
        yield "text", "half"
        raise SynccrError("gone")

    monkeypatch.setattr(ask, "endpoint", lambda: Endpoint("http://x", "t", status()))
    monkeypatch.setattr(ask, "_stream", broken)
    with pytest.raises(SynccrError, match="gone"):
        ask.run("x", "default")
    assert capsys.readouterr().out == "half\n"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("fetch failedTypeError: fetch failed\n    at x (y:1:2)\n    at z", "fetch failed"),
        ("a: bError: a: b\n    at x", "a: b"),
        ("not valid JSONSyntaxError: not valid JSON\n    at x", "not valid JSON"),
        ("no key", "no key"),
        ("", ""),
    ],
)
def test_an_error_is_said_once(message: str, said: str) -> None:
    """CCR puts the stack right behind a message, and the stack begins with the message."""
    assert _once(message) == said


@pytest.mark.parametrize(
    ("shell", "value", "expected"),
    [
        ("sh", "plain-1", "plain-1"),
        ("sh", "it's $HOME", "'it'\"'\"'s $HOME'"),
        ("fish", "it's \\", "'it\\'s \\\\'"),
        ("powershell", "it's $x", "'it''s $x'"),
    ],
)
def test_quoting(shell: str, value: str, expected: str) -> None:
    """Each shell's own way to mean a text literally."""
    assert _quote(value, FORMS[shell]) == expected


def test_keys_are_kept_and_the_environment_goes_before(tmp_path: Path) -> None:
    """Written 0600, read back; a variable that is set wins, an empty one does not; other
    lines stay."""
    path = tmp_path / "config" / "keys.env"
    assert with_keys({"A": "1"}, path) == {"A": "1"}
    write_keys(path, {"A_KEY": "sk-o'dd$1", "B_KEY": "b"})
    write_keys(path, {"B_KEY": "c"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == {"A_KEY": "sk-o'dd$1", "B_KEY": "c"}
    found = with_keys({"A_KEY": "mine", "B_KEY": "", "PATH": "/bin"}, path)
    assert found == {"A_KEY": "mine", "B_KEY": "c", "PATH": "/bin"}


def test_a_placeholder_gives_way_to_a_kept_key(tmp_path: Path) -> None:
    """A shell below CCR has placeholders; one that the file knows nothing of stays."""
    path = tmp_path / "keys.env"
    write_keys(path, {"A_KEY": "real"})
    below = {name: f"synccr.{name}.{'0a' * 12}" for name in ("A_KEY", "B_KEY")}
    assert with_keys(below, path) == {"A_KEY": "real", "B_KEY": below["B_KEY"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# note\n\nexport A='x y'\nB=\"z\"\nC=\n", {"A": "x y", "B": "z", "C": ""}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1", {"A": "1"}),
    ],
)
def test_keys_as_people_write_them(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    """Comments, export, quotes, a BOM."""
    path = tmp_path / "keys.env"
    path.write_bytes(text.encode())
    assert read_keys(path) == expected


@pytest.mark.parametrize("text", ["secret-value", "A B=1", "A='secret", "A=one two", "=x"])
def test_a_broken_keys_file_is_said_without_its_values(tmp_path: Path, text: str) -> None:
    """The line is named, what stands there is not."""
    path = tmp_path / "keys.env"
    path.write_text(f"OK=1\n{text}\n")
    with pytest.raises(ConfigError, match="line 2") as caught:
        read_keys(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "ключ", "\x1b[A"])
def test_what_is_no_key_is_not_kept(tmp_path: Path, value: str) -> None:
    """A slip of the clipboard is caught, and not shown."""
    with pytest.raises(UsageError) as caught:
        write_keys(tmp_path / "keys.env", {"A_KEY": value})
    assert not value or value not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "words"), [(0, "0 changes"), (1, "1 change"), (2, "2 changes")])
def test_how_many_changes_healed_a_profile(count: int, words: str) -> None:
    """One is singular."""
    told = event_line({"kind": "healed", "profile": "primary", "changes": [{}] * count, "why": "x"})
    assert told.endswith(f"primary, {words}; x")
