"""A quota over time, as ``quota.json`` keeps it: what the supervisor watches and commands show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from synccr.journal import stamp
from synccr.models import quota_forecast as forecast
from synccr.models.quota_forecast import Sample
from synccr.models.report import Quota


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


def status_row(tracked: TrackedQuota) -> dict[str, Any]:
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
    current = [update(before.get(key_of(quota)), quota, now)[0] for quota in quotas]
    return [status_row(tracked) for tracked in sorted(current, key=part_left)]


def key_of(quota: Quota) -> str:
    """Under which name it is kept."""
    return f"{quota.provider}\0{quota.window}"


def part_left(tracked: TrackedQuota) -> float:
    """From 0 (spent) to 1; 1 too where nobody says."""
    quota = tracked.quota
    return 1.0 if not quota.limit or quota.remaining is None else quota.remaining / quota.limit
