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
_LONGEST_WAIT = 24 * 3600.0
"""A provider that names a later time than this is asked all the same, seconds."""


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
        probe_at: when to ask again; None while nobody has a reason to, or it is being asked.
        alarms: suspicions in a row that a probe did not confirm.
        calm_until: until when a further suspicion is not looked at.
    """

    report: Report
    marks: tuple[float, ...] = ()
    away_since: float | None = None
    confirmed: int = 0
    failures: int = 0
    back_since: float | None = None
    probe_at: float | None = None
    alarms: int = 0
    calm_until: float | None = None

    @property
    def away(self) -> bool:
        """Whether no route should lead here."""
        return self.away_since is not None


def seen_failing(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """A running CCR reported a trouble of this model."""
    if health is not None and health.away:
        return _still_away(health, report, now, settings)
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


def _still_away(health: Health, report: Report, now: Now, settings: Settings) -> Health:
    """Traffic runs into a model that is away. However often it does, the next probe
    comes no later for it: what counts as failed are probes, not requests."""
    if report.status in TRANSIENT:
        return health
    if health.confirmed:
        return gone(health, report, now, settings)
    if report.status is health.report.status:
        return health
    at = now.mono + _pause(report, health.failures, now, settings)
    return replace(
        health, report=report, probe_at=at if health.probe_at is None else min(at, health.probe_at)
    )


def suspected(health: Health, now: Now) -> Health:
    """Something failed and this model may be why: ask it, unless that was done just now."""
    if health.away or health.probe_at is not None:
        return health
    calm = now.mono if health.calm_until is None else health.calm_until
    return replace(health, probe_at=max(now.mono, calm))


def probed(
    health: Health | None,
    report: Report,
    now: Now,
    settings: Settings,
    confirmations: int = CONFIRMATIONS,
) -> Health:
    """A probe (with its own retries) has asked this model."""
    report = _completed(report, health)
    if report.status not in SERVING:
        return gone(health, report, now, settings)
    if health is None:
        return Health(report)
    if not health.away:
        return _reassured(health, report, now, settings)
    confirmed = health.confirmed + 1
    if confirmed >= confirmations:
        return Health(report, failures=health.failures, back_since=now.mono)
    return replace(
        health, confirmed=confirmed, probe_at=now.mono + min(30.0, settings.recovery_interval / 10)
    )


def _completed(report: Report, health: Health | None) -> Report:
    """What a probe could not tell this time is as it was, so that routes do not move for it."""
    if health is None:
        return report
    known = health.report
    return msgspec.structs.replace(
        report,
        tools=known.tools if report.tools is None else report.tools,
        context_length=report.context_length or known.context_length,
    )


def _reassured(health: Health, report: Report, now: Now, settings: Settings) -> Health:
    """A false alarm. The more of them, the longer until the next one is looked at."""
    forgotten = (
        health.calm_until is None or now.mono - health.calm_until > settings.recovery_interval_max
    )
    alarms = 0 if forgotten else min(health.alarms + 1, _MAX_DOUBLINGS)
    calm = min(settings.recovery_interval, settings.trouble_window * 2.0**alarms)
    return replace(
        health, report=report, marks=(), probe_at=None, alarms=alarms, calm_until=now.mono + calm
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
    if report.status is not Status.QUOTA:
        return min(max(pause, wait), _LONGEST_WAIT)
    if failures == 0:
        return min(longest, max(wait, _RENEWAL_SLACK))
    # A time that has passed, or is always a moment ahead, is no reason to ask all the time.
    return min(longest, max(wait, settings.recovery_interval)) if wait > _RENEWAL_SLACK else pause
