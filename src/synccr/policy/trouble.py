"""What a trouble of one model means for what is known, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synccr.classify import Confidence, Verdict
from synccr.heal.advice import advice_on
from synccr.models.report import DEAD, ModelRef, Report
from synccr.policy import events as e
from synccr.policy import health as h
from synccr.policy.health import Health
from synccr.policy.state import Step


def believe(step: Step, ref: ModelRef, event: e.ProviderFailed, verdict: Verdict) -> None:
    """One model is what the verdict says, unless a later probe has seen otherwise, or a
    prompt could have written the sentence: then it is asked."""
    known, when = step.state.health.get(ref), step.now.mono_of(event.at)
    if verdict.status in DEAD and verdict.confidence is Confidence.LIKELY:
        suspect(step, [ref])
    elif known is None or when >= known.seen_at:
        report = report_of(ref, event, verdict, known)
        health = h.seen_failing(known, report, step.now, step.state.settings)
        learn_trouble(step, ref, replace(health, seen_at=when))


def doubt_account(step: Step, provider: str, speakers: Iterable[ModelRef]) -> None:
    """Models speak of the account that others share. They may be the only ones in trouble (not
    in the plan, a key of their own), and a prompt can have named them: the others are asked."""
    told = frozenset(speakers)
    for ref in step.state.models:
        if ref.provider != provider or ref in told:
            continue
        health = step.state.health.get(ref)
        if health is None:
            suspect(step, [ref])
        else:
            step.put(ref, h.doubted(health, step.now))


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
        account=verdict.account,
        retry_at=verdict.retry_at,
        tools=known.report.tools if known else None,
        context_length=known.report.context_length if known else None,
        from_traffic=True,
    )


def learn_trouble(step: Step, ref: ModelRef, health: Health) -> None:
    """Keep what is known of a model, and tell a person when it is away."""
    step.put(ref, health)
    if health.away:
        tell_away(step, ref)


def tell_away(step: Step, ref: ModelRef) -> None:
    """Tell a person: once for a model and status, or for an account that is away altogether."""
    report = step.state.health[ref].report
    shared = report.account and all(
        other.away and other.report.account
        for one, other in step.state.health.items()
        if one.provider == ref.provider
    )
    subject = f"Provider {ref.provider}" if shared else str(ref)
    detail = f": {report.detail}" if report.detail else ""
    step.tell_once(
        f"away:{ref.provider if shared else ref}:{report.status}",
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


def count_anonymous(step: Step, refs: Iterable[ModelRef]) -> None:
    """A passing trouble of one of these models: when it persists, all of them are asked."""
    settings = step.state.settings
    since = step.now.mono - settings.trouble_window
    times = (*(t for t in step.state.anonymous if t > since), step.now.mono)
    if len(times) < settings.trouble_count:
        step.set(anonymous=times)
    else:
        step.set(anonymous=())
        suspect(step, refs)


def suspect(step: Step, refs: Iterable[ModelRef]) -> None:
    """These are asked, unless that was done just now."""
    for ref in refs:
        health = step.state.health.get(ref)
        if health is None:
            step.set(suspects=step.state.suspects | {ref})
        else:
            step.put(ref, h.suspected(health, step.now))


def learn_return(step: Step, ref: ModelRef, before: Health | None) -> None:
    """Tell that a model is here again."""
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
