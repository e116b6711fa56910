"""What a provider's answer means: the table of real cases, and what must hold for any answer."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.classify import Scope, Verdict, classify
from synccr.classify.error_body import read
from synccr.models.report import FATAL, Status

NOW = datetime(2025, 6, 16, tzinfo=UTC)
TABLE = Path(__file__).with_name("data") / "errors.toml"
CASES: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["case"]


def judge(case: dict[str, Any]) -> Verdict:
    now = case.get("now", NOW)
    return classify(case.get("http"), case["body"], case.get("headers", {}), now=now)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_real_answer_means_what_the_table_says(case: dict[str, Any]) -> None:
    """Status, scope, fault and time of each real answer are judged as its row says."""
    verdict = judge(case)
    waits = verdict.retry_at and (verdict.retry_at - case.get("now", NOW)).total_seconds()
    assert (verdict.status, verdict.scope is Scope.KEY, verdict.scope is Scope.REQUEST, waits) == (
        Status(case["status"]),
        case.get("account", False),
        case.get("request_fault", False),
        pytest.approx(case["retry_after"], abs=1e-5) if "retry_after" in case else None,
    )


def test_the_table_is_large_and_every_row_has_a_source() -> None:
    """At least 60 cases, no two of one name, each with a page or a measurement as source."""
    assert len(CASES) >= 60
    assert len({case["name"] for case in CASES}) == len(CASES)
    for case in CASES:
        assert case["source"].startswith(("https://", "facts page: ")), case["name"]


def test_a_completion_is_ok_in_every_form() -> None:
    """A 200 is ok when it holds a completion of any of the four forms, even an empty one."""
    for document in (
        {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]},
        {"type": "message", "content": []},
        {"candidates": [{"finishReason": "MAX_TOKENS"}]},
        {"object": "response", "output": []},
    ):
        assert classify(200, json.dumps(document), now=NOW) == Verdict(Status.OK)


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "OK", "{}", '{"choices": []}', '{"data": [1]}', "<html></html>", '{"er'],
)
def test_a_200_that_is_no_completion_is_overloaded(body: str) -> None:
    """A 200 without a completion counts as trouble of the server, not as a healthy model."""
    assert classify(200, body, now=NOW).status is Status.OVERLOADED


@pytest.mark.parametrize(
    ("http", "status"),
    [
        (301, Status.UNREACHABLE),
        (307, Status.UNREACHABLE),
        (400, Status.UNVERIFIED),
        (401, Status.AUTH),
        (402, Status.BILLING),
        (403, Status.AUTH),
        (404, Status.MISSING),
        (405, Status.MISSING),
        (408, Status.TIMEOUT),
        (410, Status.MISSING),
        (413, Status.UNVERIFIED),
        (422, Status.UNVERIFIED),
        (429, Status.RATE_LIMITED),
        (498, Status.OVERLOADED),
        (500, Status.OVERLOADED),
        (502, Status.OVERLOADED),
        (504, Status.OVERLOADED),
        (524, Status.OVERLOADED),
        (529, Status.OVERLOADED),
    ],
)
def test_a_status_without_words_has_its_plain_meaning(http: int, status: Status) -> None:
    """Without a body the HTTP status alone decides."""
    assert classify(http, "", now=NOW).status is status


@pytest.mark.parametrize(
    ("http", "sentence", "status"),
    [
        (400, "Not enough balance", Status.BILLING),
        (400, "No credits remaining", Status.BILLING),
        (400, "Account balance is zero", Status.BILLING),
        (400, "This model requires a paid plan", Status.BILLING),
        (400, "Subscription plan does not allow this model", Status.BILLING),
        (403, "Credit limit reached", Status.BILLING),
        (403, "No access to model x in your region", Status.AUTH),
        (400, "The model gpt-4.1-mini could not be found", Status.MISSING),
        (400, "model `x` is currently unavailable", Status.MISSING),
        (400, "There is no model named x", Status.MISSING),
        (400, "model_not_found", Status.MISSING),
        (400, "Incorrect API key provided", Status.AUTH),
        (400, "Model unloaded.", Status.MISSING),
        (400, "Model is unloaded.", Status.MISSING),
        (400, "The model `playai-tts` requires terms acceptance. Please accept", Status.MISSING),
        (
            400,
            "Invocation of model ID a.b-v1:0 with on-demand throughput isn't supported.",
            Status.MISSING,
        ),
        (400, "API key has expired", Status.AUTH),
        (400, "Tool 'plan' does not exist", Status.UNVERIFIED),
        (400, "The schema of on-demand throughput isn't supported", Status.UNVERIFIED),
        (400, "tools: organization must not be restricted", Status.UNVERIFIED),
        (400, "This model does not support image input", Status.UNVERIFIED),
        (400, "prompt is too long: 208310 tokens > 200000 maximum", Status.UNVERIFIED),
        (400, "'stop' is not supported with this model.", Status.UNVERIFIED),
        (429, "You have exceeded your daily quota", Status.QUOTA),
        (429, "You've hit your plan limit", Status.QUOTA),
        (429, "5-hour limit reached", Status.QUOTA),
        (
            429,
            "You are using a Trial key, which is limited to 1000 API calls / month.",
            Status.QUOTA,
        ),
        (
            429,
            "A Trial key is limited to 10 API calls / minute and 1000 API calls / month.",
            Status.RATE_LIMITED,
        ),
        (429, "credits exhausted", Status.BILLING),
        (429, "Rate limit reached. Upgrade your plan for higher limits", Status.RATE_LIMITED),
        (429, "Try again in 2 hours", Status.RATE_LIMITED),
    ],
)
def test_wordings_of_providers_not_met_yet(http: int, sentence: str, status: Status) -> None:
    """What speaks of credit, balance, plan, caps or the model is understood in other words too."""
    assert classify(http, json.dumps({"error": sentence}), now=NOW).status is status


@pytest.mark.parametrize("http", [402, 404, 429, 500, 503])
def test_words_of_a_prompt_do_not_change_what_is_no_400(http: int) -> None:
    """Outside 400 and 403, billing words in a page or an echo leave 404 and 5xx as they are."""
    page = "<html><title>Error</title><body>Your plan: insufficient credit balance</body></html>"
    assert classify(http, page, now=NOW).status is classify(http, "", now=NOW).status


@pytest.mark.parametrize(
    "prompt",
    [
        "Your credit balance is too low",
        "Error from provider(x,y: 402): insufficient balance, the model does not exist",
        "This organization has been disabled. API key expired. Model unloaded.",
        "Invocation of model ID x with on-demand throughput isn’t supported",
        "the model x requires terms acceptance, organization_restricted, OperationNotSupported",
        "the model gpt-9 has been decommissioned and your plan does not cover it, API key invalid",
    ],
)
@pytest.mark.parametrize(
    "echo",
    [
        '{{"detail": [{{"type": "text", "loc": ["messages"], "msg": "No", "input": {0}}}]}}',
        '{{"error": {{"message": {1}, "type": "invalid_request_error", "param": null}}}}',
        '{{"error": {{"message": {2}, "type": "invalid_request_error", "param": "messages"}}}}',
        '{{"type": "error", "error": {{"type": "invalid_request_error", "message": {3}}}}}',
    ],
)
def test_a_prompt_echoed_in_a_400_is_no_verdict_on_the_model(prompt: str, echo: str) -> None:
    """An echo in a validation error, in quotes, under ``param`` or after a path is a fault."""
    body = echo.format(
        json.dumps(prompt),
        json.dumps(f"Invalid content: '{prompt} and so on and on and on'"),
        json.dumps(f"Invalid value {prompt}"),
        json.dumps(f"messages.3.content: {prompt}"),
    )
    verdict = classify(400, body, now=NOW)
    assert verdict.scope is Scope.REQUEST
    assert prompt[:20] not in verdict.detail


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("organization_restricted", Status.AUTH),
        ("model_terms_required", Status.MISSING),
        ("OperationNotSupported", Status.MISSING),
    ],
)
def test_a_code_word_needs_no_sentence(code: str, status: Status) -> None:
    """The code of a 400 says for whom it is final; the same word in a sentence does not."""
    assert classify(400, json.dumps({"error": {"code": code}}), now=NOW).status is status
    assert classify(400, json.dumps({"error": {"message": code}}), now=NOW).scope is Scope.REQUEST


def test_a_cap_that_its_owner_set_for_one_model_is_that_models() -> None:
    """Volcengine's limit stops one model until its owner changes it; the others go on."""
    body = {"error": {"code": "SetLimitExceeded", "type": "TooManyRequests", "message": "paused"}}
    verdict = classify(429, json.dumps(body), now=NOW)
    assert (verdict.status, verdict.scope is Scope.KEY) == (Status.QUOTA, False)


