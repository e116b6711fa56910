"""Every kind of upstream trouble, and every odd kind of health, on both generations of CCR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matrix import ANY, WHOLE, Row, play_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

OLD = pytest.param("1.0.73", marks=pytest.mark.long)
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


@pytest.mark.parametrize("version", ["2.0.0", OLD])
@pytest.mark.parametrize(
    "fallback",
    [pytest.param("acme", marks=pytest.mark.long), pytest.param("other", marks=pytest.mark.long)],
)
def test_trouble_reaches_nobody(
    tmp_path: Path, npm_cache: Path, version: str, fallback: str
) -> None:
    """With the healthy model at the same provider, and at another: what goes wrong before the
    first content is unseen, after it the answer is cut and the next one comes from elsewhere;
    none looks whole and is not, none hangs, and a dead model is asked no more."""
    rows = {k: row for k, row in TROUBLES.items() if fallback == "other" or not row.gone}
    env = {"SYNCCR_CCR_VERSION": version}
    results = play_all(rows, tmp_path, npm_cache, env, fallback)
    assert {n: w for n, row in rows.items() if (w := results[n].wrong(row))} == {}


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.0.0", OLD])
def test_the_healthy_are_left_alone(tmp_path: Path, npm_cache: Path, version: str) -> None:
    """Odd answers that are answers come from the very model, each asked of it once."""
    env = {"SYNCCR_CCR_VERSION": version}
    results = play_all(HEALTHY, tmp_path, npm_cache, env, "other")
    assert {n: w for n, row in HEALTHY.items() if (w := results[n].wrong(row))} == {}
