"""What a provider's answer means for the model: status and body in, a verdict out.

Used for the answers of probes and for errors read from CCR's log. The order of
trust: HTTP status, then the code words of known JSON fields, then the sentence.

Providers echo prompts in some 400s, so the sentence of a 400 is judged by whole
phrases near its beginning, with long quotations cut out, and fields that repeat
the input are never read. A provider that repeats a hostile prompt word for word at
the start of a 400 can still mislead this: whoever acts on a 400 from live traffic
confirms it with a probe first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from synccr.classify import error_phrases, retry_time
from synccr.classify.error_body import Words, read
from synccr.classify.error_rules import matching
from synccr.classify.verdict import Confidence, Scope, Verdict
from synccr.models.report import TRANSIENT, Status
from synccr.redact import printable

__all__ = ["Confidence", "Scope", "Verdict", "classify"]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DETAIL_LIMIT = 200
_STATUS_SAYS_IT = frozenset({401, 402, 404, 410, 429})
"""What other 4xx mean is read from their sentence, which may repeat a prompt."""


def classify(
    http_status: int | None, body: str, headers: Mapping[str, str] = _NO_HEADERS, *, now: datetime
) -> Verdict:
    """Judge one answer of a provider. Never raises.

    Args:
        http_status: None when there was no HTTP answer; then ``body`` is the
            error's text as CCR or its runtime gives it.
        body: the answer, as text.
        headers: the answer's headers, names in any case; may be empty.
        now: the present, with a time zone; relative times count from it.
    """
    words = read(body)
    if http_status is None:
        return Verdict(_network(words.text), Scope.PROVIDER, detail=_detail(words, "no answer"))
    if 200 <= http_status < 300 and words.completion:
        return Verdict(Status.OK)
    # OpenRouter and others put an error under a 200, with its real status inside.
    inside = words.http or 500 if 200 <= http_status < 300 else http_status
    rule = matching(inside, words)
    if rule.scope is Scope.REQUEST:
        return Verdict(
            rule.status,
            rule.scope,
            detail=_fault_detail(words, http_status),
            too_long=http_status == 413 or _too_long(words),
        )
    sure = http_status in _STATUS_SAYS_IT or http_status >= 500
    return Verdict(
        rule.status,
        rule.scope,
        Confidence.CERTAIN if sure else Confidence.LIKELY,
        _retry_at(rule.status, words, headers, now),
        _detail(words, f"HTTP {http_status}"),
    )


def _too_long(words: Words) -> bool:
    return bool(
        words.codes & error_phrases.TOO_LONG_CODES or error_phrases.TOO_LONG.search(words.text)
    )


def _network(text: str) -> Status:
    if error_phrases.NOT_JSON.search(text):
        return Status.OVERLOADED
    if error_phrases.TIMED_OUT.search(text):
        return Status.TIMEOUT
    return Status.UNREACHABLE if error_phrases.NETWORK.search(text) else Status.UNVERIFIED


def _retry_at(
    status: Status, words: Words, headers: Mapping[str, str], now: datetime
) -> datetime | None:
    if status not in TRANSIENT and status is not Status.QUOTA:
        return None
    lower = {name.lower(): value for name, value in headers.items()} | words.headers
    if status is Status.QUOTA and "resourceexhausted" in words.codes:
        # Google names a delay of seconds even for a daily quota.
        return retry_time.find(lower, "", "", now) or retry_time.pacific_midnight(now)
    return retry_time.find(lower, words.delay, words.text, now)


def _detail(words: Words, otherwise: str) -> str:
    said = printable(words.text)
    if words.html:
        said = f"answered with an HTML page: {said}" if said else "answered with an HTML page"
    return (said or otherwise)[:_DETAIL_LIMIT]


def _fault_detail(words: Words, http: int) -> str:
    """Without the provider's sentence, which may repeat the prompt."""
    known = sorted(words.codes & error_phrases.REQUEST_CODES) or [printable(words.param)]
    said = f"the request's own fault (HTTP {http}{f', {known[0]}' if known[0] else ''})"
    return said[:_DETAIL_LIMIT]
