"""What a trouble of one model means for what is known, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synccr.classify import Confidence, Scope, Verdict
from synccr.heal.advice import advice_on
from synccr.models.report import FATAL, ModelRef, Report
from synccr.policy import events as e
from synccr.policy import model_health as h
from synccr.policy.model_health import Health
from synccr.policy.state import Step


def believe(step: Step, ref: ModelRef, event: e.ProviderFailed, verdict: Verdict) -> None:
    """One model is what the verdict says, unless a later probe has seen otherwise, or a
    prompt could have written the sentence: then it is asked."""
    known, when = step.state.health.get(ref), step.now.mono_of(event.at)
    if verdict.status in FATAL and verdict.confidence is Confidence.LIKELY:
        suspect(step, [ref])
    elif known is None or when >= known.seen_at:
        report = report_of(ref, event, verdict, known)
        health = h.seen_failing(known, report, step.now, step.state.settings)
        observe_trouble(step, ref, replace(health, seen_at=when))


def doubt_account(step: Step, provider: str, speakers: Iterable[ModelRef]) -> None:
    """Models speak of the account that others share. They may be the only ones in trouble (not
    in the plan, a key of their own), and a prompt can have named them: the others are asked."""
    spoke = frozenset(speakers)
    for ref in step.state.models:
        if ref.provider != provider or ref in spoke:
            continue
        health = step.state.health.get(ref)
        if health is None:
            suspect(step, [ref])
        else:
            step.set_health(ref, h.doubted(health, step.now))


def report_of(
    ref: ModelRef,
    event: e.ProviderFailed | e.AttemptFailed,
    verdict: Verdict,
    known: Health | None,
) -> Report:
    """What traffic found out about one model."""
    return Report(
        provider=ref.provider,
        model=ref.model,
        status=verdict.status,
        http_status=event.http_status,
        checked_at=event.at,
        detail=verdict.detail,
        account=verdict.scope is Scope.KEY,
        retry_at=verdict.retry_at,
        tools=known.report.tools if known else None,
        context_length=known.report.context_length if known else None,
        from_traffic=True,
    )


def observe_trouble(step: Step, ref: ModelRef, health: Health) -> None:
    """Keep what is known of a model, and tell a person when it is unavailable."""
    step.set_health(ref, health)
    if health.unavailable:
        tell_unavailable(step, ref)


def tell_unavailable(step: Step, ref: ModelRef) -> None:
    """Tell a person, once for a model and status, or for an account of which no model is left."""
    report = step.state.health[ref].report
    shared = report.account and all(
        other.unavailable and other.report.account
        for one, other in step.state.health.items()
        if one.provider == ref.provider
    )
    subject = f"Provider {ref.provider}" if shared else str(ref)
    detail = f": {report.detail}" if report.detail else ""
    step.tell_once(
        f"unavailable:{ref.provider if shared else ref}:{report.status}",
        e.Tell(
            "error_seen",
            f"{subject} is away ({report.status}{detail}).",
            advice_on([report]),
            data={
                "provider": ref.provider,
                "model": ref.model,
                "status": report.status.value,
                "http_status": report.http_status,
            },
        ),
    )


def count_unattributed(step: Step, refs: Iterable[ModelRef]) -> None:
    """A passing trouble of one of these models: when it persists, all of them are asked."""
    settings = step.state.settings
    since = step.now.mono - settings.trouble_window
    times = (*(t for t in step.state.unattributed_errors if t > since), step.now.mono)
    if len(times) < settings.trouble_count:
        step.set(unattributed_errors=times)
    else:
        step.set(unattributed_errors=())
        suspect(step, refs)


def suspect(step: Step, refs: Iterable[ModelRef]) -> None:
    """These are asked, unless that was done just now."""
    for ref in refs:
        health = step.state.health.get(ref)
        if health is None:
            step.set(suspects=step.state.suspects | {ref})
        else:
            step.set_health(ref, h.suspected(health, step.now))


def observe_return(step: Step, ref: ModelRef, before: Health | None) -> None:
    """Tell that a model is available again."""
    if before is None or not before.unavailable:
        return
    step.forget(f"unavailable:{ref}:")
    step.forget(f"unavailable:{ref.provider}:")
    step.emit(
        e.Tell(
            "recovered",
            f"{ref} serves again.",
            data={"provider": ref.provider, "model": ref.model},
        )
    )
