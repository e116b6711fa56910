"""What is known of one model over time: is it available, unavailable, or returning?

A model becomes unavailable at once on a fatal status and, on a passing trouble, when
that persists. It returns after two good probes in a row; when its traffic failed
while probes passed, one session has to try it first. ``MODEL_TRANSITIONS`` in
``availability.py`` says it all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from synccr.models.report import SERVING, TRANSIENT, ModelRef, Report, Status
from synccr.models.shape import Shape
from synccr.policy.availability import BREAKERS, Availability, Breaker
from synccr.policy.events import Now
from synccr.policy.outcomes import Outcomes
from synccr.settings import Settings

CONFIRMATIONS = 2
"""Good probes in a row after which an unavailable model is trusted again."""

STEADY = 2.0
"""A model that stayed available this many times the pause it would get has stopped flapping."""

TRIAL_SUCCESSES = 5
"""Requests of the session that tries a model, after which it is trusted again."""
TRIAL_PATIENCE = 1800.0
"""Seconds that a model waits for a session to try it; then a good probe is enough."""
TRIAL_SILENCE = 120.0
"""Seconds without a request after which another session may try in this one's place."""
REST = 15.0
"""Seconds for which a model that failed a request is not asked, where another one serves."""
LONGEST_REST = 60.0
"""Seconds, when it named a later time itself."""
JUST_SERVED = 60.0
"""Seconds for which a model that has served a request is in no doubt."""

_FIRST_LOOK = 1.0
"""Seconds after which a cap that traffic found spent is asked when it renews."""
_RENEWAL_SLACK = 2.0
_DOUBT = 5.0
"""Seconds that a swap waits for a model in doubt to answer."""
_MAX_DOUBLINGS = 32
_LONGEST_WAIT = 24 * 3600.0
"""A provider that names a later time than this is asked all the same, seconds."""


def new_report(ref: ModelRef, now: Now) -> Report:
    """Of a model of which nothing is known yet."""
    return Report(
        provider=ref.provider, model=ref.model, status=Status.UNVERIFIED, checked_at=now.wall
    )


@dataclass(frozen=True)
class Trial:
    """One session tries a model that is half-open.

    Attributes:
        session: which one.
        at: when it was last heard of, monotonic seconds.
        served: its requests that went well.
    """

    session: str
    at: float
    served: int = 0


@dataclass(frozen=True)
class Health:
    """One model's state. Times are monotonic seconds.

    Attributes:
        report: the latest that counts; the trouble while the model is unavailable.
        failure_times: of recent passing troubles while it is available.
        unavailable_since: None while it is available.
        confirmed: good probes in a row while it is unavailable.
        failures: probes that failed in a row in this absence.
        flaps: absences in a row with only short returns between them; one that comes
            and goes is asked ever more rarely.
        back_since: when it last came back.
        probe_at: when to ask again; None while nobody has a reason to, or it is being asked.
        alarms: suspicions in a row that a probe did not confirm.
        calm_until: until when a further suspicion is not looked at.
        seen_at: when the latest fact came about; older ones tell nothing new.
        failed_at: when the latest failure came about; a request sent before disproves nothing.
        judged: the egress sees its requests, so that the log is only the second witness.
        outcomes: how its latest requests went.
        served_at: when one last went well.
        doubted_until: until when no route is led here, as another model of its account is in
            trouble and this one is being asked.
        needs_trial: its traffic made it unavailable, and no probe has shown the trouble since.
        shape: of a request that it failed.
        half_open_at: when it first answered well in this absence.
        trial: the session that tries it.
        rest, rest_until: the passing trouble in which it last failed a request, and until when
            requests go elsewhere for it.
    """

    report: Report
    failure_times: tuple[float, ...] = ()
    unavailable_since: float | None = None
    confirmed: int = 0
    failures: int = 0
    flaps: int = 0
    back_since: float | None = None
    probe_at: float | None = None
    alarms: int = 0
    calm_until: float | None = None
    seen_at: float = 0.0
    failed_at: float = 0.0
    judged: bool = False
    outcomes: Outcomes = ()
    served_at: float | None = None
    doubted_until: float | None = None
    needs_trial: bool = False
    shape: Shape | None = None
    half_open_at: float | None = None
    trial: Trial | None = None
    rest: Report | None = None
    rest_until: float = 0.0

    @property
    def unavailable(self) -> bool:
        """Whether no route should lead here."""
        return self.unavailable_since is not None

    @property
    def availability(self) -> Availability:
        """Whether routes may lead here."""
        if not self.unavailable:
            return Availability.AVAILABLE
        return Availability.RETURNING if self.confirmed else Availability.UNAVAILABLE

    @property
    def breaker(self) -> Breaker:
        """Whether its requests are sent."""
        return BREAKERS[self.availability]

    def resting(self, now: float) -> bool:
        """Whether it failed a request just now, so that the next ones go elsewhere."""
        return self.rest is not None and now < self.rest_until

    def just_served(self, now: float) -> bool:
        """Whether a request went well within the last minute."""
        return self.served_at is not None and now - self.served_at <= JUST_SERVED

    def may_be_tried_by(self, session: str, now: float) -> bool:
        """Whether this session is the one that tries it, or may become it."""
        trial = self.trial
        return trial is None or trial.session == session or now - trial.at > TRIAL_SILENCE


