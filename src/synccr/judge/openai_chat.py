"""OpenAI's chat completions and what others add to them; also the legacy completions.

Finish reasons beside OpenAI's own: ``error`` (OpenRouter, https://openrouter.ai/docs/errors),
``sensitive`` and ``network_error`` (Z.ai, https://docs.z.ai/api-reference),
``insufficient_system_resource`` (DeepSeek, https://api-docs.deepseek.com), ``abort`` (vLLM).
"""

from __future__ import annotations

from typing import Any

from synccr.classify.error_body import failed_choice
from synccr.judge.dialect import (
    CONTENT,
    FOREIGN,
    PART,
    Finish,
    Reading,
    Routine,
    filled,
    rows,
    section,
)
from synccr.judge.dialect import usage as count

CONTENT_FIELDS = (
    *("content", "reasoning_content", "reasoning", "tool_calls", "reasoning_details"),
    *("thinking", "thinking_blocks", "refusal", "function_call", "audio", "images"),
)
"""Fields of ``delta`` or ``message`` that make it content."""
FINISHES = {
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "content_filter": Finish.FILTER,
    "sensitive": Finish.FILTER,
    "safety": Finish.FILTER,
    "recitation": Finish.FILTER,
    "refusal": Finish.REFUSAL,
    "tool_calls": Finish.TOOL,
    "function_call": Finish.TOOL,
    "tool_use": Finish.TOOL,
}
"""Any other reason is a stop."""
BROKEN = frozenset({"error", "network_error", "insufficient_system_resource", "abort"})
"""Reasons that tell of a trouble."""


class ChatAnswers:
    """Every chunk and every whole answer has ``choices``; ``finish_reason`` is the end."""

    name = "openai"
    routine: Routine | None = Routine(
        lead=b"data: {", telling=(b'"error',), null=(b'"finish_reason"', b'"usage"')
    )

    def read(self, document: dict[str, Any], event: str = "") -> Reading:  # noqa: ARG002
        error = document.get("error") or section(document, "x_groq").get("error")
        if error:
            return Reading(error=error)
        choices = document.get("choices")
        if not isinstance(choices, list):
            return FOREIGN
        content, reason = False, ""
        for choice in choices:
            if isinstance(choice, dict):
                content = content or _content(choice)
                reason = reason or _reason(choice)
        if reason in BROKEN or failed_choice(document):
            return Reading(error=_error(document, reason))
        counts = document.get("usage")
        if not (reason or counts):
            return CONTENT if content else PART
        finish = FINISHES.get(reason, Finish.STOP) if reason else None
        told = count(counts, "prompt_tokens", "completion_tokens")
        return Reading(content, finish, finish is not None, None, told)

    def whole(self, document: dict[str, Any]) -> Reading:
        reading = self.read(document)
        if reading.error is None and not rows(document, "choices"):
            return FOREIGN
        return reading._replace(end=True)


def _content(choice: dict[str, Any]) -> bool:
    part = choice.get("delta") or choice.get("message")
    if isinstance(part, dict):
        for name in CONTENT_FIELDS:
            if (value := part.get(name)) and filled(value):
                return True
    return bool(choice.get("text"))


def _reason(choice: dict[str, Any]) -> str:
    reason = choice.get("finish_reason")
    return reason.lower() if isinstance(reason, str) and reason != "null" else ""


def _error(document: dict[str, Any], reason: str) -> Any:
    said = (failed_choice(document) or {}).get("error")
    return said or {"message": f"the completion ended with finish_reason {reason}"}
