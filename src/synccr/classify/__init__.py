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
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from synccr.classify import phrases, retry_time
from synccr.classify.body import Words, read
from synccr.models.report import TRANSIENT, Status
from synccr.redact import printable

__all__ = ["Confidence", "Scope", "Verdict", "classify"]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DETAIL_LIMIT = 200
_ECHO_LIMIT = 400
"""Characters of a 400's sentence that are judged: an echoed prompt comes later."""
_STATUS_SAYS_IT = frozenset({401, 402, 404, 410, 429})
"""What other 4xx mean is read from their sentence, which may repeat a prompt."""


class Scope(StrEnum):
    """What an error is about, by the words of the model that failed."""

    REQUEST = "request"
    """Too long, a bad parameter, content policy: no reason to move a route."""
    MODEL = "model"
    KEY = "key"
    """The key or its account (refused, a spent cap, no credit): perhaps all of its models."""
    PROVIDER = "provider"
    """No answer at all: perhaps all that is at the same address."""


class Confidence(StrEnum):
    """How sure it is that the model which failed has this trouble. That others have it, too,
    is never more than a suspicion, whatever the words."""

    CERTAIN = "certain"
    """The HTTP status says it by itself."""
    LIKELY = "likely"
    """Words say it, and those may repeat a prompt."""


@dataclass(frozen=True)
class Verdict:
    """What an answer says about a model.

    Attributes:
        status: the model's state; ``unverified`` when the request was at fault,
            because such an answer says nothing about the model.
        scope: what the trouble is about.
        confidence: how sure it is of the model that failed.
        retry_at: when the provider said it will serve again, UTC.
        detail: one line of at most 200 characters; secrets are the caller's to mask.
        too_long: the request does not fit into the model's context window.
    """

    status: Status
    scope: Scope = Scope.MODEL
    confidence: Confidence = Confidence.LIKELY
    retry_at: datetime | None = None
    detail: str = ""
    too_long: bool = False

    @property
    def account(self) -> bool:
        """The model speaks of its key or account: others of it may be in the same trouble."""
        return self.scope is Scope.KEY

    @property
    def request_fault(self) -> bool:
        """The request was at fault: no reason to move a route."""
        return self.scope is Scope.REQUEST


_REQUEST_FAULT = Verdict(Status.UNVERIFIED, Scope.REQUEST)


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
    if 200 <= http_status < 300:
        if words.completion:
            return Verdict(Status.OK)
        # OpenRouter and others put an error under a 200, with its real status inside.
        verdict = _judge(words.http or 500, words)
    else:
        verdict = _judge(http_status, words)
    if verdict.request_fault:
        too_long = http_status == 413 or _too_long(words)
        return replace(verdict, detail=_fault_detail(words, http_status), too_long=too_long)
    sure = http_status in _STATUS_SAYS_IT or http_status >= 500
    return Verdict(
        verdict.status,
        verdict.scope,
        Confidence.CERTAIN if sure else Confidence.LIKELY,
        _retry_at(verdict.status, words, headers, now),
        _detail(words, f"HTTP {http_status}"),
    )


def _too_long(words: Words) -> bool:
    return bool(words.codes & phrases.TOO_LONG_CODES or phrases.TOO_LONG.search(words.text))


def _about(*, account: bool) -> Scope:
    return Scope.KEY if account else Scope.MODEL


def _judge(http: int, words: Words) -> Verdict:
    if words.codes & phrases.REQUEST_CODES:
        return _REQUEST_FAULT
    match http:
        case 402:
            return Verdict(Status.BILLING, _out_of_credit(words))
        case 401 if words.codes & phrases.BILLING_CODES:
            return Verdict(Status.BILLING, Scope.KEY)
        case 401:
            return Verdict(Status.AUTH, Scope.KEY)
        case 403:
            return _forbidden(words)
        case 404 if phrases.MODALITY.search(words.text):
            return _REQUEST_FAULT
        case 404 | 405 | 410:
            return Verdict(Status.MISSING)
        case 408:
            return Verdict(Status.TIMEOUT)
        case 429:
            return _limited(words)
        case 409 | 423 | 424 | 425 | 498 | 499:
            return Verdict(Status.OVERLOADED)
        case _ if 300 <= http < 400:
            return Verdict(Status.UNREACHABLE)
        case _ if 400 <= http < 500:
            return _bad_request(words)
        case _:
            return Verdict(Status.OVERLOADED)


