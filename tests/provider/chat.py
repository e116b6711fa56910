"""The OpenAI chat form with all that an answer can have: reasoning, a refusal, any end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synccr.demo import openai
from synccr.demo.openai import EventParts, ListedModel, Prompt
from synccr.demo.server import HttpRequest

from .behaviour import FinishReason
from .completions import ScriptedCompletion

_REASONS = ("stop", "length", "content_filter", "stop", "tool_calls")


class ChatForm:
    """``POST …/chat/completions``."""

    field = "choices"

    def key(self, request: HttpRequest) -> str:
        return openai.bearer(request)

    def read(self, request: HttpRequest) -> Prompt:
        return openai.read(request.body)

    def complete(self, answer: ScriptedCompletion) -> bytes:
        message = openai.message(answer)
        if answer.finish is FinishReason.REFUSAL:
            message |= {"content": None, "refusal": answer.text}
        if answer.reasoning:
            message["reasoning_content"] = "".join(answer.reasoning)
        return openai.body(answer, message, answer.reason(_REASONS))

    def stream(self, answer: ScriptedCompletion, chunks: int) -> EventParts:
        deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in answer.reasoning]
        said = openai.deltas(answer, chunks)
        if answer.finish is FinishReason.REFUSAL and not answer.calls:
            said = [{"refusal": delta["content"]} for delta in said]
        return openai.events(answer, deltas + said, answer.reason(_REASONS))

    def error(self, _status: int, message: str, /) -> bytes:
        return openai.error(message)

    def stream_error(self, message: str) -> bytes:
        return openai.event({"error": {"message": message, "type": "server_error", "code": 500}})

    def models(self, rows: Sequence[ListedModel]) -> bytes:
        return openai.models_list(rows)
