"""Observe: what an event tells. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from synccr.classify import Scope, classify
from synccr.config.profile import Profile, Provider
from synccr.models.report import FATAL, SERVING, ModelRef, Report
from synccr.policy import events as e
from synccr.policy import model_health as h
from synccr.policy import observe_traffic
from synccr.policy.choice import digest
from synccr.policy.events import PolicyEvent
from synccr.policy.model_health import Health
from synccr.policy.state import Phase, PolicyState, Step
from synccr.policy.trouble import (
    believe,
    count_unattributed,
    doubt_account,
    observe_return,
    suspect,
    tell_unavailable,
)

CRASH_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each restart in a row; after the last one CCR is given up for
``recovery_interval``, then tried again."""
CRASH_WINDOW = 120.0
"""A backend that lives this long has stopped crashing, seconds."""


def _provider_failed(step: Step, event: e.ProviderFailed) -> None:
    """A line of the log: the second witness, where the egress sees the traffic, too. A fault
    of the request itself tells nothing."""
    verdict = classify(event.http_status, event.body, now=event.at)
    reported = observe_traffic.reported_before(step.state, event, step.now)
    if reported or verdict.scope is Scope.REQUEST or verdict.status in SERVING:
        return
    refs = _concerned(step.state, event)
    if event.model is None and len(refs) > 1:
        if verdict.status in FATAL:
            suspect(step, refs)
        else:
            count_unattributed(step, refs)
        return
    for ref in refs:
        believe(step, ref, event, verdict)
    if verdict.scope is Scope.KEY:
        doubt_account(step, event.provider, refs)


def _concerned(state: PolicyState, event: e.ProviderFailed) -> list[ModelRef]:
    """The model that an error tells about; all that it may be about when CCR names none
    (it names none of a Gemini provider)."""
    of_provider = [ref for ref in state.models if ref.provider == event.provider]
    if event.model is not None:
        return [ref for ref in of_provider if ref.model == event.model]
    return [ref for ref in of_provider if ref in state.in_use] or of_provider


def _network_failed(step: Step, _event: e.NetworkFailed) -> None:
    if not observe_traffic.failed_lately(step.state, step.now):
        count_unattributed(step, step.state.current.routes.values())


def _cause_unknown(step: Step, _event: e.UnclearFailure | e.UpstreamSilent) -> None:
    if not observe_traffic.failed_lately(step.state, step.now):
        suspect(step, step.state.in_use)


def _probed(step: Step, event: e.Probed) -> None:
    state = step.state
    answered = {report.ref for report in event.reports}
    step.set(
        probing={ref: t for ref, t in state.probing.items() if ref not in answered},
        suspects=state.suspects - answered,
    )
    gone: list[ModelRef] = []
    for report in event.reports:
        if report.ref not in state.models:
            continue
        before = state.health.get(report.ref)
        when = step.now.mono_of(report.checked_at)
        if before and before.unavailable and when < before.seen_at:
            _overtaken(step, report.ref, before)
            continue
        wished = state.asked is not None and report.ref in state.suspects
        confirmations = 1 if wished else h.CONFIRMATIONS  # a person's word is the other one
        busy = observe_traffic.busy(state, step.now.mono)
        after = h.probed(before, report, step.now, state.settings, confirmations, traffic=busy)
        step.set_health(report.ref, replace(after, seen_at=when))
        if not after.unavailable:
            observe_return(step, report.ref, before)
        elif _is_news(report, before, after):
            gone.append(report.ref)
    for ref in gone:
        tell_unavailable(step, ref)
    _spread_account_news(step, event.reports, state.health)


def _overtaken(step: Step, ref: ModelRef, known: Health) -> None:
    """Traffic met a trouble after this answer, while others of its batch were awaited."""
    if known.probe_at is None:
        step.set_health(ref, h.unanswered(known, step.now, step.state.settings))


def _is_news(report: Report, before: Health | None, after: Health) -> bool:
    """Whether a failed probe tells what a person has not been told."""
    reported = before and before.unavailable and before.report.status is report.status
    return not after.confirmed and not reported


def _spread_account_news(
    step: Step, reports: Iterable[Report], before: Mapping[ModelRef, Health]
) -> None:
    """One model speaks for its account: when it answers again, the account's other models
    are asked at once; while it does not, they are not asked one by one; when it ceases
    to, those that are thought to be available are asked. What is no news moves nobody: a
    provider may refuse one model for ever in the words of an account's trouble."""
    asked = {report.ref for report in reports}
    for report in reports:
        speaker, was = step.state.health.get(report.ref), before.get(report.ref)
        news = was is None or (was.unavailable and was.report.account) != report.account
        for ref, other in step.state.health.items():
            if speaker is None or ref.provider != report.provider or ref in asked:
                continue
            shares_it = other.unavailable and other.report.account and not other.confirmed
            if news and report.account and not other.unavailable:
                step.set_health(ref, h.doubted(other, step.now))
            elif news and report.status in SERVING and shares_it:
                step.set_health(ref, replace(other, probe_at=step.now.mono))
            elif report.account and shares_it:
                step.set_health(ref, replace(other, probe_at=speaker.probe_at))


def _backend_ready(step: Step, _event: e.BackendReady) -> None:
    step.set(phase=Phase.SERVING, alive=True, restart_at=None, ready_at=step.now.mono)


