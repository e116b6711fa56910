"""What a client is told when no model answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from synccr.judge.outcome import Failure, Trouble, failure
from synccr.models.report import ModelRef, Status
from synccr.turns.last_word import LastWord, known, last_word
from synccr.turns.turn import Try

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REFS = [ModelRef("acme", name) for name in ("main", "spare", "long")]


def said(http_status: int, words: str) -> Failure:
    return failure(Trouble.STATUS, words, http_status=http_status, body=words.encode())


def told(*failures: Failure, headers: dict[str, str] | None = None) -> LastWord:
    """One model after the other has failed."""
    tries = [
        Try(ref, 0.0, sent=one.trouble is not Trouble.KNOWN, failure=one, headers=headers or {})
        for ref, one in zip(REFS, failures, strict=False)
    ]
    return last_word(tries, NOW)


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([402, 402, 402], 402),
        ([401, 401], 403),
        ([404, 404], 404),
        ([429, 429], 429),
        ([503, 503, 503], 529),
        ([402, 503], 529),
        ([429, 503], 529),
    ],
)
def test_the_status_ends_the_wait_or_says_that_it_pays(statuses: list[int], status: int) -> None:
    """What stays ends the turn of Claude Code at once; what passes is asked again."""
    assert told(*(said(one, "no") for one in statuses)).status == status


def test_the_time_to_come_back_is_handed_on() -> None:
    """The provider's own."""
    word = told(said(429, "slow down"), said(429, "slow down"), headers={"retry-after": "7"})
    assert (word.status, word.retry_after) == (429, 7)


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(
    "words", ["max_tokens is too large", "insufficient credit balance", "Invalid API key: \u2022"]
)
def test_a_fault_of_the_request_is_told_in_the_first_models_words(status: int, words: str) -> None:
    """With its status, whatever they are: a prompt may be repeated there."""
    word = told(said(status, words), said(status, "other words"))
    assert (word.status, word.message) == (status, words)


def test_a_fault_is_told_whatever_came_after_it() -> None:
    """Claude Code compacts on the first model's words, not on another one's trouble."""
    words = "This model's maximum context length is 32768 tokens"
    assert told(said(400, words), said(503, "down")) == LastWord(400, words)
    assert told(said(503, "down"), said(400, words)) == LastWord(400, words)


def test_models_in_the_same_trouble_are_named_together() -> None:
    """One sentence, however many models there are."""
    word = told(*(said(402, "no credit") for _ in REFS))
    assert word.message.startswith(
        "No model answered. acme,main and acme,spare and acme,long: billing (no credit). Top up"
    )


@pytest.mark.parametrize("status", [Status.BILLING, Status.TIMEOUT, Status.UNREACHABLE])
def test_a_model_that_was_not_asked_keeps_its_trouble(status: Status) -> None:
    """By the verdict that it has, not by our own words about it."""
    refused = failure(Trouble.KNOWN, known(status, "some words"), http_status=400)
    assert f"acme,main: {status} (some words);" in told(refused, said(503, "down")).message


def test_nothing_could_be_asked() -> None:
    """Trials alone are no answer, and no trouble of a model."""
    assert told(failure(Trouble.TRIAL, "tried first")).status == 529
