"""What is left of an allowance, where a provider tells.

synthetic.new answers ``GET /v2/quotas`` (bearer key, free of charge). All its fields are
optional, and new ones appear: what is not understood is left out. Other providers tell in
the headers of every answer: OpenAI, Groq and DeepInfra in ``x-ratelimit-*``, Anthropic in
``anthropic-ratelimit-*``, as their API references say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from synccr import __version__
from synccr.config.profile import Provider
from synccr.models.report import (
    FIVE_HOURS,
    RATE,
    SEARCH,
    SUBSCRIPTION,
    WEEK,
    Quota,
    Report,
    Status,
)
from synccr.probe.dialects import ProbeRequest
from synccr.transport.outbound_proxy import is_loopback

_HOST = "api.synthetic.new"
_MODEL_WINDOWS = frozenset({SUBSCRIPTION, FIVE_HOURS, WEEK})
"""Windows whose end stops completions; the search allowance does not."""


def quota_request(provider: Provider) -> ProbeRequest | None:
    """How to ask; None where no such endpoint is known.

    A loopback server is asked too (it may be the embedded provider); any other answers
    404 and costs nothing.
    """
    parts = urlsplit(provider.url)
    host = parts.hostname or ""
    if host != _HOST and not is_loopback(host):
        return None
    headers = {"authorization": f"Bearer {provider.key}", "user-agent": f"synccr/{__version__}"}
    return ProbeRequest("GET", f"{parts.scheme}://{parts.netloc}/v2/quotas", headers)


def quotas_in(provider: str, document: Any) -> tuple[Quota, ...]:
    """The allowances in an answer's JSON, in the order of their importance."""
    if not isinstance(document, dict):
        return ()
    search = document.get("search")
    rows = (
        _counted(SUBSCRIPTION, document.get("subscription")),
        _rolling(document.get("rollingFiveHourLimit")),
        _percent(document.get("weeklyTokenLimit")),
        _counted(SEARCH, search.get("hourly") if isinstance(search, dict) else None),
    )
    return tuple(replace(row, provider=provider) for row in rows if row is not None)


_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_HEADERS = (
    ("x-ratelimit-limit-{}", "x-ratelimit-remaining-{}", "x-ratelimit-reset-{}"),
    (
        "anthropic-ratelimit-{}-limit",
        "anthropic-ratelimit-{}-remaining",
        "anthropic-ratelimit-{}-reset",
    ),
)
_UNITS = ("requests", "tokens")


def quotas_in_headers(
    provider: str, headers: Mapping[str, str], now: datetime
) -> tuple[Quota, ...]:
    """The rate limits in an answer's headers (lower-case names); empty when there are none."""
    found = []
    for form in _HEADERS:
        for unit in _UNITS:
            limit, remaining, reset = (headers.get(name.format(unit)) for name in form)
            most, left = _count(limit), _count(remaining)
            if most is not None and left is not None:
                found.append(
                    Quota(
                        provider=provider,
                        limit=most,
                        used=max(0.0, most - left),
                        renews_at=_reset(reset, now),
                        window=RATE + unit,
                    )
                )
    return tuple(found)


def _count(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def _reset(text: str | None, now: datetime) -> datetime | None:
    """A moment (Anthropic), or a duration such as ``6m0s`` or ``20ms`` (OpenAI, Groq)."""
    if not text or len(text) > 64:
        return None
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        return _time(text)
    days, hours, minutes, seconds, thousandths = (float(part or 0) for part in match.groups())
    try:
        return now + timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=thousandths
        )
    except OverflowError:
        return None


def _counted(window: str, row: Any) -> Quota | None:
    if not isinstance(row, dict):
        return None
    limit, used = _number(row.get("limit")), _number(row.get("requests"))
    return _quota(window, limit, used, row.get("renewsAt"))


def _rolling(row: Any) -> Quota | None:
    if not isinstance(row, dict):
        return None
    limit, remaining = _number(row.get("max")), _number(row.get("remaining"))
    used = limit - remaining if limit is not None and remaining is not None else None
    if row.get("limited") is True:
        limit = limit if limit is not None else 1.0
        used = limit
    return _quota(FIVE_HOURS, limit, used, row.get("nextTickAt"))


def _percent(row: Any) -> Quota | None:
    if not isinstance(row, dict):
        return None
    remaining = _number(row.get("percentRemaining"))
    used = None if remaining is None else 100.0 - remaining
    return _quota(WEEK, None if used is None else 100.0, used, row.get("nextRegenAt"))


def _quota(window: str, limit: float | None, used: float | None, renews: Any) -> Quota | None:
    renews_at = _time(renews)
    if limit is None and used is None and renews_at is None:
        return None
    return Quota(provider="", limit=limit, used=used, renews_at=renews_at, window=window)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None


def _time(value: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(value)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def in_light_of(report: Report, quotas: Iterable[Quota], now: datetime) -> Report:
    """A 429 of a provider whose allowance is spent is a spent cap, until it renews."""
    if report.http_status != 429 or report.status not in {Status.RATE_LIMITED, Status.QUOTA}:
        return report
    spent = [q for q in quotas if q.spent and q.window in _MODEL_WINDOWS]
    if not spent:
        return report
    renewals = [q.renews_at for q in spent if q.renews_at is not None and q.renews_at > now]
    retry_at = max(renewals, default=report.retry_at)
    return replace(report, status=Status.QUOTA, account=True, retry_at=retry_at)
