"""What each dialect calls content, an end and an error; real error bodies under a 200."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from judge_kit import LEAD, NAMES, STREAM, TEXT, document, event, hear, judge, stream

from synccr.classify import Scope, classify
from synccr.judge import (
    Abort,
    Body,
    Done,
    End,
    Fail,
    Finish,
    Head,
    Judge,
    Reading,
    Trouble,
    Usage,
    dialect_for,
    own_body,
)

NOW = datetime(2025, 6, 16, tzinfo=UTC)
TABLE = Path(__file__).with_name("data") / "errors.toml"
CASES: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["case"]
ANSWERED = [case for case in CASES if "http" in case]


def read(name: str, document: dict[str, Any], event: str = "") -> Reading:
    dialect = dialect_for(name)
    assert dialect is not None
    return dialect.read(document, event)


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def parts(*found: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(found)}}]}


CONTENT: dict[str, list[dict[str, Any]]] = {
    "openai": [
        delta(content="a"),
        delta(content=[{"type": "text", "text": "a"}]),
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
        delta(reasoning="hm"),
        delta(reasoning_content="hm"),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "hm"}]),
        delta(refusal="No."),
        delta(audio={"id": "a", "data": "AAAA"}),
        delta(images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}]),
        delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
        delta(function_call={"name": "f"}),
        {"choices": [{"message": {"content": "a"}, "finish_reason": None}]},
        {"choices": [{"text": "a", "index": 0}]},
        {"choices": [{"delta": {}}, {"delta": {"content": "second"}}]},
    ],
    "anthropic": [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": "a"}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}},
        {
            "type": "content_block_start",
            "content_block": {"type": "redacted_thinking", "data": "x"},
        },
        {"type": "message_start", "message": {"content": [{"type": "text", "text": "a"}]}},
    ],
    "gemini": [
        parts({"text": "a"}),
        parts({"text": "hm", "thought": True}),
        parts({"functionCall": {"name": "f", "args": {}}}),
        parts({"inlineData": {"mimeType": "image/png", "data": "x"}}),
        parts({"text": ""}, {"executableCode": {"code": "1"}}),
    ],
    "openai-responses": [
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
        {"type": "response.reasoning_text.delta", "delta": "hm"},
        {"type": "response.refusal.delta", "delta": "No."},
        {"type": "response.function_call_arguments.delta", "delta": "{"},
        {"type": "response.audio.delta", "delta": "AAAA"},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}},
        {
            "type": "response.output_item.done",
            "item": {"type": "message", "content": [{"text": "a"}]},
        },
        {
            "type": "response.output_item.done",
            "item": {"type": "reasoning", "encrypted_content": "x"},
        },
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": "x"},
    ],
}
NO_CONTENT: dict[str, list[dict[str, Any]]] = {
    "openai": [
        delta(role="assistant", content=""),
        delta(content=None, reasoning=None, tool_calls=[]),
        delta(
            tool_calls=[{"index": 0, "id": "", "type": "function", "function": {"arguments": ""}}]
        ),
        delta(content=[{"type": "text", "text": ""}]),
        delta(audio={"id": "a", "expires_at": 1}),
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [{"delta": {}, "finish_reason": "null"}]},
        {"choices": [{"delta": {}, "finish_reason": ""}]},
        {"choices": [None, "x"]},
    ],
    "anthropic": [
        {"type": "ping"},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_start", "content_block": {"type": "thinking", "signature": ""}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "content_block_stop", "index": 0},
    ],
    "gemini": [
        parts(),
        parts({"text": ""}),
        parts({"text": "", "thoughtSignature": "x"}),
        {"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}]},
        {"usageMetadata": {"promptTokenCount": 1}},
    ],
    "openai-responses": [
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
        {"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}},
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
        {"type": "response.output_text.delta", "delta": ""},
        {"type": "keepalive"},
    ],
}


@pytest.mark.parametrize(
    ("name", "document"), [(name, d) for name in NAMES for d in CONTENT[name]], ids=str
)
def test_content(name: str, document: dict[str, Any]) -> None:
    """Text, reasoning, refusals, calls, images, sound: all of it ends the holding."""
    reading = read(name, document)
    assert (reading.content, reading.end, reading.error) == (True, False, None)


@pytest.mark.parametrize(
    ("name", "document"), [(name, d) for name in NAMES for d in NO_CONTENT[name]], ids=str
)
def test_no_content(name: str, document: dict[str, Any]) -> None:
    """Roles, pings, labels and empty fields promise nothing, and end nothing."""
    reading = read(name, document)
    assert (reading.content, reading.end, reading.error) == (False, False, None)


def finished(name: str, reason: str) -> Reading:
    if name == "openai":
        return read(name, {"choices": [{"delta": {}, "finish_reason": reason}]})
    if name == "anthropic":
        return read(name, {"type": "message_delta", "delta": {"stop_reason": reason}})
    return read(name, {"candidates": [{"finishReason": reason}]})


@pytest.mark.parametrize(
    ("name", "reasons", "finish"),
    [
        ("openai", ["stop", "eos", "end_turn"], Finish.STOP),
        ("openai", ["length", "max_tokens", "MAX_TOKENS", "model_length"], Finish.LENGTH),
        ("openai", ["content_filter", "sensitive", "SAFETY"], Finish.FILTER),
        ("openai", ["tool_calls", "function_call"], Finish.TOOL),
        ("openai", ["refusal"], Finish.REFUSAL),
        ("anthropic", ["end_turn", "stop_sequence", "pause_turn"], Finish.STOP),
        ("anthropic", ["max_tokens", "model_context_window_exceeded"], Finish.LENGTH),
        ("anthropic", ["tool_use"], Finish.TOOL),
        ("anthropic", ["refusal"], Finish.REFUSAL),
        ("gemini", ["STOP", "MALFORMED_FUNCTION_CALL", "OTHER"], Finish.STOP),
        ("gemini", ["MAX_TOKENS"], Finish.LENGTH),
        ("gemini", ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT"], Finish.FILTER),
    ],
)
def test_why_a_model_stopped(name: str, reasons: list[str], finish: Finish) -> None:
    """In each dialect's own words; only Anthropic's are no end yet."""
    for reason in reasons:
        reading = finished(name, reason)
        assert (reading.finish, reading.end) == (finish, name != "anthropic"), reason


@pytest.mark.parametrize(
    "reason", ["error", "network_error", "insufficient_system_resource", "abort"]
)
def test_reasons_that_tell_of_a_trouble(reason: str) -> None:
    """An end of that name is an error, before and after content."""
    end = event({"choices": [{"delta": {"content": ""}, "finish_reason": reason}]})
    before = stream("openai", LEAD["openai"], end)
    assert (type(before.last), before.failure.trouble) == (Fail, Trouble.ERROR)
    assert reason in json.loads(before.failure.body)["error"]["message"]
    after = stream("openai", TEXT["openai"], end)
    assert (type(after.last), after.failure.trouble) == (Abort, Trouble.ERROR)


def test_a_response_that_arrives_with_its_end_only() -> None:
    """Some send no deltas: the content is in ``response.completed``."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}]
    end = {"type": "response.completed", "response": {"status": "completed", "output": output}}
    assert isinstance(stream("openai-responses", event(end)).last, Done)


