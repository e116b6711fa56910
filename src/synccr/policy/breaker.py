"""The circuit breaker of a model: a view of its health that answers at once.

``closed``: it is asked. ``open``: it is not asked, and the last verdict is the answer.
``half_open``: one session tries it. Where no candidate is any better, a model is asked all the
same: a topped-up account or a returned network is seen by the next request.
"""

from __future__ import annotations

from dataclasses import dataclass

from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Report, Status
from synccr.policy.availability import Breaker
from synccr.policy.route_plan import NOTHING, Candidate, Need
from synccr.policy.state import PolicyState

__all__ = ["Breaker", "Permit", "allows", "breaker_of", "trial_for"]


@dataclass(frozen=True)
class Permit:
    """Whether a model may be asked.

    Attributes:
        allowed: it may.
        trial: the session becomes the one that tries it: post ``TrialStarted``.
        refused: ``KNOWN`` or ``TRIAL`` when it may not be asked.
        report: the last verdict, when it may not be asked.
    """

    allowed: bool
    trial: bool = False
    refused: Trouble | None = None
    report: Report | None = None

    @property
    def http_status(self) -> int:
        """What CCR is answered in the model's place."""
        status = self.report.http_status if self.report else None
        if status is not None and 400 <= status < 600:
            return status
        return 504 if self.report and self.report.status is Status.TIMEOUT else 502


def breaker_of(state: PolicyState, ref: ModelRef) -> Breaker:
    """A model's breaker; closed for one of which nothing is known."""
    health = state.health.get(ref)
    return health.breaker if health else Breaker.CLOSED


def allows(
    state: PolicyState, ref: ModelRef, *, session: str, now: float, again: bool = False
) -> Permit:
    """Whether a request of this session may be sent to this model.

    Args:
        session: empty when the client names none.
        now: monotonic seconds.
        again: this very request was refused here before, and nobody else is left.
    """
    health = state.health.get(ref)
    if health is None or health.breaker is Breaker.CLOSED:
        if health and not again and health.resting(now) and _others_serve(state, ref, now):
            return Permit(allowed=False, refused=Trouble.KNOWN, report=health.rest)
        return Permit(allowed=True)
    half_open = health.breaker is Breaker.HALF_OPEN
    if half_open and health.may_be_tried_by(session, now):
        mine = health.trial is not None and health.trial.session == session
        return Permit(allowed=True, trial=not mine)
    if health.breaker is state.route_plan.asked(ref):
        return Permit(allowed=True)  # no other's breaker is closed either
    refused = Trouble.TRIAL if half_open else Trouble.KNOWN
    return Permit(allowed=False, refused=refused, report=health.report)


def _others_serve(state: PolicyState, ref: ModelRef, now: float) -> bool:
    """Whether a request that is refused here is sent to another model."""
    plan = state.route_plan
    routes = (plan.scenario_of(ref), "named")
    if any(state.settings.on_trouble_of(route) != "move" for route in routes):
        return False
    others = (one for one in plan.of(ref) if one.ref not in plan.floor | {ref})
    return any(one.breaker is Breaker.CLOSED and not rests(state, one.ref, now) for one in others)


def rests(state: PolicyState, ref: ModelRef, now: float) -> bool:
    """Whether a model is left alone for a moment, after a failure that may have been chance."""
    health = state.health.get(ref)
    return health is not None and health.resting(now)


def trial_for(
    state: PolicyState, asked: ModelRef, session: str, now: float, need: Need = NOTHING
) -> ModelRef | None:
    """The half-open model that a request of this session is to try, in place of the one that
    its route leads to; None when there is none.

    Only for requests that a route leads: one that names a model is asked of that model.

    Args:
        asked: where the route leads.
        now: monotonic seconds.
        need: what the request needs of a model.
    """
    candidates = state.route_plan.of(asked)
    rank = next((one.rank for one in candidates if one.ref == asked), len(candidates))
    better = [
        one
        for one in candidates
        if one.rank < rank and one.fits(need) and _on_trial(state, one, session, now)
    ]
    return min(better, key=lambda one: one.rank).ref if better else None


def _on_trial(state: PolicyState, one: Candidate, session: str, now: float) -> bool:
    health = state.health.get(one.ref)
    return (
        health is not None
        and one.breaker is Breaker.HALF_OPEN
        and health.may_be_tried_by(session, now)
    )
