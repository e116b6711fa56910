"""Whole answers without a word, as CCR 3 takes them for answers. Pure.

A limit that was reached, a filter and a refusal explain an answer without content, and the judge
lets it pass. CCR 3 asks for such an answer twice, then says 502 (measured). It takes one of
OpenAI's forms that says it is incomplete, and one of the others' that has any text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from synccr.judge.dialect import filled, rows, section
from synccr.probe.dialects import CHAT, GEMINI, MESSAGES, RESPONSES, ProbeDialect

LARGEST: Final = 64 << 10
"""Bytes; a longer answer has words."""
NO_WIDTH: Final = "\u200b"
"""A text that shows nothing, and that CCR 3 does not strip."""
_MESSAGE: Final = ("content", "tool_calls", "function_call", "reasoning_content", "reasoning")
_THOUGHTS: Final = ("reasoning_details", "thinking", "thinking_blocks")


def worded(dialect: ProbeDialect, answer: bytes) -> bytes:
    """A whole answer of this form; the same bytes where it says something."""
    if len(answer) > LARGEST:
        return answer
    try:
        document = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return answer
    changed = _CHANGES[dialect](document) if isinstance(document, dict) else None
    return answer if changed is None else msgspec.json.encode(changed)


def _chat(document: dict[str, Any]) -> dict[str, Any] | None:
    choice = next(iter(rows(document, "choices")), {})
    message = section(choice, "message")
    if any(_says(message.get(name)) for name in (*_MESSAGE, *_THOUGHTS)):
        return None
    return _incomplete(document, choice.get("finish_reason"), message.get("refusal"))


def _responses(document: dict[str, Any]) -> dict[str, Any] | None:
    items = rows(document, "output")
    parts = [part for item in items for part in rows(item, "content")]
    other = any(item.get("type") != "message" for item in items)
    if other or _says(document.get("output_text")) or any(_says(p.get("text")) for p in parts):
        return None
    if document.get("status") == "incomplete":
        return None
    refusals = (part["refusal"] for part in parts if _says(part.get("refusal")))
    return _incomplete(document, "stop", next(refusals, None))


def _incomplete(document: dict[str, Any], reason: object, refusal: object) -> dict[str, Any]:
    """With the words of a refusal, which CCR 3 does not read where they are; else incomplete."""
    if _says(refusal):
        return {**document, "output_text": refusal}
    return {**document, "status": "incomplete", "incomplete_details": {"reason": reason or "stop"}}


def _messages(document: dict[str, Any]) -> dict[str, Any] | None:
    blocks = rows(document, "content")
    if any(_says({k: v for k, v in block.items() if k != "citations"}) for block in blocks):
        return None
    return {**document, "content": [{"type": "text", "text": NO_WIDTH}]}


def _gemini(document: dict[str, Any]) -> dict[str, Any] | None:
    candidate, *others = rows(document, "candidates") or [{}]
    parts = rows(candidate.get("content"), "parts")
    if any(_says(part) for part in parts):
        return None
    content = {"role": "model", "parts": [{"text": NO_WIDTH}]}
    return {**document, "candidates": [{**candidate, "content": content}, *others]}


def _says(value: Any) -> bool:
    """Whether anything is left once CCR 3 has stripped it."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, list):
        return any(_says(item) for item in value)
    if isinstance(value, dict) and set(value) <= {"type", "text"}:
        return _says(value.get("text"))
    return filled(value)


_CHANGES: Final[Mapping[ProbeDialect, Callable[[dict[str, Any]], dict[str, Any] | None]]] = {
    CHAT: _chat,
    MESSAGES: _messages,
    RESPONSES: _responses,
    GEMINI: _gemini,
}