def _limited(words: Words) -> Verdict:
    """A 429: a cap that is spent, credit that is gone, or only too fast."""
    text, codes = words.text, words.codes
    one_model = phrases.PER_MODEL.search(text) or any("permodel" in code for code in codes)
    if "resourceexhausted" in codes or "RESOURCE_EXHAUSTED" in text:
        if phrases.CAP.search(text) or any("perday" in code for code in codes):
            return Verdict(Status.QUOTA, _about(account=not one_model))
        return Verdict(Status.RATE_LIMITED)
    if phrases.SHORT_WINDOW.search(text):
        return Verdict(Status.RATE_LIMITED)
    if codes & phrases.QUOTA_CODES:
        return Verdict(Status.QUOTA, _about(account=not codes & phrases.ONE_MODEL_QUOTA_CODES))
    if codes & phrases.BILLING_CODES or phrases.NO_CREDIT.search(text):
        return Verdict(Status.BILLING, _about(account=not codes & phrases.ONE_MODEL_CODES))
    if phrases.LONG_WINDOW.search(text):
        return Verdict(Status.QUOTA, _about(account=not one_model))
    return Verdict(Status.RATE_LIMITED)


def _forbidden(words: Words) -> Verdict:
    """A 403: no money, a spent cap, one model out of bounds, or a key without rights."""
    text, codes = words.text, words.codes
    if codes & phrases.BILLING_CODES:
        return Verdict(Status.BILLING, _out_of_credit(words))
    if phrases.USAGE_LIMIT.search(text):
        return Verdict(Status.QUOTA, Scope.KEY)
    if phrases.BILLING_WORD.search(text):
        return Verdict(Status.BILLING, _out_of_credit(words))
    one_model = codes & phrases.MISSING_CODES or phrases.MODEL_ACCESS.search(text)
    return Verdict(Status.AUTH, _about(account=not one_model))


def _bad_request(words: Words) -> Verdict:
    """A 400, 412, 422 or the like: the model's, the account's, or the request's own trouble."""
    codes = words.codes
    if codes & phrases.BILLING_CODES:
        return Verdict(Status.BILLING, _out_of_credit(words))
    if codes & phrases.MISSING_CODES or words.param == "model":
        return Verdict(Status.MISSING)
    if codes & phrases.AUTH_CODES:
        return Verdict(Status.AUTH, Scope.KEY)
    text = phrases.QUOTATION.sub("", words.text[:_ECHO_LIMIT])
    if words.param or phrases.FIELD_PATH.match(text):
        return _REQUEST_FAULT
    if phrases.USAGE_LIMIT.search(text):
        return Verdict(Status.QUOTA, Scope.KEY)
    if phrases.NO_CREDIT.search(text):
        return Verdict(Status.BILLING, _out_of_credit(words))
    if phrases.TOO_MUCH.search(text):
        return _REQUEST_FAULT
    if phrases.BILLING_PHRASE.search(text):
        return Verdict(Status.BILLING)
    if phrases.BAD_KEY.search(text):
        return Verdict(Status.AUTH, Scope.KEY)
    if phrases.NO_MODEL.search(text):
        return Verdict(Status.MISSING)
    return _REQUEST_FAULT


def _out_of_credit(words: Words) -> Scope:
    """Nothing is left at all, as opposed to a plan without this model."""
    if words.codes & phrases.ONE_MODEL_CODES or phrases.ONE_MODEL.search(words.text):
        return Scope.MODEL
    broke = words.codes & phrases.BILLING_CODES or phrases.NO_CREDIT.search(words.text)
    return _about(account=bool(broke))


def _network(text: str) -> Status:
    if phrases.NOT_JSON.search(text):
        return Status.OVERLOADED
    if phrases.TIMED_OUT.search(text):
        return Status.TIMEOUT
    return Status.UNREACHABLE if phrases.NETWORK.search(text) else Status.UNVERIFIED


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
    known = sorted(words.codes & phrases.REQUEST_CODES) or [printable(words.param)]
    said = f"the request's own fault (HTTP {http}{f', {known[0]}' if known[0] else ''})"
    return said[:_DETAIL_LIMIT]
