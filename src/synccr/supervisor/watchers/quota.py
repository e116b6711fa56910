"""Watching quotas: samples on an interval, a warning before one runs out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from synccr.clock import utc_now
from synccr.errors import SynccrError
from synccr.files import write_atomic
from synccr.journal import Journal, stamp
from synccr.models import quota_forecast as forecast
from synccr.models.quota_forecast import Sample
from synccr.models.report import Quota
from synccr.probe.quotas import quotas_in_headers
from synccr.supervisor.context import Reporter

_KEEP = 14 * 86400.0
"""Seconds for which a quota that no answer names any more is remembered."""

_SHOWN = 86400.0
"""Seconds for which ``status`` shows it."""

_HEADER_INTERVAL = 10.0
"""Seconds between two answers of a provider whose headers are read: each costs a write."""


class TrackedQuota(msgspec.Struct, frozen=True):
    """One quota over time, as ``quota.json`` keeps it.

    Attributes:
        quota: as last seen.
        at: when that was, UTC.
        samples: recent use.
        warned: a person has been told; again only after it was below half.
    """

    quota: Quota
    at: datetime
    samples: tuple[Sample, ...] = ()
    warned: bool = False


def update(before: TrackedQuota | None, quota: Quota, now: datetime) -> tuple[TrackedQuota, bool]:
    """What is known with what a provider says now. Pure.

    Returns:
        What is known, and whether a person has to be warned: once in a period.
    """
    samples = before.samples if before else ()
    if quota.used is not None:
        samples = forecast.add(samples, Sample(now.timestamp(), quota.used))
    below_half = quota.limit and quota.used is not None and quota.used < forecast.HALF * quota.limit
    warned = bool(before and before.warned and not below_half)
    due = not warned and forecast.warns(quota, samples, now)
    return TrackedQuota(quota, now, samples, warned or due), due


def warning(quota: Quota, samples: tuple[Sample, ...], now: datetime) -> str:
    """One line on a quota that runs out."""
    left = f"{quota.remaining or 0:g} of {quota.limit:g}"
    text = f"{quota.provider}: {left} left ({quota.window})"
    if (end := forecast.runs_out_at(quota, samples)) and end > now:
        text += f"; at this pace it runs out at {_clock(end, now)}"
    if quota.renews_at and quota.renews_at > now:
        text += f"; it renews at {_clock(quota.renews_at, now)}"
    return text + "."


def _clock(when: datetime, now: datetime) -> str:
    form = "%H:%M" if abs((when - now).total_seconds()) < 20 * 3600 else "%Y-%m-%d %H:%M"
    return when.astimezone().strftime(form)


def _status_row(tracked: TrackedQuota) -> dict[str, Any]:
    """One quota, as ``status --json`` has it."""
    quota = tracked.quota
    end = forecast.runs_out_at(quota, tracked.samples)
    return {
        "provider": quota.provider,
        "window": quota.window,
        "limit": quota.limit,
        "used": quota.used,
        "remaining": quota.remaining,
        "renews_at": stamp(quota.renews_at) if quota.renews_at else None,
        "runs_out_at": stamp(end) if end else None,
        "checked_at": stamp(tracked.at),
    }


@dataclass
class QuotaWatcher:
    """Asks for quotas, remembers them and warns.

    Attributes:
        path: the file in which they outlive the supervisor.
        ask: what is left now; free of charge.
        interval: seconds between two questions; 0 is never.
        journal, tell: get the warnings.
        clock: the wall clock.
    """

    path: Path
    ask: Callable[[], Awaitable[tuple[Quota, ...]]]
    interval: float
    journal: Journal
    tell: Reporter
    clock: Callable[[], datetime] = utc_now
    _known: dict[str, TrackedQuota] = field(default_factory=dict)
    _headers_read: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = load(self.path)

    def status(self, providers: Collection[str]) -> list[dict[str, Any]]:
        """What is known of these providers since yesterday, the tightest quota first."""
        now = self.clock()
        current = (
            tracked
            for tracked in self._known.values()
            if tracked.quota.provider in providers
            and abs((now - tracked.at).total_seconds()) < _SHOWN
        )
        return [_status_row(tracked) for tracked in sorted(current, key=_part_left)]

    def observe(self, quotas: Iterable[Quota]) -> None:
        """Record quotas as a provider states them now, and warn when one is due."""
        now = self.clock()
        for quota in quotas:
            key = _key(quota)
            self._known[key], due = update(self._known.get(key), quota, now)
            if due:
                self._warn(self._known[key], now)
        self._known = {
            key: tracked
            for key, tracked in self._known.items()
            if abs((now - tracked.at).total_seconds()) < _KEEP
        }
        with contextlib.suppress(OSError):
            write_atomic(self.path, msgspec.json.encode(self._known))

    def observe_headers(self, provider: str, headers: Mapping[str, str]) -> None:
        """Record rate limits from the headers of an answer to a client (lower-case names)."""
        now = self.clock()
        last = self._headers_read.get(provider)
        if last is not None and abs((now - last).total_seconds()) < _HEADER_INTERVAL:
            return
        if quotas := quotas_in_headers(provider, headers, now):
            self._headers_read[provider] = now
            self.observe(quotas)

    def _warn(self, tracked: TrackedQuota, now: datetime) -> None:
        text = warning(tracked.quota, tracked.samples, now)
        todo = "Slow down or top up, or the fallback takes over."
        self.journal.write("quota", text=text, todo=todo, **_status_row(tracked))
        self.tell("quota", text, todo, True)

    async def run(self) -> None:
        """Ask on the interval, for ever; a failure is followed by the next question."""
        while self.interval:
            await asyncio.sleep(self.interval)
            with contextlib.suppress(SynccrError):  # the environment's proxy, for one
                if quotas := await self.ask():
                    self.observe(quotas)


def load(path: Path) -> dict[str, TrackedQuota]:
    """What is remembered; nothing when that is missing, damaged or not what we wrote."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, TrackedQuota])
    except (OSError, msgspec.DecodeError, RecursionError):
        return {}
    times = (t for w in found.values() for t in (w.at, w.quota.renews_at))
    return {} if any(t is not None and t.tzinfo is None for t in times) else found


def status_of(path: Path, quotas: Iterable[Quota], now: datetime) -> list[dict[str, Any]]:
    """Quotas as stated now, with the pace that a supervisor has seen; writes nothing."""
    before = load(path)
    current = [update(before.get(_key(quota)), quota, now)[0] for quota in quotas]
    return [_status_row(tracked) for tracked in sorted(current, key=_part_left)]


def _key(quota: Quota) -> str:
    return f"{quota.provider}\0{quota.window}"


def _part_left(tracked: TrackedQuota) -> float:
    quota = tracked.quota
    return 1.0 if not quota.limit or quota.remaining is None else quota.remaining / quota.limit