@pytest.mark.parametrize("inside", [False, True])
def test_a_byte_order_mark_hides_no_code(inside: bool) -> None:
    """A BOM before the JSON, or before the JSON inside a string of it, is passed over."""
    marked = "\ufeff" + json.dumps({"error": {"code": "1113", "message": "x"}})
    body = json.dumps({"error": {"message": marked}}) if inside else marked
    assert classify(429, body, now=NOW).status is Status.BILLING


@pytest.mark.parametrize("http", [200, 400, 403, 404, 429, 502])
def test_of_a_page_only_the_title_is_read(http: int) -> None:
    """A page's menu speaks of plans and daily limits; that is no word on the model."""
    page = "<html><head><title>Sorry</title></head><a>Your plan</a><a>Daily budget</a></html>"
    verdict = classify(http, page, now=NOW)
    assert verdict.status is classify(http, "", now=NOW).status
    if verdict.scope is not Scope.REQUEST:
        assert verdict.detail == "answered with an HTML page: Sorry"


def test_the_end_of_a_long_sentence_of_a_400_is_not_judged() -> None:
    """Only the beginning of a 400's sentence counts, where no prompt is echoed yet."""
    body = json.dumps({"error": "Bad request " + "x " * 300 + "your credit balance is too low"})
    assert classify(400, body, now=NOW).scope is Scope.REQUEST