def seen_failing(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """A running CCR reported a trouble of this model."""
    if health is not None and health.unavailable:
        return _still_unavailable(health, report, now, settings)
    if report.status in TRANSIENT:
        return _in_trouble(health, report, now, settings)
    after = gone(health, report, now, settings)
    if report.status is Status.QUOTA and report.retry_at is None and not after.flaps:
        # CCR's log has no headers; a probe sees them, and what the provider tells of its quotas.
        return replace(after, probe_at=now.mono + _FIRST_LOOK)
    return after


def _in_trouble(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """A passing trouble of an available model: it counts, and ends that when it persists."""
    if health is None:
        health = Health(msgspec.structs.replace(report, status=Status.UNVERIFIED))
    since = now.mono - settings.trouble_window
    times = (*(t for t in health.failure_times if t > since), now.mono)
    if len(times) >= settings.trouble_count:
        return gone(health, report, now, settings)
    return replace(health, failure_times=times, calm_until=calm_of(health, report, now, settings))


def calm_of(health: Health, report: Report, now: Now, settings: Settings) -> float | None:
    """A provider that says when to ask again is not asked before, but for a suspicion
    not later than ``recovery_interval``."""
    if report.retry_at is None:
        return health.calm_until
    wait = (report.retry_at - now.wall).total_seconds()
    named = now.mono + min(max(wait, 0.0), settings.recovery_interval)
    return max(named, health.calm_until or named)


def _still_unavailable(health: Health, report: Report, now: Now, settings: Settings) -> Health:
    """Traffic runs into an unavailable model. However often it does, the next probe
    comes no later for it: what counts as failed are probes, not requests."""
    if report.status in TRANSIENT:
        return health
    if health.confirmed:
        return gone(health, report, now, settings)
    if report.status is health.report.status:
        return health
    at = now.mono + _pause(report, health.failures, health.flaps, now, settings)
    return replace(
        health, report=report, probe_at=at if health.probe_at is None else min(at, health.probe_at)
    )


def doubted(health: Health, now: Now) -> Health:
    """Another model speaks of the account that this one shares: no route is led here before
    it was asked, unless the answer takes long. One that has just served is in no doubt."""
    after = suspected(health, now)
    if after.doubted_until is not None or after.probe_at is None or after.probe_at > now.mono:
        return after
    return after if after.unavailable else replace(after, doubted_until=now.mono + _DOUBT)


def suspected(health: Health, now: Now) -> Health:
    """Something failed and this model may be why: ask it, unless that was done just now, or
    it has just served."""
    if health.unavailable or health.probe_at is not None or health.just_served(now.mono):
        return health
    calm = now.mono if health.calm_until is None else health.calm_until
    return replace(health, probe_at=max(now.mono, calm))


def probed(
    health: Health | None,
    report: Report,
    now: Now,
    settings: Settings,
    confirmations: int = CONFIRMATIONS,
    *,
    traffic: bool = False,
) -> Health:
    """A probe (with its own retries) has asked this model.

    Args:
        confirmations: good probes that are enough.
        traffic: there are sessions that could try it.
    """
    report = _completed(report, health)
    if report.status not in SERVING:
        return gone(health, report, now, settings)
    if health is None:
        return Health(report)
    if not health.unavailable:
        return _reassured(health, report, now, settings)
    confirmed = health.confirmed + 1
    since = now.mono if health.half_open_at is None else health.half_open_at
    to_be_tried = health.needs_trial and traffic and now.mono - since < TRIAL_PATIENCE
    enough = confirmed >= confirmations
    if enough and (confirmations < CONFIRMATIONS or not to_be_tried):
        return back(health, report, now)
    pause = settings.recovery_interval if enough else min(30.0, settings.recovery_interval / 10)
    return replace(health, confirmed=confirmed, half_open_at=since, probe_at=now.mono + pause)


def back(health: Health, report: Report, now: Now) -> Health:
    """An unavailable model is available again."""
    return Health(
        report,
        flaps=health.flaps,
        back_since=now.mono,
        seen_at=health.seen_at,
        failed_at=health.failed_at,
        judged=health.judged,
        served_at=health.served_at,
    )


def unanswered(health: Health, now: Now, settings: Settings) -> Health:
    """A probe was never answered. It says nothing of the model; the next one comes later."""
    failures = health.failures + 1
    pause = _interval(failures + health.flaps, settings)
    return replace(health, failures=failures, probe_at=now.mono + pause)


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
        health,
        report=report,
        failure_times=(),
        probe_at=None,
        alarms=alarms,
        calm_until=now.mono + calm,
        doubted_until=None,
        shape=None,
    )


def gone(health: Health | None, report: Report, now: Now, settings: Settings) -> Health:
    """The model is unavailable (again): when will it be asked next?"""
    if health is None:
        failures = flaps = 0
    elif health.unavailable:
        failures, flaps = health.failures + 1, health.flaps
    else:
        failures, flaps = 0, _flaps(health, now, settings)
    unavailable_since = (
        health.unavailable_since if health and health.unavailable_since is not None else now.mono
    )
    return Health(
        report,
        unavailable_since=unavailable_since,
        failures=failures,
        flaps=flaps,
        probe_at=now.mono + _pause(report, failures, flaps, now, settings),
        failed_at=now.mono,
        judged=health is not None and health.judged,
        shape=health.shape if health else None,
    )


def _flaps(health: Health, now: Now, settings: Settings) -> int:
    """Absences in a row, this one included, when it was back for a short time only."""
    if health.back_since is None:
        return 0
    steady = STEADY * _interval(health.flaps, settings)
    return 0 if now.mono - health.back_since >= steady else health.flaps + 1


def _interval(doublings: int, settings: Settings) -> float:
    longest = max(settings.recovery_interval_max, settings.recovery_interval)
    return min(longest, settings.recovery_interval * 2.0 ** min(doublings, _MAX_DOUBLINGS))


def _pause(report: Report, failures: int, flaps: int, now: Now, settings: Settings) -> float:
    """Seconds until the next probe: doubling, or when the provider said.

    A spent cap is asked at its renewal, and at the longest interval before
    that, since a person may have topped up; a ``Retry-After`` is never undercut.
    """
    longest = max(settings.recovery_interval_max, settings.recovery_interval)
    pause = _interval(failures + flaps, settings)
    if report.retry_at is None:
        return pause
    wait = (report.retry_at - now.wall).total_seconds() + _RENEWAL_SLACK
    if report.status is not Status.QUOTA:
        return min(max(pause, wait), _LONGEST_WAIT)
    if failures + flaps == 0:
        return min(longest, max(wait, _RENEWAL_SLACK))
    # A time that has passed, or is always a moment ahead, is no reason to ask all the time.
    return min(longest, max(wait, settings.recovery_interval)) if wait > _RENEWAL_SLACK else pause
