"""What the egress sees of traffic: observed, and told apart from the log's second word of it."""

from __future__ import annotations

from dataclasses import replace

from synccr.classify import Confidence, Scope, Verdict, classify
from synccr.clock import LATE, Now
from synccr.judge.outcome import Trouble
from synccr.models.report import FATAL, SERVING, ModelRef, Status
from synccr.policy import events as e
from synccr.policy import model_health as h
from synccr.policy import model_traffic
from synccr.policy import outcomes as o
from synccr.policy.model_health import Health
from synccr.policy.state import Phase, PolicyState, Step
from synccr.policy.trouble import doubt_account, observe_return, observe_trouble, report_of, suspect

_ATTEMPTS = 64
"""Kinds of failed attempts that are remembered for the log."""
_HEARTBEAT = 20.0
"""Seconds after which a model that serves without any trouble is heard of again."""
_IDLE = 60.0
"""Seconds without a request, or ``recovery_interval`` when that is shorter, after which none is
waited for."""
_STATUS_OF = {
    Trouble.PAGE: Status.OVERLOADED,
    Trouble.EMPTY: Status.OVERLOADED,
    Trouble.CUT: Status.OVERLOADED,
    Trouble.SILENT: Status.TIMEOUT,
    Trouble.UNREACHABLE: Status.UNREACHABLE,
}


def verdict_of(event: e.AttemptFailed) -> Verdict:
    """What a failed attempt means; words count only where the provider said them."""
    status = _STATUS_OF.get(event.trouble)
    if status is None:
        return classify(event.http_status, event.body, event.headers, now=event.at)
    unreachable = event.trouble is Trouble.UNREACHABLE
    scope = Scope.PROVIDER if unreachable else Scope.MODEL
    return Verdict(status, scope, Confidence.CERTAIN, detail=_DETAILS[event.trouble])


_DETAILS = {
    Trouble.PAGE: "answered with a page in place of an answer",
    Trouble.EMPTY: "answered without any content",
    Trouble.CUT: "broke off in the middle of an answer",
    Trouble.SILENT: "sent nothing for too long",
    Trouble.UNREACHABLE: "no connection",
}


def attempt_failed(step: Step, event: e.AttemptFailed) -> None:
    """The model that failed is taken at its word where the status alone is fatal. A
    passing trouble counts when another model served the same turn; in doubt it is asked."""
    if event.trouble in (Trouble.KNOWN, Trouble.TRIAL):
        return
    _remember(step, event)
    verdict, ref = verdict_of(event), event.ref
    if verdict.scope is Scope.REQUEST or verdict.status in SERVING:
        return
    if ref in step.state.models:
        _one_failed(step, event, verdict)
    if verdict.scope is Scope.KEY:
        doubt_account(step, ref.provider, [ref])


def _one_failed(step: Step, event: e.AttemptFailed, verdict: Verdict) -> None:
    ref, when = event.ref, step.now.mono_of(event.at)
    known, settings = step.state.health.get(ref), step.state.settings
    if known and when < known.seen_at:
        return
    report = report_of(ref, event, verdict, known)
    if verdict.status not in FATAL:
        counts = event.elsewhere is True
        after = model_traffic.request_failed(
            *(known, report, event.trouble, event.turn, step.now, settings),
            counts=counts,
            passed=event.passed,
            shape=event.shape,
        )
        observe_trouble(
            step, ref, after if known and known.unavailable else replace(after, seen_at=when)
        )
        cut = event.trouble is Trouble.CUT and event.passed  # or is it how its streams end?
        unexplained = o.unexplained(after.outcomes, settings.trouble_count)
        if cut or event.elsewhere is False or unexplained:
            suspect(step, [ref])
    elif verdict.confidence is Confidence.LIKELY:
        suspect(step, [ref])
    else:
        after = model_traffic.request_refused(known, report, step.now, settings, event.shape)
        observe_trouble(step, ref, replace(after, seen_at=when))


def attempt_served(step: Step, event: e.AttemptServed) -> None:
    """A model that serves a request serves, unless it was sent before the latest trouble."""
    step.set(traffic_at=step.now.mono)
    ref, sent = event.ref, step.now.mono_of(event.at)
    known = step.state.health.get(ref)
    if known is None and ref in step.state.models:
        known = Health(h.new_report(ref, step.now))
    if known is None or (known.unavailable and sent < known.failed_at):
        return
    after = model_traffic.request_served(known, event.session, step.now, step.state.settings)
    step.set_health(ref, after)
    step.set(suspects=step.state.suspects - {ref})
    if known.unavailable and not after.unavailable:
        observe_return(step, ref, known)


def trial_started(step: Step, event: e.TrialStarted) -> None:
    """One session begins to try a model."""
    known = step.state.health.get(event.ref)
    if known:
        step.set_health(event.ref, model_traffic.trial_started(known, event.session, step.now))


def wants(state: PolicyState, ref: ModelRef, now: float) -> bool:
    """Whether it is news that this model served a request. Cheap: asked for each one.

    Args:
        now: monotonic seconds.
    """
    health = state.health.get(ref)
    if health is None:
        return ref in state.models
    lately = health.served_at is not None and now - health.served_at < _HEARTBEAT
    return (
        not lately
        or health.unavailable
        or bool(health.failure_times)
        or health.probe_at is not None
        or o.troubled(health.outcomes)
        or state.phase is Phase.EXHAUSTED
    )


def busy(state: PolicyState, now: float) -> bool:
    """Whether there is traffic, so that a session can be expected to try a model."""
    return state.traffic_at is not None and now - state.traffic_at < min(
        _IDLE, state.settings.recovery_interval
    )


def _remember(step: Step, event: e.AttemptFailed) -> None:
    now = step.now.mono
    known = {key: at for key, at in step.state.attempted.items() if at > now - LATE}
    known.pop((event.ref, event.http_status), None)
    recent = list(known.items())[1 - _ATTEMPTS :]
    attempted = dict([*recent, ((event.ref, event.http_status), now)])
    step.set(attempted=attempted, traffic_at=now)


def failed_lately(state: PolicyState, now: Now) -> bool:
    """Whether the egress saw some failure that a line of the log can be about."""
    return any(at > now.mono - LATE for at in state.attempted.values())


def reported_before(state: PolicyState, event: e.ProviderFailed, now: Now) -> bool:
    """Whether the egress has told the same failure: one of that model (or, when the line names
    none, of that provider) with that status. Of a model that it keeps from being asked, lines
    tell only what it answered itself."""
    if event.model is not None:
        health = state.health.get(ModelRef(event.provider, event.model))
        if health and health.judged and health.unavailable:
            return True
    return any(
        ref.provider == event.provider
        and event.model in (None, ref.model)
        and http == event.http_status
        and at > now.mono - LATE
        for (ref, http), at in state.attempted.items()
    )
