"""What a client is told when no model answered its request: one sentence, and a status that
ends its wait. Pure.

Claude Code ends a turn at once on 402, 403 and 413 and shows the text as it is; 401, 429, 500,
503 and 529 cost it three minutes of retries (measured, 2.1.197 and 2.1.331). So trouble that
stays is told with one of the first, whatever the provider's status was, and trouble that passes
with one of the others and the time to come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from synccr.classify import Scope, Verdict, classify
from synccr.classify.body import read
from synccr.heal.advice import advice
from synccr.judge.outcome import Failure, Trouble
from synccr.models.report import TRANSIENT, Status
from synccr.redact import printable
from synccr.turns.turn import Try

_FINAL: Final = {
    Status.BILLING: 402,
    Status.QUOTA: 402,
    Status.AUTH: 403,
    Status.MISSING: 404,
    Status.RATE_LIMITED: 429,
}
_PASSING: Final = 529
_STATUSES: Final = frozenset(map(str, Status))
_WORDS: Final = 2000
_SHORT: Final = 160
_TELLING: Final = frozenset({Trouble.STATUS, Trouble.ERROR})
"""Troubles in which the body is the provider's."""
_FAULTS: Final = frozenset({400, 413, 422})
"""Statuses that say that the request is at fault: no words decide otherwise."""


@dataclass(frozen=True, slots=True)
class LastWord:
    """What the client gets.

    Attributes:
        status: HTTP.
        message: for a person.
        retry_after: seconds; None when nothing is known, or asking again is of no use.
    """

    status: int
    message: str
    retry_after: int | None = None


def verdict_of(failure: Failure, headers: Mapping[str, str], now: datetime) -> Verdict:
    """What a failure says about its model."""
    body = failure.body.decode("utf-8", "replace")
    if failure.trouble is Trouble.KNOWN:
        return _known(failure)
    if failure.trouble in _TELLING:
        return classify(failure.http_status, body, headers, now=now)
    if failure.trouble is Trouble.SILENT:
        return Verdict(Status.TIMEOUT, detail=failure.detail)
    if failure.trouble is Trouble.UNREACHABLE:
        return Verdict(Status.UNREACHABLE, detail=failure.detail)
    return Verdict(Status.OVERLOADED, detail=failure.detail)


def last_word(tries: Sequence[Try], now: datetime) -> LastWord:
    """The first failure, and what was tried after it.

    Args:
        tries: of one turn, none of which is an answer.
        now: UTC.
    """
    failed = [
        (one, one.failure, verdict_of(one.failure, one.headers, now))
        for one in tries
        if one.failure is not None and one.failure.trouble is not Trouble.TRIAL
    ]
    if not failed:
        return LastWord(_PASSING, "No model could be asked.")
    first = next((one for one, _, _ in failed if one.sent), None)
    for one, failure, verdict in failed:
        faulty = one is first and failure.http_status in _FAULTS
        if verdict.scope is Scope.REQUEST or faulty:
            words = printable(read(failure.body.decode("utf-8", "replace")).text)[:_WORDS]
            return LastWord(failure.http_status, words or "Refused.")
    verdicts = [verdict for _, _, verdict in failed]
    passing = [v for v in verdicts if v.status in TRANSIENT]
    said: dict[str, list[str]] = {}
    for ref, verdict in {one.ref: verdict for one, _, verdict in failed}.items():
        said.setdefault(_said(verdict), []).append(str(ref))
    text = "; ".join(f"{' and '.join(refs)}: {what}" for what, refs in said.items())
    # The time that ran out is a request's, not a probe's.
    todo = " ".join(advice([v.status for v in verdicts])[:1]).replace("preflight", "silence")
    status = _FINAL.get(verdicts[0].status, _PASSING)
    if passing:
        status = 429 if all(v.status is Status.RATE_LIMITED for v in verdicts) else _PASSING
    return LastWord(status, f"No model answered. {text}. {todo}".strip(), _wait(verdicts, now))


def known(status: Status, detail: str) -> str:
    """The detail of a ``KNOWN`` failure: what its model is left alone for."""
    return f"{status}: {detail}" if detail else str(status)


def _known(failure: Failure) -> Verdict:
    word, _, detail = failure.detail.partition(": ")
    if word in _STATUSES:
        return Verdict(Status(word), detail=detail)
    return Verdict(Status.OVERLOADED, detail=failure.detail)


def _said(verdict: Verdict) -> str:
    detail = f" ({printable(verdict.detail)[:_SHORT].rstrip('.')})" if verdict.detail else ""
    return f"{verdict.status}{detail}"


def _wait(verdicts: Sequence[Verdict], now: datetime) -> int | None:
    """Seconds until the first of some models serves again, as far as providers said."""
    times = [v.retry_at for v in verdicts if v.retry_at is not None]
    if not times:
        return None
    return max(1, round((min(times) - now).total_seconds()))
