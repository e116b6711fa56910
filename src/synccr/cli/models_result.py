"""``synccr models`` for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from synccr.cli.context import CommandContext
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Note, Result
from synccr.cli.running_instance import named_or_running
from synccr.cli.status_text import quota_line
from synccr.cli.survey import Survey, survey, survey_lines
from synccr.clock import utc_now
from synccr.errors import NoModelServes
from synccr.journal import stamp
from synccr.models import last_check
from synccr.models.last_check import Changes
from synccr.models.quota_record import status_of


class ModelsOptions(NamedTuple):
    """Of ``synccr models``; see there."""

    profiles: ProfileOptions = ProfileOptions()
    as_json: bool = False
    fresh: bool = False
    changes: bool = False
    timeout: float | None = None


def plain(arguments: Sequence[str]) -> ModelsOptions | None:
    """Read the arguments after ``models``; None for whatever is not plain, help and mistakes
    included: those are for the real parser, which takes long to load."""
    if not {"--json", "--fresh", "--changes"}.issuperset(arguments):
        return None
    return ModelsOptions(
        as_json="--json" in arguments,
        fresh="--fresh" in arguments,
        changes="--changes" in arguments,
    )


def models(options: ModelsOptions) -> Result:
    """Every model asked, and what to use instead of those that cannot serve."""
    context = CommandContext.make(preflight_timeout=options.timeout)
    named = options.profiles.resolved()
    profiles = context.profiles(named_or_running(context.paths.instance, named))
    found = survey(context, profiles, fresh=options.fresh or options.changes)
    now = utc_now()
    quotas = status_of(context.paths.instance / "quota.json", found.result.quotas, now)
    news = _changes_since(context, found, now) if options.changes else None
    code = NoModelServes.exit_code if found.healed is None else 1 if found.moved else 0
    if options.as_json:
        return Result(document=_document(found, quotas, news), exit_code=code)
    lines = [
        *survey_lines(found),
        *(Note(quota_line(row)) for row in quotas),
        *(map(Note, _news_lines(news)) if news is not None else ()),
    ]
    return Result(lines, exit_code=code)


def _changes_since(context: CommandContext, found: Survey, now: datetime) -> Changes:
    """What is different since the last full check, which this one becomes."""
    path, result = context.paths.instance / "inventory.json", found.result
    before = last_check.load(path)
    offered = {name: [row.id for row in rows] for name, rows in result.offered.items()}
    after = last_check.take(before, result.reports.values(), offered, now)
    last_check.save(path, after)
    return last_check.compare(before, after)


def _news_lines(news: Changes) -> list[str]:
    if news.since is None:
        return ["First full check: the next one says what has changed."]
    lines = last_check.lines(news) or ["Nothing changed."]
    return [f"Since {news.since:%Y-%m-%d}: {line}" for line in lines]


def _document(found: Survey, quotas: list[dict[str, Any]], news: Changes | None) -> dict[str, Any]:
    """The contract's ``models --json``, and a little more."""
    rows = [
        {
            "provider": report.provider,
            "model": report.model,
            "status": report.status.value,
            "http_status": report.http_status,
            "latency_ms": report.latency_ms,
            "checked_at": stamp(report.checked_at),
            "detail": report.detail,
            "tools": report.tools,
            "context_length": report.context_length,
            "alternatives": [str(ref) for ref in found.alternatives.get(ref, ())],
        }
        for ref, report in found.result.reports.items()
    ]
    document = {"models": rows, "quota": quotas[0] if quotas else None, "quotas": quotas}
    if news is not None:
        document["changes"] = {
            "since": stamp(news.since) if news.since else None,
            "new": news.new,
            "gone": news.gone,
            "states": [
                {"model": model, "before": before, "after": after}
                for model, before, after in news.states
            ],
        }
    return document