def _backend_died(step: Step, event: e.BackendDied) -> None:
    state, now = step.state, step.now.mono
    step.set(alive=False)
    if state.alive and state.ready_at is not None and now - state.ready_at >= CRASH_WINDOW:
        step.set(crashes=0)
        step.forget("crashing")
    row = step.state.crashes
    given_up = row >= len(CRASH_PAUSES)
    step.set(crashes=min(row + 1, len(CRASH_PAUSES)))
    if state.phase is Phase.SWAPPING:
        return  # the swap brings a new one
    pause = state.settings.recovery_interval if given_up else CRASH_PAUSES[row]
    step.set(phase=Phase.RESTARTING, restart_at=now + pause)
    data = {"reason": event.reason, "pause_s": pause}
    if given_up:
        step.hold_back(state.current, crashed=True)
        text = f"CCR keeps dying ({event.reason}); this configuration rests for {pause:.0f} s."
        todo = "See what it says: synccr logs"
        step.tell_once("crashing", e.Tell("crashed", text, todo, notify=True, data=data))
    else:
        step.emit(e.Tell("crashed", f"CCR died ({event.reason}); it is started again.", data=data))


def _swap_done(step: Step, _event: e.SwapDone) -> None:
    state, target = step.state, step.state.pending_swap
    if target is None:
        return
    now, failed, key = step.now.mono, dict(state.failed_starts), digest(target)
    known = failed.pop(key, None)
    crashed = known is not None and known.crashed and known.counts(now, state.settings)
    if known and crashed:  # it has to live for a while first
        failed[key] = replace(known, until=min(known.until, now))
    step.set(
        phase=Phase.SERVING,
        alive=True,
        ready_at=step.now.mono,
        current=target,
        # One that CCR died of lately is left again at its first crash.
        crashes=len(CRASH_PAUSES) if crashed else 0,
        pending_swap=None,
        failed_starts=failed,
        edited=state.edited and target.profile not in (state.primary, state.fallback),
    )


def _swap_failed(step: Step, _event: e.SwapFailed) -> None:
    target, state, now = step.state.pending_swap, step.state, step.now.mono
    if target is None:
        return
    step.hold_back(target, crashed=False)
    step.set(pending_swap=None)
    if state.alive:
        step.set(phase=Phase.SERVING)
    else:
        step.set(phase=Phase.RESTARTING, restart_at=now)


def _swap_asked(step: Step, event: e.SwapAsked) -> None:
    """A person's wish is looked at afresh: models thought to be unavailable are asked first."""
    step.set(pinned=event.role, asked=event.role, failed_starts={})
    profile = step.state.primary if event.role == "primary" else step.state.fallback
    gone = frozenset(ref for ref in profile.routes.values() if step.state.is_unavailable(ref))
    step.set(suspects=step.state.suspects | gone)


def _profiles_read(step: Step, event: e.ProfilesRead) -> None:
    """What is new is asked: models, and all those of a provider whose address, key or
    transformers are others now. What was known of the old ones is forgotten."""
    before = _providers(step.state.primary, step.state.fallback)
    step.set(primary=event.primary, fallback=event.fallback, edited=True, failed_starts={})
    step.set(local=event.local or step.state.local)
    models, after = step.state.models, _providers(event.primary, event.fallback)
    same = {name for name, provider in after.items() if before.get(name) == provider}
    for ref in step.state.health:
        if ref.provider not in same:
            step.forget(f"unavailable:{ref}:")
            step.forget(f"unavailable:{ref.provider}:")
    health = {
        ref: found
        for ref, found in step.state.health.items()
        if ref in models and ref.provider in same
    }
    probing = {ref: until for ref, until in step.state.probing.items() if ref in health}
    suspects = frozenset(ref for ref in models if ref not in health or ref in step.state.suspects)
    step.set(health=health, probing=probing, suspects=suspects)


def _providers(primary: Profile, fallback: Profile) -> dict[str, Provider]:
    """By name, whatever models they list; the primary's count where both name one."""
    both = (*fallback.providers, *primary.providers)
    return {provider.name: replace(provider, models=()) for provider in both}


def _settings_changed(step: Step, event: e.SettingsChanged) -> None:
    step.set(settings=event.settings)


def _woke_up(_step: Step, _event: e.WokeUp) -> None:
    """Nothing new is known; time alone may have made something due."""


def _stop_asked(step: Step, _event: e.StopAsked) -> None:
    step.set(phase=Phase.STOPPING, restart_at=None)


_OBSERVERS: Mapping[type[PolicyEvent], Callable[..., None]] = {
    e.ProviderFailed: _provider_failed,
    e.NetworkFailed: _network_failed,
    e.UnclearFailure: _cause_unknown,
    e.UpstreamSilent: _cause_unknown,
    e.AttemptFailed: observe_traffic.attempt_failed,
    e.AttemptServed: observe_traffic.attempt_served,
    e.TrialStarted: observe_traffic.trial_started,
    e.BackendReady: _backend_ready,
    e.BackendDied: _backend_died,
    e.SwapDone: _swap_done,
    e.SwapFailed: _swap_failed,
    e.Probed: _probed,
    e.SwapAsked: _swap_asked,
    e.ProfilesRead: _profiles_read,
    e.SettingsChanged: _settings_changed,
    e.WokeUp: _woke_up,
    e.StopAsked: _stop_asked,
}


def observe(step: Step, event: PolicyEvent) -> None:
    """Let the state know what an event tells."""
    _OBSERVERS[type(event)](step, event)
