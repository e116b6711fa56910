"""What can be wrong with a provider's answer, and what is said in its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from synccr.redact import Redactor

BODY_LIMIT = 16 << 10
"""Bytes of a failed answer's own words that are handed on."""
_DETAIL_LIMIT = 200
_LINE = Redactor().line


class Trouble(StrEnum):
    """Why an attempt at one model failed."""

    STATUS = "status"
    """The provider answered an HTTP error."""
    PAGE = "page"
    """A 2xx that is neither JSON nor a stream of events: HTML, garbage."""
    ERROR = "error"
    """A 2xx with an error object in place of an answer, or an error event in the stream."""
    EMPTY = "empty"
    """Ended well, without any content."""
    CUT = "cut"
    """Broke off, or ended without the dialect's end mark."""
    SILENT = "silent"
    """No byte within the limit."""
    UNREACHABLE = "unreachable"
    """No connection: DNS, refused, TLS, proxy."""
    KNOWN = "known"
    """Not asked: its breaker is open."""
    TRIAL = "trial"
    """Not asked: another session tries this model."""


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    Attributes:
        trouble: what kind.
        http_status: what CCR is answered: the provider's own status for ``STATUS``, the
            one inside an error object, 504 for ``SILENT``, else 502.
        body: what CCR is answered: the provider's own words where there are any, at most
            16 KiB, else :func:`own_body`.
        detail: one line for people, at most 200 characters, without what looks like a key.
        passed: some of the answer had been passed on already.
    """

    trouble: Trouble
    http_status: int
    body: bytes = field(repr=False)
    detail: str
    passed: bool = False


def own_body(trouble: Trouble, message: str) -> bytes:
    """A JSON error in OpenAI's form, where the provider has no words of its own."""
    error = {"message": message, "type": "api_error", "code": f"synccr_{trouble}"}
    return msgspec.json.encode({"error": error})


def failure(
    trouble: Trouble,
    detail: str,
    *,
    http_status: int = 502,
    body: bytes = b"",
    passed: bool = False,
) -> Failure:
    """A failure with its texts cut to their limits.

    Args:
        trouble: what kind.
        detail: a sentence for people; also the message where ``body`` is empty.
        http_status: what CCR is answered.
        body: the provider's own words.
        passed: some of the answer had been passed on already.
    """
    said = _LINE(detail, _DETAIL_LIMIT)
    return Failure(trouble, http_status, body[:BODY_LIMIT] or own_body(trouble, said), said, passed)
