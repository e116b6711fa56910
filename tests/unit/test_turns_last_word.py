"""What a client is told when no model answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from synccr.judge.outcome import Failure, Trouble, failure
from synccr.models.report import ModelRef
from synccr.turns.last_word import last_word
from synccr.turns.turn import Try

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def said(status: int, words: str) -> Failure:
    """A provider's own refusal."""
    body = b'{"error": {"message": "%b"}}' % words.encode()
    return Failure(Trouble.STATUS, status, body, words)


def tried(*failures: Failure, **headers: str) -> list[Try]:
    """One try a failure, each of another model."""
    return [
        Try(ModelRef("p", f"m{number}"), 0.0, sent=True, failure=one, headers=dict(headers))
        for number, one in enumerate(failures)
    ]


BILLING = said(402, "Insufficient credit balance")
AUTH = said(401, "Invalid API key")
BUSY = said(429, "Too many requests, please slow down")
DOWN = said(503, "Service temporarily unavailable")


@pytest.mark.parametrize(
    ("failures", "status", "words"),
    [
        ([BILLING], 402, "p,m0: billing (Insufficient credit balance). Top up"),
        ([BILLING, AUTH], 402, "p,m0: billing (Insufficient credit balance); p,m1: auth"),
        ([AUTH], 403, "p,m0: auth (Invalid API key). Check the provider's key."),
        ([said(404, "The model does not exist")], 404, "missing"),
        ([BUSY, BUSY], 429, "rate_limited"),
        ([BUSY, DOWN], 529, "overloaded"),
        ([BILLING, DOWN], 529, "billing"),
        ([failure(Trouble.EMPTY, "no content")], 529, "overloaded (no content)"),
        (
            [failure(Trouble.UNREACHABLE, "refused")],
            529,
            "unreachable (refused). Check the network",
        ),
        ([failure(Trouble.SILENT, "no byte for 45 s")], 529, "or raise silence_timeout."),
    ],
)
def test_the_status_ends_or_keeps_the_clients_wait(
    failures: list[Failure], status: int, words: str
) -> None:
    """Trouble that stays ends it; one model in passing trouble is worth another try."""
    word = last_word(tried(*failures), NOW)
    assert word.status == status
    assert word.message.startswith("No model answered. p,m0")
    assert words in word.message


def test_a_fault_of_the_request_is_told_in_the_providers_words() -> None:
    """So that the client can mend the request."""
    words = "prompt is too long: 210000 tokens > 200000 maximum"
    word = last_word(tried(DOWN, said(400, words)), NOW)
    assert (word.status, word.message) == (400, words)


def test_when_to_come_back() -> None:
    """As the provider said, where one did."""
    assert last_word(tried(BUSY, **{"retry-after": "7"}), NOW).retry_after == 7
    assert last_word(tried(BUSY), NOW).retry_after is None


def test_nobody_was_asked() -> None:
    """A session that waits for a trial, say."""
    assert last_word([], NOW).status == 529
