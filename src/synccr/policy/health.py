"""What is known of one model over time: is it here, away, or on its way back?

A model goes *away* at once on a dead status and, on a passing trouble, when
that persists. It comes back after two good probes in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from synccr.policy.events import Now
from synccr.report import SERVING, TRANSIENT, Report, Status
from synccr.settings import Settings

CONFIRMATIONS = 2
"""Good probes in a row after which a model that was away is trusted again."""

_RENEWAL_SLACK = 2.0
_MAX_DOUBLINGS = 32


@dataclass(frozen=True)
class Health:
    """One model's state. Times are monotonic seconds.

    Attributes:
        report: the latest that counts; the trouble while the model is away.
        marks: recent passing troubles while it is here.
        away_since: None while it is here.
        confirmed: good probes in a row while it is away.
        failures: probes failed in a row, remembered over a short return, so
            that one that comes and goes is asked ever more rarely.
        back_since: when it last came back.
        probe_at: when to ask again while it is away.
    """

    report: Report
    marks: tuple[float, ...] = ()
    away_since: float | None = None
    confirmed: int = 0
    failures: int = 0
    back_since: float | None = None
    probe_at: float | None = None

    @property
    def away(self) -> bool:
        """Whether no route should lead here."""
        return self.away_since is not None


def seen_failing(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """A running CCR reported a trouble of this model."""
    if health is not None and health.away and report.status in TRANSIENT:
        return health
    if report.status not in TRANSIENT:
        return gone(health, report, now, settings)
    since = now.mono - settings.trouble_window
    earlier = health.marks if health else ()
    marks = (*(m for m in earlier if m > since), now.mono)
    if len(marks) >= settings.trouble_count:
        return gone(health, report, now, settings)
    if health is None:
        return Health(msgspec.structs.replace(report, status=Status.UNVERIFIED), marks=marks)
    return replace(health, marks=marks)


def probed(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """A probe (with its own retries) has asked this model."""
    if report.status not in SERVING:
        return gone(health, report, now, settings)
    if health is None:
        return Health(report)
    if not health.away:
        return replace(health, report=report, marks=())
    confirmed = health.confirmed + 1
    if confirmed >= CONFIRMATIONS:
        return Health(report, failures=health.failures, back_since=now.mono)
    return replace(
        health, confirmed=confirmed, probe_at=now.mono + min(30.0, settings.recovery_interval / 10)
    )


def gone(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """The model is away (again): when will it be asked next?"""
    steady = (
        health is not None
        and not health.away
        and (
            health.back_since is None
            or now.mono - health.back_since > settings.recovery_interval_max
        )
    )
    failures = 0 if health is None or steady else health.failures + 1
    away_since = health.away_since if health and health.away_since is not None else now.mono
    return Health(
        report,
        away_since=away_since,
        failures=failures,
        probe_at=now.mono + _pause(report, failures, now, settings),
    )


def _pause(report: Report, failures: int, now: Now, settings: Settings) -> float:
    """Seconds until the next probe: doubling, or when the provider said.

    A spent cap is asked at its renewal, and at the longest interval before
    that, since a person may have topped up; a ``Retry-After`` is never undercut.
    """
    longest = max(settings.recovery_interval_max, settings.recovery_interval)
    pause = min(longest, settings.recovery_interval * 2.0 ** min(failures, _MAX_DOUBLINGS))
    if report.retry_at is None:
        return pause
    wait = (report.retry_at - now.wall).total_seconds() + _RENEWAL_SLACK
    if report.status is Status.QUOTA:
        return min(longest, max(wait, _RENEWAL_SLACK))
    return min(max(pause, wait), 24 * 3600.0)