@pytest.mark.parametrize(
    "failed",
    [
        {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}},
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down"},
        {"type": "error", "error": {"type": "x", "code": "rate_limit_exceeded"}},
        {"type": "response.completed", "response": {"error": {"code": "rate_limit_exceeded"}}},
    ],
    ids=str,
)
def test_a_response_that_failed(failed: dict[str, Any]) -> None:
    """Each way of saying so; its code word stands for a status."""
    failure = stream("openai-responses", event(failed)).failure
    assert (failure.trouble, failure.http_status) == (Trouble.ERROR, 429)
    assert "rate_limit_exceeded" in failure.body.decode()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("billing_error", 402),
        ("authentication_error", 401),
        ("rate_limit_error", 429),
        ("overloaded_error", 529),
        ("api_error", 502),
        ("invalid_request_error", 400),
    ],
)
def test_anthropics_error_types_stand_for_statuses(kind: str, status: int) -> None:
    """https://docs.anthropic.com/en/api/errors; its events carry no number."""
    said = {"type": "error", "error": {"type": kind, "message": "x"}}
    assert stream("anthropic", event(said, "error")).failure.http_status == status
    assert document("anthropic", said).failure.http_status == status


def test_a_status_in_a_text_is_one_too() -> None:
    """As LiteLLM writes it: ``"code": "429"``; what is no HTTP error is not."""
    for code, status in (("429", 429), ("200", 502), ("1113", 502), (30001, 502), (402, 402)):
        said = {"error": {"message": "x", "type": "invalid_request_error", "code": code}}
        expected = 400 if status == 502 else status  # what the type stands for
        assert stream("openai", event(said)).failure.http_status == expected
        del said["error"]["type"]
        assert stream("openai", event(said)).failure.http_status == status


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case["name"])
def test_real_errors_are_handed_on_so_that_they_mean_the_same(case: dict[str, Any]) -> None:
    """As an HTTP error word for word; under a 200 with the provider's words and status."""
    status, words = case["http"], case["body"].encode()
    if status >= 300:
        failure = hear(judge(), [words], status=status).failure
        assert (failure.http_status, failure.body) == (
            status,
            words or own_body(Trouble.STATUS, f"HTTP {status}"),
        )
        return
    heard = hear(judge(), [words], kind="application/json")
    failure = heard.failure
    if failure.trouble is Trouble.PAGE:
        assert words.startswith(b"<")
        return
    assert failure.trouble is Trouble.ERROR
    now = case.get("now", NOW)
    verdict = classify(failure.http_status, failure.body.decode(), case.get("headers", {}), now=now)
    assert (str(verdict.status), verdict.scope is Scope.KEY) == (
        case["status"],
        case.get("account", False),
    )


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case["name"])
def test_real_errors_as_events_of_a_stream(case: dict[str, Any]) -> None:
    """Every real error object is one as an event, before and after content, in each dialect."""
    try:
        said = json.loads(case["body"])
    except ValueError:
        return
    if not isinstance(said, dict) or not said.get("error"):
        return
    for name in NAMES:
        before = stream(name, LEAD[name], event(said))
        assert (type(before.last), before.failure.trouble) == (Fail, Trouble.ERROR)
        assert json.loads(before.failure.body) == {"error": said["error"]}
        after = stream(name, TEXT[name], event(said))
        assert (type(after.last), after.failure.trouble) == (Abort, Trouble.ERROR)


