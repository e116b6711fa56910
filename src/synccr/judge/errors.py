"""The error inside a 2xx: its HTTP status, its words, and complaints of no known form."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from synccr.classify import classify
from synccr.classify.error_body import read

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""The judge has no clock, and of a verdict only its words are used here."""
_HTTP = re.compile(r"[45]\d\d")
_STATUS = {
    # https://docs.anthropic.com/en/api/errors
    "invalidrequesterror": 400,
    "authenticationerror": 401,
    "billingerror": 402,
    "permissionerror": 403,
    "notfounderror": 404,
    "requesttoolarge": 413,
    "ratelimiterror": 429,
    "timeouterror": 504,
    "overloadederror": 529,
    # https://platform.openai.com/docs/guides/error-codes
    "invalidapikey": 401,
    "modelnotfound": 404,
    "contextlengthexceeded": 400,
    "ratelimitexceeded": 429,
    "insufficientquota": 429,
    "serverisoverloaded": 503,
    # https://cloud.google.com/apis/design/errors
    "invalidargument": 400,
    "unauthenticated": 401,
    "permissiondenied": 403,
    "notfound": 404,
    "resourceexhausted": 429,
    "unavailable": 503,
    "deadlineexceeded": 504,
}
"""What the code words of those who send no number stand for, by their owners' own tables."""
_WORDS = ("message", "msg", "detail", "error_msg", "status_msg")
_CODES = ("code", "error_code", "status_code", "detail")
_FINE = frozenset({0, 200, "0", "200", "success", "ok"})


def words_of(error: Any) -> bytes:
    """The provider's own words under ``error``."""
    return msgspec.json.encode({"error": error})


def status_inside(body: bytes) -> int:
    """The HTTP status that an error speaks of, as number, text or word; else 502."""
    words = read(text_of(body))
    numbers = sorted(int(code) for code in words.codes if _HTTP.fullmatch(code))
    named = sorted(_STATUS[code] for code in words.codes if code in _STATUS)
    # A specific word stands beside a general one: billing_error, and invalid_request_error.
    return words.http or next(iter(numbers), 0) or next(reversed(named), 502)


def detail_of(http_status: int, body: bytes) -> str:
    """One line; a sentence that may repeat the prompt is left out."""
    return classify(http_status, text_of(body), now=_ANY_TIME).detail


def page_detail(body: bytes) -> str:
    """One line about an answer that is none; of words that could be content, nothing."""
    words = read(text_of(body))
    if not words.html:
        return "answered with neither JSON nor events"
    return f"answered with an HTML page: {words.text}".rstrip(": ")


def complaint(document: dict[str, Any]) -> bool:
    """Whether a document that is no part of an answer speaks of an error.

    ``{"code": 30001, "message"}`` (SiliconFlow), ``{"error_code", "error_msg"}`` (Qianfan),
    ``{"base_resp": {"status_code", "status_msg"}}`` (MiniMax), ``{"detail"}`` (FastAPI).
    """
    if document.get("object") == "error":  # vLLM
        return True
    for node in (document, document.get("base_resp")):
        if isinstance(node, dict) and any(isinstance(node.get(name), str) for name in _WORDS):
            codes = [node[name] for name in _CODES if isinstance(node.get(name), int | str)]
            return any(code not in _FINE for code in codes)
    return False


def text_of(body: bytes) -> str:
    """The body as text; what is no UTF-8 is replaced."""
    return body.decode("utf-8", "replace")
