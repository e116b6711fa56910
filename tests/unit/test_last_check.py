"""What changed between two full checks, and when the next one is due."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.journal import Journal
from synccr.models import last_check
from synccr.models.last_check import LastCheck
from synccr.models.report import Report, Status
from synccr.supervisor.watchers.weekly_check import CheckResult, WeeklyCheck

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WEEK = 604_800.0
lists = st.dictionaries(st.sampled_from("ab"), st.lists(st.sampled_from("mnopq")))


def report(model: str, status: Status) -> Report:
    return Report(provider="acme", model=model, status=status, checked_at=NOW)


def check(before: LastCheck | None, offered: dict[str, list[str]], **states: Status) -> LastCheck:
    return last_check.take(before, [report(m, s) for m, s in states.items()], offered, NOW)


@given(lists, lists)
def test_news_is_the_difference(one: dict[str, list[str]], two: dict[str, list[str]]) -> None:
    """New is what was not there, gone what is no more; a list that is not there says nothing,
    and comparing with itself finds nothing."""
    first = check(None, one)
    second = check(first, two)
    changes = last_check.compare(first, second)
    assert not last_check.compare(second, second)
    for name in "ab":
        if one.get(name) and two.get(name):
            new = {r.partition(",")[2] for r in changes.new if r.startswith(name)}
            gone = {r.partition(",")[2] for r in changes.gone if r.startswith(name)}
            assert new == set(two[name]) - set(one[name])
            assert gone == set(one[name]) - set(two[name])
        else:
            assert not any(r.startswith(name) for r in (*changes.new, *changes.gone))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Status.OK, Status.MISSING, [("acme,m", "ok", "missing")]),
        (Status.BILLING, Status.OK, [("acme,m", "billing", "ok")]),
        (Status.OK, Status.UNVERIFIED, []),
        (Status.OK, Status.OVERLOADED, []),
        (Status.OK, Status.OK, []),
    ],
)
def test_changes_of_state(before: Status, after: Status, expected: list[object]) -> None:
    """What a person has to know: gone, dear, back. Not what passes by itself."""
    first = check(None, {}, m=before)
    assert list(last_check.compare(first, check(first, {}, m=after, n=after)).states) == expected


def test_lines_name_a_few() -> None:
    """A list of hundreds is told in one line."""
    first = check(None, {"acme": ["m"]}, m=Status.OK)
    second = check(first, {"acme": [f"n{i}" for i in range(300)]}, m=Status.BILLING)
    assert last_check.lines(last_check.compare(first, second)) == [
        "acme,m: ok -> billing",
        "new models on offer: acme,n0, acme,n1, acme,n10, acme,n100, acme,n101 and 295 more",
        "no longer on offer: acme,m",
    ]


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def schedule(
    path: Path, clock: Time, told: list[str], found: CheckResult = ((), {})
) -> WeeklyCheck:
    async def ask() -> CheckResult:
        return found

    return WeeklyCheck(
        path / "inventory.json",
        ask,
        WEEK,
        Journal(path / "journal.jsonl"),
        lambda _kind, text, _todo, notify: told.append(text) if notify else None,
        clock,
    )


async def test_a_restart_neither_repeats_nor_forgets(tmp_path: Path) -> None:
    """The first start is the first check; the next is due a week later, whoever runs then; a
    start's own preflight is that check when one is due."""
    clock = Time()
    told: list[str] = []
    first: CheckResult = ([report("m", Status.OK)], {"acme": ["m"]})
    one = schedule(tmp_path, clock, told)
    one.on_start(first)
    assert one.due_in() == WEEK
    clock.now += timedelta(days=3)
    two = schedule(tmp_path, clock, told)
    two.on_start(([report("m", Status.BILLING)], {"acme": ["m", "n"]}))
    assert two.due_in() == WEEK - 3 * 86400
    assert told == []
    clock.now += timedelta(days=5)
    three = schedule(tmp_path, clock, told)
    assert three.due_in() == 0
    three.on_start(([report("m", Status.BILLING)], {"acme": ["m", "n"]}))
    assert told == ["Weekly check: acme,m: ok -> billing; new models on offer: acme,n."]
    assert three.due_in() == WEEK


async def test_it_runs_when_it_is_due(tmp_path: Path) -> None:
    """Due at once when the supervisor started without a preflight; a clock that is set back a
    year puts it off by a week at most."""
    clock = Time()
    told: list[str] = []
    schedule(tmp_path, clock, told).on_start(([report("m", Status.OK)], {"acme": ["m"]}))
    clock.now += timedelta(days=8)
    two = schedule(tmp_path, clock, told, ([report("m", Status.MISSING)], {}))
    two.on_start(None)
    task = asyncio.create_task(two.run())
    while not told:
        await asyncio.sleep(0.005)
    task.cancel()
    assert "ok -> missing" in told[0]
    clock.now -= timedelta(days=365)
    assert two.due_in() == WEEK


@pytest.mark.parametrize("content", [b"", b"{}", b'{"at": "2026-01-01T00:00:00"}', b"[" * 5000])
def test_a_damaged_file_is_no_file(tmp_path: Path, content: bytes) -> None:
    """The next check is the first one then."""
    (tmp_path / "inventory.json").write_bytes(content)
    assert last_check.load(tmp_path / "inventory.json") is None
