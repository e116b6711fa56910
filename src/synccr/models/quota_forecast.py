"""How long an allowance lasts at the recent pace. Pure.

Samples are (time, used). An allowance that renews makes ``used`` fall; what was before
the fall tells nothing about the pace after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from synccr.models.report import RATE, ROLLING, Quota

RECENT = 3600.0
"""Seconds that count as recent."""
MOST = 120
"""Samples kept of one allowance."""
NEARLY = 0.9
"""The part of an allowance at which it is nearly spent, whatever the pace."""
HALF = 0.5
"""Below this part nobody is warned, whatever the pace: a busy first minute proves nothing."""
_UNKNOWN_RENEWAL = 6 * 3600.0
"""How far to look ahead when nobody says when an allowance renews, seconds."""
_FURTHEST = 400 * 86400.0
_MINUTES = 600.0
"""Nobody is warned of an allowance that renews within this, seconds: waiting is all it takes."""


class Sample(NamedTuple):
    """What was used at one time.

    Attributes:
        at: seconds since the epoch.
        used: in the unit of the allowance.
    """

    at: float
    used: float


def add(samples: Sequence[Sample], new: Sample) -> tuple[Sample, ...]:
    """The samples that still matter, with the new one: since the last renewal, recent, few.

    A clock that went back makes samples of the future; they are dropped.
    """
    if not (isfinite(new.at) and isfinite(new.used)):
        return tuple(samples)
    if samples and new.used < samples[-1].used:
        return (new,)
    kept = [s for s in samples if new.at - RECENT <= s.at < new.at]
    return (*kept[-(MOST - 1) :], new)


def pace(samples: Sequence[Sample]) -> float | None:
    """Units a second over the samples; None when they span no time."""
    if len(samples) < 2 or samples[-1].at <= samples[0].at:
        return None
    rate = (samples[-1].used - samples[0].used) / (samples[-1].at - samples[0].at)
    return rate if isfinite(rate) else None


def exhaustion(samples: Sequence[Sample], limit: float) -> float | None:
    """When the limit is reached at this pace, seconds since the epoch; None when it is not
    in sight."""
    if not samples:
        return None
    last = samples[-1]
    if last.used >= limit:
        return last.at
    rate = pace(samples)
    if rate is None or rate <= 0:
        return None
    ahead = (limit - last.used) / rate
    return last.at + ahead if ahead <= _FURTHEST else None


def runs_out_at(quota: Quota, samples: Sequence[Sample]) -> datetime | None:
    """When the allowance runs out, should that be before it renews."""
    if quota.limit is None or quota.limit <= 0:
        return None
    end = exhaustion(samples, quota.limit)
    if end is None:
        return None
    renewal = quota.renews_at.timestamp() if quota.renews_at else samples[-1].at + _UNKNOWN_RENEWAL
    return datetime.fromtimestamp(end, UTC) if end < renewal else None


def warns(quota: Quota, samples: Sequence[Sample], now: datetime) -> bool:
    """Whether a person should hear of it: nearly spent, or half spent and running out
    before it renews. Not of a limit that renews within minutes."""
    if quota.limit is None or quota.used is None or quota.limit <= 0:
        return False
    if quota.window.startswith(RATE):
        return False
    part = quota.used / quota.limit
    rolling = quota.window in ROLLING
    if quota.renews_at and not rolling and (quota.renews_at - now).total_seconds() < _MINUTES:
        return False
    return part >= NEARLY or (part >= HALF and runs_out_at(quota, samples) is not None)
