"""Keeping an eye on allowances: samples on an interval, a warning before one runs out."""

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
from synccr.models import quota_forecast as pace
from synccr.models.quota_forecast import Sample
from synccr.models.report import Quota
from synccr.probe.quotas import quotas_in_headers
from synccr.supervisor.context import Reporter

_KEEP = 14 * 86400.0
"""Seconds for which an allowance that nobody tells of any more is remembered."""

_SHOWN = 86400.0
"""Seconds for which it is shown."""

_LISTEN = 10.0
"""Seconds between two answers of a provider whose headers are read: each costs a write."""


class Watched(msgspec.Struct, frozen=True):
    """One allowance over time.

    Attributes:
        quota: as told last.
        at: when, UTC.
        samples: recent use.
        warned: a person has been told; again only after it was below half.
    """

    quota: Quota
    at: datetime
    samples: tuple[Sample, ...] = ()
    warned: bool = False


def look(before: Watched | None, quota: Quota, now: datetime) -> tuple[Watched, bool]:
    """Take what a provider tells now. Pure.

    Returns:
        What is known, and whether a person has to be warned: once in a period.
    """
    samples = before.samples if before else ()
    if quota.used is not None:
        samples = pace.add(samples, Sample(now.timestamp(), quota.used))
    below_half = quota.limit and quota.used is not None and quota.used < pace.HALF * quota.limit
    warned = bool(before and before.warned and not below_half)
    due = not warned and pace.warns(quota, samples, now)
    return Watched(quota, now, samples, warned or due), due


def warning(quota: Quota, samples: tuple[Sample, ...], now: datetime) -> str:
    """One line on an allowance that runs out."""
    left = f"{quota.remaining or 0:g} of {quota.limit:g}"
    text = f"{quota.provider}: {left} left ({quota.window})"
    if (end := pace.runs_out_at(quota, samples)) and end > now:
        text += f"; at this pace it runs out at {_clock(end, now)}"
    if quota.renews_at and quota.renews_at > now:
        text += f"; it renews at {_clock(quota.renews_at, now)}"
    return text + "."


def _clock(when: datetime, now: datetime) -> str:
    form = "%H:%M" if abs((when - now).total_seconds()) < 20 * 3600 else "%Y-%m-%d %H:%M"
    return when.astimezone().strftime(form)


def row(watched: Watched) -> dict[str, Any]:
    """One allowance, as ``status --json`` has it."""
    quota = watched.quota
    end = pace.runs_out_at(quota, watched.samples)
    return {
        "provider": quota.provider,
        "window": quota.window,
        "limit": quota.limit,
        "used": quota.used,
        "remaining": quota.remaining,
        "renews_at": stamp(quota.renews_at) if quota.renews_at else None,
        "runs_out_at": stamp(end) if end else None,
        "checked_at": stamp(watched.at),
    }


@dataclass
class QuotaWatcher:
    """Looks, remembers and warns.

    Attributes:
        path: where what is known outlives the supervisor.
        ask: what is left now; free of charge.
        interval: seconds between looks; 0 is never.
        journal, tell: hear of a warning.
        clock: the wall clock.
    """

    path: Path
    ask: Callable[[], Awaitable[tuple[Quota, ...]]]
    interval: float
    journal: Journal
    tell: Reporter
    clock: Callable[[], datetime] = utc_now
    _known: dict[str, Watched] = field(default_factory=dict)
    _heard: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = known(self.path)

    def rows(self, providers: Collection[str]) -> list[dict[str, Any]]:
        """What is known of these providers since yesterday, the tightest allowance first."""
        now = self.clock()
        current = (
            watched
            for watched in self._known.values()
            if watched.quota.provider in providers
            and abs((now - watched.at).total_seconds()) < _SHOWN
        )
        return [row(watched) for watched in sorted(current, key=_part_left)]

    def take(self, quotas: Iterable[Quota]) -> None:
        """Allowances as a provider tells them now."""
        now = self.clock()
        for quota in quotas:
            key = _key(quota)
            self._known[key], due = look(self._known.get(key), quota, now)
            if due:
                self._warn(self._known[key], now)
        self._known = {
            key: watched
            for key, watched in self._known.items()
            if abs((now - watched.at).total_seconds()) < _KEEP
        }
        with contextlib.suppress(OSError):
            write_atomic(self.path, msgspec.json.encode(self._known))

    def told(self, provider: str, headers: Mapping[str, str]) -> None:
        """Rate limits as the headers of an answer to a client have them (lower-case names)."""
        now = self.clock()
        heard = self._heard.get(provider)
        if heard is not None and abs((now - heard).total_seconds()) < _LISTEN:
            return
        if quotas := quotas_in_headers(provider, headers, now):
            self._heard[provider] = now
            self.take(quotas)

    def _warn(self, watched: Watched, now: datetime) -> None:
        text = warning(watched.quota, watched.samples, now)
        todo = "Slow down or top up, or the fallback takes over."
        self.journal.write("quota", text=text, todo=todo, **row(watched))
        self.tell("quota", text, todo, True)

    async def run(self) -> None:
        """Look for ever; one look that fails is followed by the next."""
        while self.interval:
            await asyncio.sleep(self.interval)
            with contextlib.suppress(SynccrError):  # the environment's proxy, for one
                if quotas := await self.ask():
                    self.take(quotas)


def known(path: Path) -> dict[str, Watched]:
    """What is remembered; nothing when that is missing, damaged or not what we wrote."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Watched])
    except (OSError, msgspec.DecodeError, RecursionError):
        return {}
    times = (t for w in found.values() for t in (w.at, w.quota.renews_at))
    return {} if any(t is not None and t.tzinfo is None for t in times) else found


def rows_now(path: Path, quotas: Iterable[Quota], now: datetime) -> list[dict[str, Any]]:
    """Allowances as told now, with the pace that a supervisor has seen; keeps nothing."""
    before = known(path)
    looked = [look(before.get(_key(quota)), quota, now)[0] for quota in quotas]
    return [row(watched) for watched in sorted(looked, key=_part_left)]


def _key(quota: Quota) -> str:
    return f"{quota.provider}\0{quota.window}"


def _part_left(watched: Watched) -> float:
    quota = watched.quota
    return 1.0 if not quota.limit or quota.remaining is None else quota.remaining / quota.limit
