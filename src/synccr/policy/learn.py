"""Learn: what an event tells. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from synccr.classify import Verdict, classify
from synccr.heal import advice_on
from synccr.policy import events as e
from synccr.policy import health as h
from synccr.policy.choice import digest
from synccr.policy.events import Event
from synccr.policy.health import Health
from synccr.policy.state import Phase, State, Step
from synccr.profile import Profile, Provider
from synccr.report import DEAD, SERVING, ModelRef, Report

CRASH_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each restart in a row; after the last one CCR is given up for
``recovery_interval``, then tried again."""
CRASH_WINDOW = 120.0
"""A backend that lives this long has stopped crashing, seconds."""
_STATUS_SAYS_IT = frozenset({401, 402, 404, 410, 429})
"""What other 4xx mean is read from their sentence, which may repeat a prompt: a probe
has to confirm it."""


def _provider_failed(step: Step, event: e.ProviderFailed) -> None:
    """A line is taken at its word where the status alone says what it means and the model is
    known. Where a prompt could have written the sentence, or chosen the model that speaks for
    its account, those concerned are asked; a fault of the request itself tells nothing."""
    verdict = classify(event.http_status, event.body, now=event.at)
    if verdict.request_fault or verdict.status in SERVING:
        return
    if verdict.account and not _asked_by_route(step.state, event):
        _account_in_doubt(step, event, verdict)
        return
    refs = _concerned(step.state, event, verdict)
    if event.model is None and not verdict.account and len(refs) > 1:
        if verdict.status in DEAD:
            _suspect(step, refs)
        else:
            _count_anonymous(step, refs)
        return
    if verdict.status in DEAD and event.http_status not in _STATUS_SAYS_IT:
        _suspect(step, (ref for ref in refs if not step.state.away(ref)))
        return
    for ref in refs:
        _take_at_its_word(step, ref, event, verdict)


def _take_at_its_word(step: Step, ref: ModelRef, event: e.ProviderFailed, verdict: Verdict) -> None:
    """One model is what the verdict says, unless a later probe has seen otherwise."""
    known, when = step.state.health.get(ref), step.now.mono_of(event.at)
    if known and when < known.seen_at:
        return
    report = _report(ref, event, verdict, known)
    health = h.seen_failing(known, report, step.now, step.state.settings)
    _learn_trouble(step, ref, replace(health, seen_at=when))


def _asked_by_route(state: State, event: e.ProviderFailed) -> bool:
    """Whether a route led to the model that failed; a prompt can name any other one."""
    return event.model is None or ModelRef(event.provider, event.model) in state.in_use


def _account_in_doubt(step: Step, event: e.ProviderFailed, verdict: Verdict) -> None:
    """A model to which no route leads says that its account is in trouble. It may be the
    only one to say so (not in the plan, a key of its own): the others are asked."""
    of_provider = [ref for ref in step.state.models if ref.provider == event.provider]
    for ref in of_provider:
        if ref.model == event.model and event.http_status in _STATUS_SAYS_IT:
            _take_at_its_word(step, ref, event, replace(verdict, account=False))
        else:
            _suspect(step, [ref])


def _concerned(state: State, event: e.ProviderFailed, verdict: Verdict) -> list[ModelRef]:
    """The models that an error tells about: one, all of the account, or all that
    it may be about when CCR names no model (it names none of a Gemini provider)."""
    of_provider = [ref for ref in state.models if ref.provider == event.provider]
    if verdict.account:
        return of_provider
    if event.model is not None:
        return [ref for ref in of_provider if ref.model == event.model]
    return [ref for ref in of_provider if ref in state.in_use] or of_provider


def _report(
    ref: ModelRef, event: e.ProviderFailed, verdict: Verdict, known: Health | None
) -> Report:
    return Report(
        provider=ref.provider,
        model=ref.model,
        status=verdict.status,
        http_status=event.http_status,
        checked_at=event.at,
        detail=verdict.detail,
        account=verdict.account,
        retry_at=verdict.retry_at,
        tools=known.report.tools if known else None,
        context_length=known.report.context_length if known else None,
        from_traffic=True,
    )


