"""Allowances over time: headers, one warning a period, what outlives a restart."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.journal import Journal
from synccr.models.quota_record import TrackedQuota, status_of, update
from synccr.models.report import Quota
from synccr.probe.quotas import quotas_in_headers
from synccr.supervisor.watchers.quota import QuotaWatcher

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def quota(used: float | None, limit: float | None = 100.0) -> Quota:
    return Quota(provider="acme", limit=limit, used=used, renews_at=NOW + timedelta(hours=5))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (  # platform.openai.com/docs/guides/rate-limits
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1m30s",
                "x-ratelimit-limit-tokens": "150000",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6ms",
            },
            [(60, 1, 90.0), (150000, 16, 0.006)],
        ),
        (  # docs.anthropic.com/en/api/rate-limits
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-24T12:00:10Z",
            },
            [(50, 50, 10.0)],
        ),
        ({"x-ratelimit-limit-requests": "60"}, []),
        ({"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "٣"}, []),
        (
            {
                "x-ratelimit-limit-requests": "9",
                "x-ratelimit-remaining-requests": "10",
                "x-ratelimit-reset-requests": "soon",
            },
            [(9, 0, None)],
        ),
    ],
)
def test_headers(headers: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    """Limits of OpenAI's and Anthropic's form; the rest is left out."""
    found = quotas_in_headers("acme", headers, NOW)
    rows = [
        (q.limit, q.used, (q.renews_at - NOW).total_seconds() if q.renews_at else None)
        for q in found
    ]
    assert rows == expected


names = st.sampled_from(
    [
        f"x-ratelimit-{a}-{b}"
        for a in ("limit", "remaining", "reset")
        for b in ("requests", "tokens")
    ]
)


@given(st.dictionaries(names, st.text(max_size=70)))
def test_no_header_breaks_anything(headers: dict[str, str]) -> None:
    """Whatever a provider writes there."""
    for row in quotas_in_headers("acme", headers, NOW):
        assert row.used is not None
        assert row.used >= 0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 1000)), max_size=40))
def test_one_warning_until_it_was_below_half(story: list[tuple[float, float]]) -> None:
    """Between two warnings the allowance was less than half spent."""
    tracked: TrackedQuota | None = None
    moment, quiet_since_warning = NOW, True
    for used, pause in story:
        moment += timedelta(seconds=pause)
        tracked, due = update(tracked, quota(used), moment)
        quiet_since_warning = quiet_since_warning or used < 50
        if due:
            assert quiet_since_warning
            quiet_since_warning = False


def watcher(path: Path, answers: list[tuple[Quota, ...]], told: list[str]) -> QuotaWatcher:
    async def ask() -> tuple[Quota, ...]:
        return answers.pop(0) if answers else ()

    return QuotaWatcher(
        path / "quota.json",
        ask,
        0.01,
        Journal(path / "journal.jsonl"),
        lambda _kind, text, _todo, _notify: told.append(text),
        lambda: NOW,
    )


async def test_what_is_known_outlives_a_restart(tmp_path: Path) -> None:
    """A warning given is not given again by the next supervisor."""
    told: list[str] = []
    for _ in range(2):
        one = watcher(tmp_path, [(quota(95),)], told)
        task = asyncio.create_task(one.run())
        while not one.status(["acme"]):
            await asyncio.sleep(0.005)
        task.cancel()
    assert len(told) == 1
    assert "5 of 100 left (subscription); it renews at" in told[0]
    assert one.status(["other"]) == []
    assert status_of(tmp_path / "quota.json", [quota(96)], NOW)[0]["remaining"] == 4


def test_live_traffic_is_listened_to_every_ten_seconds(tmp_path: Path) -> None:
    """Each provider for itself; headers without limits do not count."""
    one = watcher(tmp_path, [], [])
    seconds = 0.0
    one.clock = lambda: NOW + timedelta(seconds=seconds)

    def told(left: int, provider: str = "acme") -> list[float]:
        limits = {"x-ratelimit-limit-tokens": "100", "x-ratelimit-remaining-tokens": str(left)}
        one.observe_headers(provider, {"retry-after": "1"})
        one.observe_headers(provider, limits)
        return [row["remaining"] for row in one.status([provider])]

    assert (told(90), told(80, "other")) == ([90], [80])
    seconds = 9.0
    assert told(70) == [90]
    seconds = 10.0
    assert told(60) == [60]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff", b"[" * 5000])
async def test_a_damaged_file_is_no_file(tmp_path: Path, content: bytes) -> None:
    """It is written anew."""
    (tmp_path / "quota.json").write_bytes(content)
    one = watcher(tmp_path, [], [])
    assert one.status(["acme"]) == []
    one.observe([quota(None, None)])
    assert watcher(tmp_path, [], []).status(["acme"])[0]["remaining"] is None
