"""The models: which serve, whether they call tools, where the routes lead, what is left."""

from __future__ import annotations

from urllib.parse import urlsplit

from synccr.config.profile import SCENARIOS, Profile, owner_order
from synccr.doctor import lines
from synccr.doctor.checks.keys import another_key
from synccr.doctor.context import Blocked, Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, together, warn
from synccr.errors import NoModelServes
from synccr.heal import heal
from synccr.heal.advice import advice_on
from synccr.models.report import FATAL, ModelRef, Report, Status
from synccr.probe import alternatives

_BILLING_PAGES = {
    "api.synthetic.new": "https://synthetic.new/billing",
    "openrouter.ai": "https://openrouter.ai/settings/credits",
    "api.openai.com": "https://platform.openai.com/settings/organization/billing",
    "api.anthropic.com": "https://console.anthropic.com/settings/billing",
    "api.deepseek.com": "https://platform.deepseek.com/top_up",
}
_NO_ANSWER = frozenset({Status.UNREACHABLE, Status.TIMEOUT})
LOW = 0.1
"""Part of an allowance below which its end is near."""


def _asked(context: Context) -> dict[ModelRef, Report]:
    """What is known of the models that could be asked.

    Raises:
        Blocked: none could.
    """
    keyless = {p.name for p in context.providers() if p.unset}
    reports = {r: v for r, v in context.survey.reports.items() if r.provider not in keyless}
    if not reports:
        raise Blocked("keys.set")
    if all(r.status in _NO_ANSWER and r.http_status is None for r in reports.values()):
        raise Blocked("provider.connect")
    return reports


def state(context: Context) -> Diagnosis:
    """Every configured model, asked now."""
    reports = _asked(context)
    routed = set(context.profiles.primary.routes.values())
    bad = [r for r in reports.values() if r.status not in (Status.OK, Status.UNVERIFIED)]
    if not bad:
        times = [r.latency_ms for r in reports.values() if r.latency_ms is not None]
        speed = f", {min(times)} to {max(times)} ms" if times else ""
        return ok(f"{len(reports)} of {len(reports)} serve{speed}")
    diagnoses = []
    for report in bad:
        dead = report.status in FATAL and report.ref in routed
        say = fail if dead or len(bad) == len(reports) else warn
        diagnoses.append(say(_described(context, report), _fix(context, report)))
    return together(diagnoses)


def _described(context: Context, report: Report) -> str:
    words = f"{report.ref}: {report.status}"
    if report.http_status:
        words += f" ({report.http_status})"
    if report.detail:
        words += f", {report.detail.rstrip('.')}"
    if report.retry_at:
        words += f", until {report.retry_at:%Y-%m-%d %H:%M} UTC"
    instead = _instead(context, report.ref)
    return f"{words}; instead: {instead[0]}" if instead else words


def _instead(context: Context, ref: ModelRef) -> list[ModelRef]:
    survey, profiles = context.survey, context.profiles
    order = owner_order(profiles.primary, profiles.fallback)
    return list(alternatives(ref, order, survey.reports, survey.offered))


def _fix(context: Context, report: Report) -> str:
    if report.status in (Status.BILLING, Status.QUOTA):
        page = _billing_page(context, report.provider)
        if page:
            return page
    if report.status in (Status.BILLING, Status.MISSING, Status.QUOTA, Status.UNREACHABLE):
        return context.edit(_owner(context, report.ref))
    if report.status is Status.AUTH:
        provider = next(p for p in context.providers() if p.name == report.provider)
        return another_key(context, provider)
    return lines.synccr("models", "--fresh")


def _owner(context: Context, ref: ModelRef) -> Profile:
    """The profile that names a model."""
    profiles = context.profiles
    return profiles.primary if ref in profiles.primary.models() else profiles.fallback


def _billing_page(context: Context, name: str) -> str | None:
    provider = next((p for p in context.providers() if p.name == name), None)
    return _BILLING_PAGES.get(urlsplit(provider.url).hostname or "") if provider else None


def tools(context: Context) -> Diagnosis:
    """The routed models call tools, which Claude Code lives by."""
    reports, profiles = _asked(context), context.profiles
    diagnoses = []
    for name, ref in profiles.primary.routes.items():
        report = reports.get(ref)
        if report is None or report.tools is not False or name == "image":
            continue
        say = fail if name in SCENARIOS else warn
        instead = [r for r in _instead(context, ref) if r in reports and reports[r].tools]
        hint = f" Instead: {instead[0]}." if instead else ""
        diagnoses.append(
            say(
                f"Router.{name} leads to {ref}, which calls no tools, and Claude Code needs "
                f"them.{hint}",
                context.edit(profiles.primary),
            )
        )
    if diagnoses:
        return together(diagnoses)
    known = [r for r in set(profiles.primary.routes.values()) if r in reports and reports[r].tools]
    if not known:
        return skip("no routed model could be asked")
    return ok(f"{len(known)} of {len(set(profiles.primary.routes.values()))} seen to call a tool")


def routes(context: Context) -> Diagnosis:
    """Every route leads to a model that can serve, its own or another one."""
    profiles = context.profiles
    _asked(context)
    reports = context.survey.reports
    try:
        healed = heal(profiles.primary, reports, profiles.local)
    except NoModelServes:
        words = advice_on(reports.values())
        return fail(
            f"No model of {profiles.primary.source} can serve. {words}",
            lines.synccr("models", "--fresh"),
        )
    moved = [c for c in healed.changes if c.path.startswith("Router.")]
    if not moved:
        return ok(f"{len(healed.routes)} routes, each on its own model")
    return together(
        warn(
            f"{c.path} goes to {c.after} instead of {c.before or 'nothing'}: {c.reason}",
            context.edit(profiles.primary),
        )
        for c in moved
    )


def quota(context: Context) -> Diagnosis:
    """What is left of each allowance."""
    diagnoses = []
    for row in context.survey.quotas:
        if row.remaining is None or row.limit is None:
            continue
        until = f", renews {row.renews_at:%Y-%m-%d %H:%M} UTC" if row.renews_at else ""
        left = f"{row.provider}, {row.window}: {row.remaining:g} of {row.limit:g} left{until}"
        page = _billing_page(context, row.provider) or context.edit(context.profiles.primary)
        if row.spent:
            diagnoses.append(fail(left, page))
        elif row.remaining < LOW * row.limit:
            diagnoses.append(warn(left, page))
        else:
            diagnoses.append(ok(left))
    return together(diagnoses) if diagnoses else skip("no provider tells what is left")
