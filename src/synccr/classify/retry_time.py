"""When a provider says it will serve again: headers and sentences in, a time out.

Header names as documented by their owners: ``retry-after`` (RFC 9110, seconds or
date), ``retry-after-ms`` and ``x-ratelimit-reset-*`` with durations such as
``6m0s`` (OpenAI, Groq), ``x-ratelimit-reset`` with an epoch (OpenRouter, in
milliseconds), ``anthropic-ratelimit-*-reset`` with RFC 3339 times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

_FARTHEST = 400 * 86_400.0
"""Seconds; what lies further ahead is a mistake."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{0,20})?)\s*(ms|s|m|h|d)", re.IGNORECASE)
_COMPACT = re.compile(rf"(?:{_DURATION.pattern})+", re.IGNORECASE)
_AGAIN = re.compile(
    r"(?:try again|retry|wait|reset[s]?)\s+(?:in\s+|after\s+)?"
    r"((?:\d{1,9}(?:\.\d{0,20})?\s*(?:ms|milliseconds?|seconds?|s|minutes?|mins?|m|hours?|h|days?|d)\b"
    r"[\s,]*(?:and\s+)?)+|(?:\d{1,6}(?:\.\d{0,20})?(?:ms|s|m|h|d))+)",
    re.IGNORECASE,
)
_UNIT = re.compile(r"(\d+(?:\.\d*)?)\s*(ms|milli|s|m|h|d)", re.IGNORECASE)
_AT = re.compile(
    r"(?:reset[s]? (?:at|on)|regain access on|available (?:again )?at|until)\W{0,3}"
    r"(\d{4}-\d\d-\d\d)(?:T|\s+|\s+at\s+)(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*(Z|UTC|[+-]\d\d:?\d\d)",
    re.IGNORECASE,
)


def find(headers: Mapping[str, str], delay: str, text: str, now: datetime) -> datetime | None:
    """The earliest time at which asking again makes sense. Never raises.

    Args:
        headers: names in lower case.
        delay: a duration such as ``39s`` (Google's ``RetryInfo``), or empty.
        text: the provider's sentence.
        now: the present, with a time zone.

    Returns:
        A time in the future (UTC), or None when nothing was said.
    """
    for when in _candidates(headers, delay, text, now):
        if when is not None and 0 < (when - now).total_seconds() <= _FARTHEST:
            return when.astimezone(UTC)
    return None


def pacific_midnight(now: datetime) -> datetime | None:
    """When Gemini's daily quotas renew (https://ai.google.dev/gemini-api/docs/rate-limits).

    None on a machine without time zone data.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        there = now.astimezone(ZoneInfo("America/Los_Angeles"))
    except ZoneInfoNotFoundError:
        return None
    return (
        (there + timedelta(days=1))
        .replace(hour=0, minute=0, second=0, microsecond=0)
        .astimezone(UTC)
    )


def _candidates(
    headers: Mapping[str, str], delay: str, text: str, now: datetime
) -> Iterator[datetime | None]:
    yield _after(_number(headers.get("retry-after-ms", ""), 0.001), now)
    yield _moment(headers.get("retry-after", ""), now)
    yield _after(_duration(delay), now)
    yield _stated(text)
    yield _after(_sentence(text), now)
    spent = [_moment(value, now) for value in _spent_limits(headers)]
    yield max((when for when in spent if when is not None), default=None)


def _spent_limits(headers: Mapping[str, str]) -> Iterator[str]:
    """Reset times of the limits of which nothing is left (or that do not say)."""
    for name, value in headers.items():
        if name.startswith("x-ratelimit-reset"):
            remaining = name.replace("reset", "remaining", 1)
        elif name.startswith("anthropic-ratelimit-") and name.endswith("-reset"):
            remaining = f"{name.removesuffix('reset')}remaining"
        else:
            continue
        if headers.get(remaining, "0").strip() == "0":
            yield value


def _moment(text: str, now: datetime) -> datetime | None:
    """Seconds, an epoch in seconds or milliseconds, a duration, or a date."""
    number = _number(text)
    if number is not None:
        if number > 1e11:
            number /= 1000
        return _after(number - now.timestamp() if number > 1e9 else number, now)
    duration = _duration(text)
    if duration is not None:
        return _after(duration, now)
    from email.utils import parsedate_to_datetime

    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        return _aware(when)
    return None


def _stated(text: str) -> datetime | None:
    """``... resets at 2025-07-01 00:00 UTC``; without a zone it means nothing."""
    found = _AT.search(text)
    if not found:
        return None
    zone = "+00:00" if found[3].upper() in {"Z", "UTC"} else found[3]
    try:
        return _aware(datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}"))
    except ValueError:
        return None


def _sentence(text: str) -> float | None:
    """``Please try again in 9m38.016s``, ``wait 8 hours 24 minutes``; seconds."""
    found = _AGAIN.search(text)
    if not found:
        return None
    parts = _UNIT.findall(found[1])
    return sum(float(n) * _UNITS["ms" if u.lower() == "milli" else u.lower()] for n, u in parts)


def _duration(text: str) -> float | None:
    stripped = text.strip()
    if not _COMPACT.fullmatch(stripped):
        return None
    return sum(float(n) * _UNITS[u.lower()] for n, u in _DURATION.findall(stripped))


def _number(text: str, scale: float = 1.0) -> float | None:
    try:
        value = float(text) * scale
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _after(seconds: float | None, now: datetime) -> datetime | None:
    if seconds is None or not 0 < seconds <= _FARTHEST:
        return None
    return now + timedelta(seconds=seconds)


def _aware(when: datetime) -> datetime | None:
    try:
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
