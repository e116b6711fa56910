"""What a client is told when no model answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from synccr.judge.outcome import Failure, Trouble, failure
from synccr.judge.verdict import known_detail
from synccr.models.report import ModelRef, Status
from synccr.turns.attempt import Attempt
from synccr.turns.final_error import FinalError, final_error

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REFS = [ModelRef("acme", name) for name in ("main", "spare", "long")]


def said(status: int, words: str) -> Failure:
    """A provider's own refusal."""
    return failure(Trouble.STATUS, words, http_status=status, body=words.encode())


def after(*failures: Failure, headers: dict[str, str] | None = None) -> FinalError:
    """One model after the other has failed."""
    attempts = [
        Attempt(ref, 0.0, sent=one.trouble is not Trouble.KNOWN, failure=one, headers=headers or {})
        for ref, one in zip(REFS, failures, strict=False)
    ]
    return final_error(attempts, NOW)


BILLING = said(402, "Insufficient credit balance")
AUTH = said(401, "Invalid API key")
MISSING = said(404, "The model does not exist")
BUSY = said(429, "Too many requests, please slow down")
DOWN = said(503, "Service temporarily unavailable")


@pytest.mark.parametrize(
    ("failures", "status", "words"),
    [
        ([BILLING], 402, "acme,main: billing (Insufficient credit balance). Top up"),
        (
            [BILLING, AUTH],
            402,
            "acme,main: billing (Insufficient credit balance); acme,spare: auth",
        ),
        ([BILLING] * 3, 402, "billing"),
        ([AUTH], 403, "acme,main: auth (Invalid API key). Check the provider's key."),
        ([AUTH, AUTH], 403, "auth"),
        ([MISSING, MISSING], 404, "missing"),
        ([BUSY, BUSY], 429, "rate_limited"),
        ([BUSY, DOWN], 529, "overloaded"),
        ([BILLING, DOWN], 529, "billing"),
        ([DOWN] * 3, 529, "overloaded"),
        ([failure(Trouble.EMPTY, "no content")], 529, "overloaded (no content)"),
        (
            [failure(Trouble.UNREACHABLE, "refused")],
            529,
            "unreachable (refused). Check the network",
        ),
        ([failure(Trouble.SILENT, "no byte for 45 s")], 529, "or raise silence_timeout."),
    ],
)
def test_the_status_ends_the_clients_wait_or_says_that_it_pays(
    failures: list[Failure], status: int, words: str
) -> None:
    """What stays ends the turn of Claude Code at once; what passes is asked again."""
    found = after(*failures)
    assert found.status == status
    assert found.message.startswith("No model answered. acme,main")
    assert words in found.message


def test_the_time_to_come_back_is_handed_on() -> None:
    """As the provider said, where one did."""
    assert after(BUSY, BUSY, headers={"retry-after": "7"}).retry_after == 7
    assert after(BUSY).retry_after is None


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(
    "words", ["max_tokens is too large", "insufficient credit balance", "Invalid API key: \u2022"]
)
def test_a_fault_of_the_request_is_told_in_the_first_models_words(status: int, words: str) -> None:
    """With its status, whatever they are: a prompt may be repeated there."""
    found = after(said(status, words), said(status, "other words"))
    assert (found.status, found.message) == (status, words)


def test_the_words_of_a_fault_are_taken_out_of_their_json() -> None:
    """So that the client can mend the request."""
    words = "prompt is too long: 210000 tokens > 200000 maximum"
    body = b'{"error": {"message": "%b"}}' % words.encode()
    found = after(DOWN, Failure(Trouble.STATUS, 400, body, words))
    assert (found.status, found.message) == (400, words)


def test_a_fault_is_told_whatever_came_after_it() -> None:
    """Claude Code compacts on the first model's words, not on another one's trouble."""
    words = "This model's maximum context length is 32768 tokens"
    assert after(said(400, words), DOWN) == FinalError(400, words)
    assert after(DOWN, said(400, words)) == FinalError(400, words)


def test_models_in_the_same_trouble_are_named_together() -> None:
    """One sentence, however many models there are."""
    found = after(*(said(402, "no credit") for _ in REFS))
    assert found.message.startswith(
        "No model answered. acme,main and acme,spare and acme,long: billing (no credit). Top up"
    )


@pytest.mark.parametrize("status", [Status.BILLING, Status.TIMEOUT, Status.UNREACHABLE])
def test_a_model_that_was_not_asked_keeps_its_trouble(status: Status) -> None:
    """By the verdict that it has, not by our own words about it."""
    refused = failure(Trouble.KNOWN, known_detail(status, "some words"), http_status=400)
    assert f"acme,main: {status} (some words);" in after(refused, DOWN).message


def test_nothing_could_be_asked() -> None:
    """Trials alone are no answer, and no trouble of a model; nor is no attempt at all."""
    assert after(failure(Trouble.TRIAL, "tried first")).status == 529
    assert after().status == 529
