"""Every kind of upstream trouble, and every odd kind of health, on every CCR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from home import Home
from matrix import ANY, WHOLE, Result, Row, play_all, play_together

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(600)]

SILENT: dict[str, Any] = {"limit": 12.0}

TROUBLES = {
    "refused": Row(gone=True),
    **{
        name: Row(name)
        for name in (
            "reset",
            "billing",
            "billing_one_model",
            "spent_cap",
            "rate_limited",
            "rate_limited_bare",
            "auth",
            "forbidden",
            "missing",
            "server_error",
            "bad_gateway",
            "down",
            "overloaded",
            "redirect",
            "html",
            "garbage",
            "gzip_garbage",
            "json_error",
            "broken_events",
            "null_choices",
            "empty_choices",
            "empty_answer",
            "empty_stream",
            "end_before_content",
            "cut_before_content",
            "error_first",
        )
    },
    "never": Row("never", **SILENT),
    "head_then_silence": Row("head_then_silence", **SILENT),
    "cut": Row("cut", streamed="cut"),
    "stream_error": Row("stream_error", streamed="cut"),
    "stall": Row("stall", streamed="cut", **SILENT),
    "end_without_mark": Row("end_without_mark", streamed="cut"),
    "mark_alone": Row("mark_alone", streamed="cut", serves=(WHOLE,)),
    "cut_in_a_call": Row("cut", streamed="cut", tools=True),
}
"""What is a whole answer all the same (``mark_alone``, not streamed) is unseen, too."""

HEALTHY = {
    "no_usage": Row("no_usage", healthy=True),
    "usage_last": Row("usage_last", healthy=True),
    "reasoning": Row("reasoning", healthy=True, **SILENT),
    "slow_first_word": Row("slow_first_word", healthy=True),
    "waits_with_comments": Row(
        {"preset": "comments", "comments": 30, "chunk_delay": 0.15}, healthy=True, limit=12.0
    ),
    "length_without_content": Row("length_without_content", healthy=True, says=""),
    "content_filter": Row("content_filter", healthy=True, says=""),
    "refusal": Row("refusal", healthy=True, says=ANY),
    "error_words": Row(
        "error_words",
        healthy=True,
        says="Error: 402 Payment Required, insufficient credit balance",
    ),
    "long_line": Row("long_line", healthy=True),
    "crlf": Row("crlf", healthy=True),
    "json_for_stream": Row("json_for_stream", healthy=True),
    "parallel_calls": Row("parallel_calls", healthy=True, tools=True),
}


FEW = {name: TROUBLES[name] for name in ("billing", "reset", "empty_stream", "cut")}
"""One that ends the account's service, two that pass, one after the first content."""


def wrong(rows: Mapping[str, Row], results: Mapping[str, Result]) -> dict[str, list[str]]:
    return {name: found for name, row in rows.items() if (found := results[name].wrong(row))}


@pytest.mark.ccr("2.0.0")
@pytest.mark.parametrize("fallback", ["acme", "other"])
def test_trouble_reaches_nobody(
    tmp_path: Path, npm_cache: Path, ccr_version: str, fallback: str
) -> None:
    """With the healthy model at the same provider, and at another: what goes wrong before the
    first content is unseen, after it the answer is cut and the next one comes from elsewhere;
    none looks whole and is not, none hangs, and a dead model is asked no more."""
    rows = {k: row for k, row in TROUBLES.items() if fallback == "other" or not row.gone}
    assert wrong(rows, play_all(rows, tmp_path, npm_cache, ccr_version, fallback)) == {}


@pytest.mark.ccr("1.0.73", "3.1.1")
def test_trouble_reaches_nobody_by_routes(
    tmp_path: Path, npm_cache: Path, ccr_version: str
) -> None:
    """On the other CCRs; all the kinds are in the test by names."""
    assert wrong(FEW, play_all(FEW, tmp_path, npm_cache, ccr_version, "acme")) == {}


@pytest.mark.ccr("2.0.0", "1.0.73", "3.1.1")
def test_trouble_of_a_named_model_reaches_nobody(home: Home) -> None:
    """The same, of models that requests name, all in one run."""
    assert wrong(TROUBLES, play_together(TROUBLES, home)) == {}


@pytest.mark.ccr("2.0.0", "1.0.73", "3.1.1")
def test_the_healthy_are_left_alone(home: Home) -> None:
    """Odd answers that are answers come from the very model, each asked of it once."""
    assert wrong(HEALTHY, play_together(HEALTHY, home)) == {}