COMPLAINTS = [
    # https://github.com/diegosouzapw/OmniRoute/pull/8210, SiliconFlow, Qianfan, MiniMax, FastAPI
    '{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}',
    '{"error_code":17,"error_msg":"Open api daily request limit reached"}',
    '{"id":"","choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
    '{"detail":"Not authenticated"}',
    '{"object":"error","message":"the model is gone","code":null}',
]


@pytest.mark.parametrize("said", COMPLAINTS)
def test_complaints_of_no_known_form(said: str) -> None:
    """In place of an answer they are errors, in their own words; beside one they are nothing."""
    whole = document("openai", said.encode()).failure
    assert (whole.trouble, whole.body) == (Trouble.ERROR, said.encode())
    first = stream("openai", event(said)).failure
    assert (first.trouble, json.loads(first.body)) == (Trouble.ERROR, {"error": json.loads(said)})
    beside = stream("openai", event(said), TEXT["openai"], event(delta()), ending=None)
    assert beside.last is None


def test_remarks_are_no_complaints() -> None:
    """A message with a code that means well."""
    remark = event({"code": 0, "message": "success", "data": {}})
    assert stream("openai", remark).failure.trouble is Trouble.CUT


def test_an_error_that_only_its_event_names() -> None:
    """``event: error`` with a bare message, or with no JSON at all; llama.cpp's field."""
    for error in (
        event({"message": "out of memory"}, "error"),
        event("out of memory", "error"),
        b'error: {"message": "out of memory"}\n\n',
    ):
        for name in NAMES:
            failure = stream(name, LEAD[name], error).failure
            assert failure.trouble is Trouble.ERROR
            assert json.loads(failure.body)["error"]["message"] == "out of memory"


def test_tokens_are_remembered_as_they_are_told() -> None:
    """In two events (Anthropic), with thoughts apart (Gemini), or not at all."""
    counts = {"candidatesTokenCount": 2, "thoughtsTokenCount": 3}
    assert read("gemini", {"usageMetadata": counts}).usage == Usage(None, 5)
    assert stream("openai", TEXT["openai"], ending=None).judge.usage is None
    odds: list[Any] = [{"prompt_tokens": "7"}, {"prompt_tokens": True}, [], "x", {}]
    for odd in odds:
        assert read("openai", {"choices": [], "usage": odd}).usage is None


