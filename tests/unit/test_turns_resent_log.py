"""Many re-sends, few entries of the journal."""

from __future__ import annotations

import asyncio
import math
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turns_kit import MAIN, SPARE

from synccr.journal import Journal
from synccr.supervisor.trace import write_in_time
from synccr.turns.resent_log import _MOST, INTERVAL, ResentLog


def test_the_first_is_told_at_once_and_the_others_once_a_minute() -> None:
    """A storm is two entries, and none of it is lost."""
    log = ResentLog()
    first = log.resent(MAIN, "status", SPARE, 0.0)
    assert first
    assert first.fields()["text"] == f"{MAIN} (status): a request was sent again to {SPARE}"
    assert [log.resent(MAIN, "status", SPARE, at) for at in (1.0, 2.0, 3.0)] == [None] * 3
    assert log.due(INTERVAL - 1) == []
    later = log.resent(MAIN, "silent", SPARE, INTERVAL)
    assert later
    assert (later.count, later.verdict) == (4, "silent")
    assert "4 requests were sent again, the latest to" in later.fields()["text"]


def test_what_was_counted_is_told_when_nothing_follows() -> None:
    """After its minute, or at the end."""
    log = ResentLog()
    log.resent(MAIN, "status", SPARE, 0.0)
    log.resent(MAIN, "status", SPARE, 1.0)
    log.resent(SPARE, "status", MAIN, 59.0)
    log.resent(SPARE, "status", MAIN, 59.5)
    assert [(told.model, told.count) for told in log.due(60.0)] == [(MAIN, 1)]
    assert [(told.model, told.count) for told in log.due(math.inf)] == [(SPARE, 1)]


def test_models_and_kinds_are_told_apart() -> None:
    """Each has its own minute."""
    log = ResentLog()
    assert log.resent(MAIN, "status", SPARE, 0.0)
    assert log.resent(SPARE, "status", MAIN, 0.0)
    cut = log.cut(MAIN, "cut", 0.0)
    assert cut
    assert cut.fields()["text"] == f"{MAIN} (cut): an answer was broken off after the first words"
    assert "to" not in cut.fields()


notes = st.lists(
    st.tuples(st.sampled_from([MAIN, SPARE]), st.floats(0, 30)), min_size=1, max_size=200
)


@given(notes)
def test_every_one_is_counted_and_no_minute_has_two(steps: list[tuple[str, float]]) -> None:
    """Whatever comes when."""
    log, now, entries = ResentLog(), 0.0, []
    for model, pause in steps:
        now += pause
        entries += [(now, told) for told in [log.resent(model, "status", None, now), *log.due(now)]]
    told = [(at, entry) for at, entry in entries if entry]
    for name in (MAIN, SPARE):
        times = [at for at, entry in told if entry.model == name]
        assert all(b - a > INTERVAL - 1e-6 for a, b in pairwise(times))
    left = log.due(math.inf)
    assert sum(e.count for _, e in told) + sum(e.count for e in left) == len(steps)


def test_it_is_bounded() -> None:
    """Names come from a profile, but nothing relies on it; what is over is forgotten."""
    log = ResentLog()
    for number in range(3 * _MOST):
        log.cut(f"a,{number}", "cut", 0.0)
    assert len(log._next) <= _MOST + 2
    log.due(INTERVAL)
    log.due(2 * INTERVAL)
    assert not log._next
    assert not log._waiting


async def test_what_was_counted_is_written_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its minute is over, and the rest when the supervisor ends."""
    monkeypatch.setattr("synccr.supervisor.trace.INTERVAL", 0.04)
    log, journal = ResentLog(interval=0.02), Journal(tmp_path / "journal.jsonl")
    task = asyncio.create_task(write_in_time(log, journal))
    for _ in range(3):
        log.resent(MAIN, "status", SPARE, time.monotonic())
    deadline = time.monotonic() + 10
    while not list(journal.read()) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    log.cut(MAIN, "cut", math.inf)
    log.cut(MAIN, "cut", time.monotonic())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = [(entry["kind"], entry["count"]) for entry in journal.read()]
    assert found == [("resent", 2), ("cut", 1)]
