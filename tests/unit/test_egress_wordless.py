"""Whole answers that CCR 3 would take for none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from synccr.egress.wordless import LARGEST, NO_WIDTH, worded
from synccr.probe.dialects import CHAT, GEMINI, MESSAGES, RESPONSES, ProbeDialect


def chat(finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"finish_reason": finish, "message": message}]}


def responses(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "r", "output": [{"type": "message", "content": list(content)}], **more}


def messages(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "content": list(blocks), "stop_reason": "max_tokens"}


def gemini(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP"}]}


def incomplete(reason: str) -> dict[str, Any]:
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


SHOWN = {"content": {"role": "model", "parts": [{"text": NO_WIDTH}]}}
REFUSAL = {"type": "refusal", "refusal": "No."}
WORDLESS: list[tuple[ProbeDialect, dict[str, Any], dict[str, Any]]] = [
    (CHAT, chat("length", content=""), incomplete("length")),
    (CHAT, chat("content_filter", content=None), incomplete("content_filter")),
    (CHAT, chat(content=" \n", tool_calls=[]), incomplete("stop")),
    (CHAT, chat(content=[{"type": "text", "text": " "}]), incomplete("stop")),
    (CHAT, {"choices": []}, incomplete("stop")),
    (CHAT, chat(content=None, refusal="No."), {"output_text": "No."}),
    (RESPONSES, responses({"type": "output_text", "text": ""}), incomplete("stop")),
    (RESPONSES, responses(REFUSAL), {"output_text": "No."}),
    (MESSAGES, messages(), {"content": [{"type": "text", "text": NO_WIDTH}]}),
    (
        MESSAGES,
        messages({"type": "text", "text": " "}),
        {"content": [{"type": "text", "text": NO_WIDTH}]},
    ),
    (GEMINI, gemini(), {"candidates": [{**SHOWN, "finishReason": "STOP"}]}),
    (GEMINI, gemini({"text": ""}), {"candidates": [{**SHOWN, "finishReason": "STOP"}]}),
    (GEMINI, {"promptFeedback": {"blockReason": "SAFETY"}}, {"candidates": [SHOWN]}),
]


@pytest.mark.parametrize(("dialect", "answer", "changes"), WORDLESS)
def test_an_answer_without_a_word_gets_what_makes_it_one(
    dialect: ProbeDialect, answer: dict[str, Any], changes: dict[str, Any]
) -> None:
    """All else in it stays."""
    given = json.dumps(answer).encode()
    assert json.loads(worded(dialect, given)) == answer | changes


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        (CHAT, chat(content="hi")),
        (CHAT, chat(content=[{"type": "text", "text": "hi"}])),
        (CHAT, chat(content="", tool_calls=[{"function": {"name": "f", "arguments": ""}}])),
        (CHAT, chat(content="", reasoning_content="hm")),
        (CHAT, chat(content="", reasoning_details=[{"text": "hm"}])),
        (RESPONSES, responses({"type": "output_text", "text": "hi"})),
        (RESPONSES, {"output": [{"type": "function_call", "name": "f"}]}),
        (RESPONSES, responses(status="incomplete", incomplete_details={"reason": "x"})),
        (MESSAGES, messages({"type": "text", "text": "hi"})),
        (MESSAGES, messages({"type": "thinking", "thinking": "hm"})),
        (MESSAGES, messages({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
        (GEMINI, gemini({"text": "hi"})),
        (GEMINI, gemini({"functionCall": {"name": "f", "args": {}}})),
    ],
)
def test_what_says_something_keeps_its_bytes(dialect: ProbeDialect, answer: dict[str, Any]) -> None:
    """Spaces included."""
    given = json.dumps(answer, indent=2).encode()
    assert worded(dialect, given) == given


@pytest.mark.parametrize("answer", [b"", b"[]", b"data: {}\n\n", b"\xff", b" " * (LARGEST + 1)])
@pytest.mark.parametrize("dialect", [CHAT, MESSAGES, RESPONSES, GEMINI])
def test_what_is_no_document_keeps_its_bytes(dialect: ProbeDialect, answer: bytes) -> None:
    """As the judge passed it on."""
    assert worded(dialect, answer) == answer
