"""What a failure says of its model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from synccr.classify import Verdict, classify
from synccr.judge.outcome import Failure, Trouble
from synccr.models.report import Status

_STATUSES: Final = frozenset(map(str, Status))
_PROVIDERS_WORDS: Final = frozenset({Trouble.STATUS, Trouble.ERROR})
"""Troubles in which the body is the provider's."""
_OWN_VERDICT: Final = {Trouble.SILENT: Status.TIMEOUT, Trouble.UNREACHABLE: Status.UNREACHABLE}


def verdict_of(failure: Failure, headers: Mapping[str, str], now: datetime) -> Verdict:
    """What a failure says of its model.

    Args:
        failure: of one attempt.
        headers: of the provider's answer, names in lower case.
        now: UTC.
    """
    if failure.trouble is Trouble.KNOWN:
        return _known(failure)
    if failure.trouble in _PROVIDERS_WORDS:
        body = failure.body.decode("utf-8", "replace")
        return classify(failure.http_status, body, headers, now=now)
    status = _OWN_VERDICT.get(failure.trouble, Status.OVERLOADED)
    return Verdict(status, detail=failure.detail)


def known_detail(status: Status, detail: str) -> str:
    """The detail of a ``KNOWN`` failure: why its model is left alone."""
    return f"{status}: {detail}" if detail else str(status)


def _known(failure: Failure) -> Verdict:
    word, _, detail = failure.detail.partition(": ")
    if word in _STATUSES:
        return Verdict(Status(word), detail=detail)
    return Verdict(Status.OVERLOADED, detail=failure.detail)
