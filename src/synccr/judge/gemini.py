"""Google's generateContent (https://ai.google.dev/api/generate-content)."""

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

FILTERS = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
_UNSPECIFIED = frozenset({"", "FINISH_REASON_UNSPECIFIED"})


class GeminiAnswers:
    """A chunk is a whole answer in small; ``finishReason``, or a blocked prompt, is the end."""

    name = "gemini"
    routine: Routine | None = None

    def read(self, document: dict[str, Any], event: str = "") -> Reading:  # noqa: ARG002
        if document.get("error"):
            return Reading(error=document["error"])
        content, finish = False, _blocked(document)
        for candidate in rows(document, "candidates"):
            parts = rows(candidate.get("content"), "parts")
            content = content or any(_content(part) for part in parts)
            finish = finish or _finish(candidate)
        counts = document.get("usageMetadata")
        if content and finish is None:
            return CONTENT  # the counts grow with every chunk, and the last ones matter
        if finish is None and not counts:
            return PART if "candidates" in document else FOREIGN
        out = ("candidatesTokenCount", "thoughtsTokenCount")
        told = count(counts, "promptTokenCount", *out)
        return Reading(content, finish, finish is not None, None, told)

    def whole(self, document: dict[str, Any]) -> Reading:
        reading = self.read(document)
        answered = rows(document, "candidates") or reading.finish
        if reading.error is None and not answered:
            return FOREIGN
        return reading._replace(end=True)


def _content(part: dict[str, Any]) -> bool:
    """A text, or anything that is no remark about one (calls, images, code and its result)."""
    return any(
        filled(value) if name == "text" else isinstance(value, dict) and name != "partMetadata"
        for name, value in part.items()
    )


def _finish(candidate: dict[str, Any]) -> Finish | None:
    reason = candidate.get("finishReason")
    if not isinstance(reason, str) or reason in _UNSPECIFIED:
        return None
    if reason == "MAX_TOKENS":
        return Finish.LENGTH
    return Finish.FILTER if reason in FILTERS else Finish.STOP


def _blocked(document: dict[str, Any]) -> Finish | None:
    return Finish.FILTER if section(document, "promptFeedback").get("blockReason") else None
