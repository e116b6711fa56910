"""The error that a client gets when no model answered its request: one sentence, and a status
that ends its wait. Pure.

Claude Code ends a turn at once on 402, 403 and 413 and shows the text as it is; 401, 429, 500,
503 and 529 cost it three minutes of retries (measured, 2.1.197 and 2.1.331). So trouble that
stays gets one of the first, whatever the provider's status was, and trouble that passes one of
the others and the time to come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from synccr.classify import Scope, Verdict
from synccr.classify.error_body import read
from synccr.heal.advice import advice
from synccr.judge.outcome import Trouble
from synccr.judge.verdict import verdict_of
from synccr.models.report import TRANSIENT, Status
from synccr.redact import printable
from synccr.turns.attempt import Attempt

_FINAL: Final = {
    Status.BILLING: 402,
    Status.QUOTA: 402,
    Status.AUTH: 403,
    Status.MISSING: 404,
    Status.RATE_LIMITED: 429,
}
_PASSING: Final = 529
_WORDS: Final = 2000
_SHORT: Final = 160
_FAULTS: Final = frozenset({400, 413, 422})
"""Statuses that say that the request is at fault: no words decide otherwise."""


@dataclass(frozen=True, slots=True)
class FinalError:
    """What the client gets.

    Attributes:
        status: HTTP.
        message: for a person.
        retry_after: seconds; None when nothing is known, or asking again is of no use.
    """

    status: int
    message: str
    retry_after: int | None = None


def final_error(attempts: Sequence[Attempt], now: datetime) -> FinalError:
    """What the client gets: the first failure, and what was tried after it.

    Args:
        attempts: of one turn, none of which is an answer.
        now: UTC.
    """
    failed = [
        (one, one.failure, verdict_of(one.failure, one.headers, now))
        for one in attempts
        if one.failure is not None and one.failure.trouble is not Trouble.TRIAL
    ]
    if not failed:
        return FinalError(_PASSING, "No model could be asked.")
    first = next((one for one, _, _ in failed if one.sent), None)
    for one, failure, verdict in failed:
        faulty = one is first and failure.http_status in _FAULTS
        if verdict.scope is Scope.REQUEST or faulty:
            words = printable(read(failure.body.decode("utf-8", "replace")).text)[:_WORDS]
            return FinalError(failure.http_status, words or "Refused.")
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
    return FinalError(status, f"No model answered. {text}. {todo}".strip(), _wait(verdicts, now))


def _said(verdict: Verdict) -> str:
    detail = f" ({printable(verdict.detail)[:_SHORT].rstrip('.')})" if verdict.detail else ""
    return f"{verdict.status}{detail}"


def _wait(verdicts: Sequence[Verdict], now: datetime) -> int | None:
    """Seconds until the first of some models serves again, as far as providers said."""
    times = [v.retry_at for v in verdicts if v.retry_at is not None]
    if not times:
        return None
    return max(1, round((min(times) - now).total_seconds()))