_NAMES = """
    choices delta message content finish_reason error usage type candidates parts finishReason
    usageMetadata promptFeedback output response item status stop_reason content_block text
    code x_groq base_resp status_msg detail incomplete_details tool_calls
"""
KEYS = st.sampled_from(_NAMES.split())
JSON_VALUES = st.recursive(
    st.sampled_from([None, True, 0, 502, "", "x", "failed", "error"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.dictionaries(KEYS, JSON_VALUES, max_size=6), st.booleans())
@example("openai-responses", {"item": {"type": []}}, True)
@example("anthropic", {"type": "content_block_start", "content_block": {"type": []}}, True)
def test_no_document_breaks_the_judge(name: str, odd: dict[str, Any], streamed: bool) -> None:
    """Whatever stands where a list, a text or an object was expected."""
    body = event(odd) if streamed else json.dumps(odd).encode()
    assert hear(judge(name), [body], kind=STREAM).last is not None


FIELDS = st.sampled_from(
    ["choices", "delta", "content", "finish_reason", "usage", "error", "type", "message", "x_groq"]
)
WORDS = st.sampled_from(
    [
        *("", "stop", "error", "message_stop", "message_delta", "content_block_delta"),
        *("response.completed", "response.failed", "response.output_text.delta"),
        'a \\ "error" é\ud800',
    ]
)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | WORDS | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(FIELDS | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)
CHOICES = st.fixed_dictionaries({}, optional={"delta": VALUES, "finish_reason": VALUES})
DOCUMENTS = st.dictionaries(FIELDS, VALUES, max_size=4) | st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, max_size=2)}, optional={"usage": VALUES, "error": VALUES}
)
LEADS = {
    "openai": b"",
    "anthropic": b"event: content_block_delta\n",
    "openai-responses": b"event: response.output_text.delta\n",
}


def escaped(text: str) -> str:
    """The same JSON with some names and words in other letters."""
    return text.replace("error", "\\u0065rror").replace("usage", "us\\u0061ge")


@given(
    st.sampled_from(sorted(LEADS)),
    DOCUMENTS,
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]),
    st.booleans(),
    st.booleans(),
)
def test_routine_events_change_nothing(
    name: str, document: dict[str, Any], separators: tuple[str, str], ascii: bool, escape: bool
) -> None:
    """Whatever passes without being decoded neither ends an answer nor breaks it."""
    dialect = dialect_for(name)
    assert dialect is not None
    assert dialect.routine is not None
    text = json.dumps(document, separators=separators, ensure_ascii=ascii)
    data = (escaped(text) if escape else text).encode("utf-8", "surrogatepass")
    if dialect.routine.covers(LEADS[name] + b"data: " + data + b"\n\n"):
        event = LEADS[name].decode().removeprefix("event: ").strip()
        reading = dialect.read(json.loads(data.decode("utf-8", "replace")), event)
        assert reading._replace(content=False, known=True) == Reading()


ROUTINE = {
    "openai": event(delta(content="a")).replace(b": null", b":null").replace(b'": ', b'":'),
    "anthropic": event(CONTENT["anthropic"][0], "content_block_delta"),
    "openai-responses": event(
        {"type": "response.output_text.delta", "delta": "a"}, "response.output_text.delta"
    ),
}


@pytest.mark.parametrize("name", sorted(ROUTINE))
def test_routine_events_are_whole_and_alike(name: str) -> None:
    """One or many; with anything beside them they are decoded."""
    dialect, one = dialect_for(name), ROUTINE[name]
    assert dialect is not None
    assert dialect.routine is not None
    covers = dialect.routine.covers
    assert covers(one)
    assert covers(one * 3)
    others = [one[:-1], one[1:], one + b"\n", b": a\n\n" + one, one[:-1] + b"data: {}\n\n"]
    others += [one + b": a\n\n", one.replace(b"\n", b"\r\n"), b"", one + b"data: [DONE]\n\n"]
    others += [b"event: error\n" + one, one[:-2] + b"\nid: 1\n\n", one.replace(b"{", b"[", 1)]
    assert not [other for other in others if covers(other)]


@pytest.mark.parametrize("name", sorted(ROUTINE))
def test_routine_events_pass_as_they_came(name: str) -> None:
    """After the first content, in pieces of any number of them."""
    heard = hear(judge(name), [ROUTINE[name], *(ROUTINE[name] * n for n in (1, 2, 3))], None)
    assert heard.passed == ROUTINE[name] * 7


def test_an_error_after_a_first_part_is_told_in_its_own_words() -> None:
    """Gemini sends a list of chunks: what was said before the error is not part of its words."""
    part = {"candidates": [{"content": {"parts": [{"text": "spoken"}]}}]}
    wrong = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}
    ear = Judge(dialect_for("gemini"), streamed=False)
    ear.take(Head(200, "application/json"))
    ear.take(Body(json.dumps([part, wrong]).encode()))
    action = ear.take(End())
    assert isinstance(action, Fail)
    assert (action.failure.http_status, json.loads(action.failure.body)) == (503, wrong)
