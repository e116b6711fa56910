"""Anthropic's messages (https://docs.anthropic.com/en/api/messages-streaming)."""

from __future__ import annotations

from typing import Any

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

FINISHES = {
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL,
    "refusal": Finish.REFUSAL,
}
"""Any other reason is a stop."""
_WRITTEN = ("text", "thinking")
"""Blocks that begin empty; any other block is content by being there."""


class MessagesAnswers:
    """``message_delta`` tells the reason, and only ``message_stop`` is the end."""

    name = "anthropic"
    routine: Routine | None = Routine(
        lead=b"event: content_block_delta\ndata: {", telling=(b'"error', b'"message')
    )

    def read(self, document: dict[str, Any], event: str = "") -> Reading:
        match document.get("type") or event:
            case "content_block_delta":
                return CONTENT if filled(document.get("delta")) else PART
            case "content_block_start":
                return CONTENT if _content(section(document, "content_block")) else PART
            case "message_start":
                message = section(document, "message")
                begun = any(_content(block) for block in rows(message, "content"))
                return Reading(begun, usage=_usage(message))
            case "message_delta":
                finish = _finish(section(document, "delta"))
                return Reading(finish=finish, usage=_usage(document))
            case "message_stop":
                return Reading(end=True)
            case "error":
                return Reading(error=document.get("error") or document)
            case "ping" | "content_block_stop":
                return PART
        return Reading(error=document["error"]) if document.get("error") else FOREIGN

    def whole(self, document: dict[str, Any]) -> Reading:
        if document.get("type") == "error" or document.get("error"):
            return Reading(error=document.get("error") or document)
        if not isinstance(document.get("content"), list):
            return FOREIGN
        content = any(_content(block) for block in rows(document, "content"))
        return Reading(content, _finish(document), True, None, _usage(document))


def _content(block: dict[str, Any]) -> bool:
    return filled(block) if block.get("type") in _WRITTEN else bool(block)


def _finish(node: dict[str, Any]) -> Finish | None:
    reason = node.get("stop_reason")
    return FINISHES.get(reason, Finish.STOP) if isinstance(reason, str) and reason else None


def _usage(node: dict[str, Any]) -> Any:
    return count(node.get("usage"), "input_tokens", "output_tokens")