def _learn_trouble(step: Step, ref: ModelRef, health: Health) -> None:
    step.put(ref, health)
    if not health.away:
        return
    status = health.report.status
    key = ref.provider if health.report.account else str(ref)
    subject = f"Provider {ref.provider}" if health.report.account else str(ref)
    detail = f": {health.report.detail}" if health.report.detail else ""
    step.tell_once(
        f"away:{key}:{status}",
        e.Tell(
            "error_seen",
            f"{subject} is away ({status}{detail}).",
            advice_on([health.report]),
            data={
                "provider": ref.provider,
                "model": ref.model,
                "status": status.value,
                "http_status": health.report.http_status,
            },
        ),
    )


def _network_failed(step: Step, _event: e.NetworkFailed) -> None:
    _count_anonymous(step, step.state.current.routes.values())


def _upstream_silent(step: Step, _event: e.UpstreamSilent) -> None:
    _suspect(step, step.state.in_use)


def _count_anonymous(step: Step, refs: Iterable[ModelRef]) -> None:
    """A passing trouble of one of these models: when it persists, all of them are asked."""
    settings = step.state.settings
    since = step.now.mono - settings.trouble_window
    times = (*(t for t in step.state.anonymous if t > since), step.now.mono)
    if len(times) < settings.trouble_count:
        step.set(anonymous=times)
    else:
        step.set(anonymous=())
        _suspect(step, refs)


def _suspect(step: Step, refs: Iterable[ModelRef]) -> None:
    for ref in refs:
        health = step.state.health.get(ref)
        if health is None:
            step.set(suspects=step.state.suspects | {ref})
        else:
            step.put(ref, h.suspected(health, step.now))


def _probed(step: Step, event: e.Probed) -> None:
    state = step.state
    answered = {report.ref for report in event.reports}
    step.set(
        probing={ref: t for ref, t in state.probing.items() if ref not in answered},
        suspects=state.suspects - answered,
    )
    for report in event.reports:
        if report.ref not in state.models:
            continue
        before = state.health.get(report.ref)
        when = step.now.mono_of(report.checked_at)
        if before and before.away and when < before.seen_at:
            _overtaken(step, report.ref, before)
            continue
        wished = state.asked is not None and report.ref in state.suspects
        confirmations = 1 if wished else h.CONFIRMATIONS  # a person's word is the other one
        after = h.probed(before, report, step.now, state.settings, confirmations)
        after = replace(after, seen_at=when)
        if after.away:
            _learn_probe_trouble(step, report, before, after)
        else:
            step.put(report.ref, after)
            _learn_return(step, report.ref, before)
    _spread_account_news(step, event.reports, state.health)


def _overtaken(step: Step, ref: ModelRef, known: Health) -> None:
    """Traffic met a trouble after this answer, while others of its batch were awaited."""
    if known.probe_at is None:
        step.put(ref, h.unanswered(known, step.now, step.state.settings))


def _learn_probe_trouble(step: Step, report: Report, before: Health | None, after: Health) -> None:
    if after.confirmed or (before and before.away and before.report.status is report.status):
        step.put(report.ref, after)  # nothing that a person has not been told
    else:
        _learn_trouble(step, report.ref, after)


def _learn_return(step: Step, ref: ModelRef, before: Health | None) -> None:
    if before is None or not before.away:
        return
    step.forget(f"away:{ref}:")
    step.forget(f"away:{ref.provider}:")
    step.do(
        e.Tell(
            "recovered",
            f"{ref} serves again.",
            data={"provider": ref.provider, "model": ref.model},
        )
    )


