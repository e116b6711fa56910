"""OpenAI's responses (https://platform.openai.com/docs/api-reference/responses-streaming)."""

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

ENDS = frozenset({"response.completed", "response.incomplete"})
FAILURES = frozenset({"response.failed", "response.cancelled", "error"})
_WRITTEN = ("message", "reasoning")
"""Items that begin empty; any other item (calls of every kind) is content by being there."""
_HELD = ("content", "summary", "encrypted_content")


class ResponsesAnswers:
    """The event's type tells all; ``response.completed`` and ``.incomplete`` are ends."""

    name = "openai-responses"
    routine: Routine | None = Routine(
        lead=b"event: response.output_text.delta\ndata: {",
        telling=(b'"error', *(b'"%b"' % kind.encode() for kind in sorted(ENDS | FAILURES))),
    )

    def read(self, document: dict[str, Any], event: str = "") -> Reading:
        kind = document.get("type") or event
        if not isinstance(kind, str):
            return FOREIGN
        if kind.endswith(".delta"):
            return CONTENT if filled(document.get("delta")) else PART
        if kind in ENDS:
            return self.whole(section(document, "response"))._replace(end=True, known=True)
        if kind in FAILURES:
            return Reading(error=_error(document))
        if document.get("error"):
            return Reading(error=document["error"])
        item = section(document, "item")
        if item:
            return CONTENT if _content(item) else PART
        if kind.endswith(".partial_image"):
            return CONTENT
        return PART if kind.startswith("response.") else FOREIGN

    def whole(self, document: dict[str, Any]) -> Reading:
        told = count(document.get("usage"), "input_tokens", "output_tokens")
        if document.get("error") or document.get("status") in ("failed", "cancelled"):
            return Reading(error=_error({"response": document}), usage=told)
        if not isinstance(document.get("output"), list):
            return FOREIGN._replace(usage=told, finish=_finish(document))
        content = any(_content(item) for item in rows(document, "output"))
        return Reading(content, _finish(document), True, None, told)


def _content(item: dict[str, Any]) -> bool:
    if item.get("type") in _WRITTEN:
        return any(filled(item.get(name)) for name in _HELD)
    return bool(item)


def _finish(response: dict[str, Any]) -> Finish:
    if response.get("status") != "incomplete" and not response.get("incomplete_details"):
        return Finish.STOP
    reason = section(response, "incomplete_details").get("reason")
    return Finish.FILTER if reason == "content_filter" else Finish.LENGTH


def _error(document: dict[str, Any]) -> Any:
    response = section(document, "response")
    said = document.get("error") or response.get("error")
    return said or (document if not response else {"message": "the response failed"})
