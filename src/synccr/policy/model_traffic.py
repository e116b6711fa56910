"""What the requests that the egress sees tell of one model's health."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from synccr.judge.outcome import Trouble
from synccr.models.report import TRANSIENT, Report, Status
from synccr.models.shape import Shape
from synccr.policy import model_health as h
from synccr.policy import outcomes as o
from synccr.policy.availability import Availability, Breaker
from synccr.policy.events import Now
from synccr.policy.model_health import Health, Trial
from synccr.settings import Settings


def request_failed(
    health: Health | None,
    report: Report,
    trouble: Trouble,
    turn: int,
    now: Now,
    settings: Settings,
    *,
    counts: bool,
    passed: bool = False,
    shape: Shape | None = None,
) -> Health:
    """The egress saw a passing trouble.

    Args:
        counts: another model served the same turn, so that it is evidence.
        passed: the answer broke off when the client had some of it, which is evidence, too.
    """
    counts = counts or passed
    if health is None:
        health = Health(msgspec.structs.replace(report, status=Status.UNVERIFIED))
    if health.availability is Availability.RETURNING and counts:
        return _of_traffic(h.gone(health, report, now, settings), shape)
    if health.unavailable:
        return health
    outcomes = o.failed(health.outcomes, trouble, turn, now.mono, counts=counts, passed=passed)
    if counts and o.persists(outcomes, settings.trouble_count):
        return _of_traffic(h.gone(health, report, now, settings), shape)
    calm = h.calm_of(health, report, now, settings)
    health = replace(health, outcomes=outcomes, judged=True, calm_until=calm)
    rest_until = now.mono + _rest(report, now)
    return replace(health, rest=report, rest_until=rest_until, shape=shape or health.shape)


def _rest(report: Report, now: Now) -> float:
    """Seconds for which a model is left alone after one passing trouble."""
    if report.retry_at is None:
        return h.REST
    return min(max((report.retry_at - now.wall).total_seconds(), h.REST), h.LONGEST_REST)


def request_refused(
    health: Health | None, report: Report, now: Now, settings: Settings, shape: Shape | None
) -> Health:
    """The egress saw a fatal status."""
    after = h.seen_failing(health, report, now, settings)
    news = health is None or health.breaker is not Breaker.OPEN
    return replace(after, judged=True, shape=shape or after.shape if news else after.shape)


def _of_traffic(health: Health, shape: Shape | None) -> Health:
    return replace(health, judged=True, needs_trial=True, shape=shape or health.shape)


def request_served(health: Health, session: str, now: Now, settings: Settings) -> Health:
    """The egress saw a request go well that was sent after the latest failure."""
    outcomes = o.served(health.outcomes, now.mono)
    health = replace(health, judged=True, served_at=now.mono)
    if not health.unavailable:
        calm = replace(
            health, failure_times=(), probe_at=None, doubted_until=None, outcomes=outcomes
        )
        return replace(calm, rest=None)
    if health.report.status in TRANSIENT and not health.needs_trial:
        return h.back(health, well(health.report, now), now)
    served = 1 + (health.trial.served if health.trial else 0)
    if served >= h.TRIAL_SUCCESSES:
        return h.back(health, well(health.report, now), now)
    being_asked = health.probe_at is None
    return replace(
        health,
        probe_at=None if being_asked else now.mono + settings.recovery_interval,
        confirmed=max(1, health.confirmed),
        half_open_at=health.half_open_at or now.mono,
        trial=Trial(health.trial.session if health.trial else session, now.mono, served),
    )


def trial_started(health: Health, session: str, now: Now) -> Health:
    """A session begins to try this model, or takes the place of one that went silent."""
    if health.availability is not Availability.RETURNING or not health.may_be_tried_by(
        session, now.mono
    ):
        return health
    served = health.trial.served if health.trial else 0
    return replace(health, trial=Trial(session, now.mono, served))


def well(report: Report, now: Now) -> Report:
    """What traffic tells of a model that serves; how long an answer takes is told by probes."""
    return msgspec.structs.replace(
        report,
        status=Status.OK,
        http_status=200,
        checked_at=now.wall,
        detail="",
        account=False,
        retry_at=None,
        from_traffic=True,
    )