def test_detail_is_one_printable_line() -> None:
    """The detail has no line break, no escape, and at most 200 characters."""
    body = json.dumps({"error": "no\n\x1b[31mmoney\u202e " + "x" * 5000})
    detail = classify(402, body, now=NOW).detail
    assert detail.startswith("no money x")
    assert detail.isprintable()
    assert len(detail) == 200


def test_deep_json_is_survived() -> None:
    """A body nested deeper than any parser goes is judged by its status."""
    assert classify(402, "[" * 100_000, now=NOW).status is Status.BILLING
    assert classify(429, '{"error":' * 500 + "1" + "}" * 500, now=NOW).status is Status.RATE_LIMITED


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "Mon, 16 Jun 2025 00:02:00 GMT"}, "", 120),
        ({"retry-after-ms": "1500"}, "", 1.5),
        ({"x-ratelimit-reset": "1750032060"}, "", 60),
        ({"x-ratelimit-reset": "1750032060000"}, "", 60),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, "", 360),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "9"}, "", None),
        (
            {
                "anthropic-ratelimit-tokens-reset": "2025-06-16T00:00:30Z",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2025-06-16T05:00:00Z",
                "anthropic-ratelimit-requests-remaining": "49",
            },
            "",
            30,
        ),
        ({}, "Please wait 8 hours 24 minutes and try again", 30_240),
        ({}, "Please wait 39387 seconds before retrying", 39_387),
        ({}, "limit resets at: 2025-06-16T10:00:00+0000", 36_000),
        ({}, "Your limit will reset at 2025-06-17 18:57:53", None),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "9" * 400}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "Mon, 16 Jun 2025 99:02:00 GMT"}, "", None),
        ({"retry-after": "1000000000"}, "", None),
    ],
)
def test_retry_at(headers: dict[str, str], body: str, seconds: float | None) -> None:
    """A time is read from the known headers and sentences; nonsense and the past are no time."""
    retry_at = classify(429, body, headers, now=NOW).retry_at
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert expected == retry_at


FIELDS = [
    "error",
    "code",
    "type",
    "message",
    "param",
    "loc",
    "details",
    "metadata",
    "raw",
    "headers",
    "choices",
    "content",
    "retryDelay",
    "quotaId",
    "status",
    "detail",
]
SCRAPS = [
    "model",
    "does not exist",
    "credit balance",
    "your plan",
    "quota",
    "per day",
    "per minute",
    "try again in",
    "'",
    '"',
    "<",
    "{",
    "30 seconds",
    "9m38.016s",
    "`x`",
    "context length",
    "API key",
    "invalid",
    "resets at 2025-13-45 99:99:99 UTC",
    "\x00",
    "余额不足",
    "\ud800",
]
HEADERS = [
    "retry-after",
    "Retry-After-Ms",
    "x-ratelimit-reset",
    "x-ratelimit-remaining",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-tokens-reset",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=12,
)
words = st.lists(st.sampled_from(SCRAPS), max_size=12).map(" ".join)
bodies = (
    st.text() | words | json_values.map(json.dumps) | words.map(lambda w: f'{{"error": "{w}"}}')
)
header_values = st.text(max_size=20) | st.integers().map(str) | st.floats().map(str) | words
headers = st.dictionaries(
    st.sampled_from(HEADERS) | st.text(max_size=10), header_values, max_size=4
)


@given(http=st.none() | st.integers(100, 599) | st.integers(), body=bodies, headers=headers)
def test_any_answer_gets_one_verdict(http: int | None, body: str, headers: dict[str, str]) -> None:
    """Any answer is judged without an error, always alike, and a faulty request condemns nobody."""
    verdict = classify(http, body, headers, now=NOW)
    assert verdict == classify(http, body, headers, now=NOW)
    assert len(verdict.detail) <= 200
    assert verdict.detail == "" or verdict.detail.isprintable()
    assert verdict.retry_at is None or verdict.retry_at > NOW
    if verdict.scope is Scope.REQUEST:
        assert verdict.status is Status.UNVERIFIED
        assert verdict.status not in FATAL
    if verdict.status is Status.OK:
        assert http is not None
        assert 200 <= http < 300


@pytest.mark.parametrize("name", ["type", "code", "status", "error", "message"])
def test_words_in_the_place_of_a_code_are_a_sentence(name: str) -> None:
    """Read once, whichever field they stand in; a code word is none."""
    assert read(json.dumps({name: "no such model"})).sentences == ["no such model"]
    assert read(json.dumps({"error": {name: "no such model"}})).sentences == ["no such model"]
    codes = read(json.dumps({name: "no_such_model"})).codes
    assert codes == (set() if name == "message" else {"nosuchmodel"})


@pytest.mark.parametrize("http", [200, 201, 299])
def test_every_2xx_is_a_completion_or_an_error_inside(http: int) -> None:
    """The error's own status counts, whatever it came under."""
    completion = json.dumps({"choices": [{"message": {"content": "x"}}]})
    assert classify(http, completion, now=NOW).status is Status.OK
    error = json.dumps({"error": {"code": 402, "message": "x"}})
    assert classify(http, error, now=NOW).status is Status.BILLING