def _spread_account_news(
    step: Step, reports: Iterable[Report], before: Mapping[ModelRef, Health]
) -> None:
    """One model speaks for its account: when it answers again, the account's other models
    are asked at once; while it does not, they are not asked one by one; when it ceases
    to, those that are thought to be here are asked. What is no news moves nobody: a
    provider may refuse one model for ever in the words of an account's trouble."""
    asked = {report.ref for report in reports}
    for report in reports:
        speaker, was = step.state.health.get(report.ref), before.get(report.ref)
        news = was is None or (was.away and was.report.account) != report.account
        for ref, other in step.state.health.items():
            if speaker is None or ref.provider != report.provider or ref in asked:
                continue
            shares_it = other.away and other.report.account and not other.confirmed
            if news and report.account and not other.away:
                _suspect(step, [ref])
            elif news and report.status in SERVING and shares_it:
                step.put(ref, replace(other, probe_at=step.now.mono))
            elif report.account and shares_it:
                step.put(ref, replace(other, probe_at=speaker.probe_at))


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
        step.refuse(state.current, deadly=True)
        text = f"CCR keeps dying ({event.reason}); this configuration rests for {pause:.0f} s."
        todo = "See what it says: synccr logs"
        step.tell_once("crashing", e.Tell("crashed", text, todo, notify=True, data=data))
    else:
        step.do(e.Tell("crashed", f"CCR died ({event.reason}); it is started again.", data=data))


def _swap_done(step: Step, _event: e.SwapDone) -> None:
    state, plan = step.state, step.state.plan
    if plan is None:
        return
    now, refused, key = step.now.mono, dict(state.refused), digest(plan.to)
    known = refused.pop(key, None)
    deadly = known is not None and known.deadly and known.counts(now, state.settings)
    if known and deadly:  # it has to live for a while first
        refused[key] = replace(known, until=min(known.until, now))
    step.set(
        phase=Phase.SERVING,
        alive=True,
        ready_at=step.now.mono,
        current=plan.to,
        # One that CCR died of lately is left again at its first crash.
        crashes=len(CRASH_PAUSES) if deadly else 0,
        plan=None,
        refused=refused,
        edited=state.edited and plan.to.profile not in (state.primary, state.fallback),
    )


def _swap_failed(step: Step, _event: e.SwapFailed) -> None:
    plan, state, now = step.state.plan, step.state, step.now.mono
    if plan is None:
        return
    step.refuse(plan.to, deadly=False)
    step.set(plan=None)
    if state.alive:
        step.set(phase=Phase.SERVING)
    else:
        step.set(phase=Phase.RESTARTING, restart_at=now)


def _swap_asked(step: Step, event: e.SwapAsked) -> None:
    """A person's wish is looked at afresh: models thought to be away are asked first."""
    step.set(pinned=event.role, asked=event.role, refused={})
    profile = step.state.primary if event.role == "primary" else step.state.fallback
    away = frozenset(ref for ref in profile.routes.values() if step.state.away(ref))
    step.set(suspects=step.state.suspects | away)


def _profiles_read(step: Step, event: e.ProfilesRead) -> None:
    """What is new is asked: models, and all those of a provider whose address, key or
    transformers are others now. What was known of the old ones is forgotten."""
    before = _providers(step.state.primary, step.state.fallback)
    step.set(primary=event.primary, fallback=event.fallback, edited=True, refused={})
    step.set(local=event.local or step.state.local)
    models, after = step.state.models, _providers(event.primary, event.fallback)
    same = {name for name, provider in after.items() if before.get(name) == provider}
    for ref in step.state.health:
        if ref.provider not in same:
            step.forget(f"away:{ref}:")
            step.forget(f"away:{ref.provider}:")
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


def _woke_up(_step: Step, _event: e.WokeUp) -> None:
    """Nothing new is known; time alone may have made something due."""


def _stop_asked(step: Step, _event: e.StopAsked) -> None:
    step.set(phase=Phase.STOPPING, restart_at=None)


LEARN: Mapping[type[Event], Callable[..., None]] = {
    e.ProviderFailed: _provider_failed,
    e.NetworkFailed: _network_failed,
    e.UpstreamSilent: _upstream_silent,
    e.BackendReady: _backend_ready,
    e.BackendDied: _backend_died,
    e.SwapDone: _swap_done,
    e.SwapFailed: _swap_failed,
    e.Probed: _probed,
    e.SwapAsked: _swap_asked,
    e.ProfilesRead: _profiles_read,
    e.WokeUp: _woke_up,
    e.StopAsked: _stop_asked,
}
