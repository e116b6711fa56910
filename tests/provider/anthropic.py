"""The Anthropic messages form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from synccr.demo.openai import (
    Content,
    EventParts,
    ListedModel,
    OfferedTool,
    Prompt,
    bearer,
    split,
    text_of,
)
from synccr.demo.server import HttpRequest

from .completions import ScriptedCompletion

_encode = msgspec.json.encode
_REASONS = ("end_turn", "max_tokens", "refusal", "refusal", "tool_use")

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class _Message(msgspec.Struct):
    role: str
    content: Content = None


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any] = {}


class _Choice(msgspec.Struct):
    type: str
    name: str = ""


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None


_decoder = msgspec.json.Decoder(_Body)


class AnthropicForm:
    """``POST …/v1/messages``."""

    field = "content"

    def key(self, request: HttpRequest) -> str:
        return request.headers.get("x-api-key") or bearer(request)

    def read(self, request: HttpRequest) -> Prompt:
        body = _decoder.decode(request.body)
        choice = body.tool_choice.type if body.tool_choice else "auto"
        users = [message for message in body.messages if message.role == "user"]
        last = users[-1].content if users else None
        return Prompt(
            model=body.model,
            stream=bool(body.stream),
            text=text_of(last),
            tools=()
            if choice == "none"
            else tuple(OfferedTool(tool.name, tool.input_schema) for tool in body.tools or []),
            forced=body.tool_choice.name
            if body.tool_choice and choice in ("any", "tool")
            else None,
            after_tool=_results(last) > 0,
            results=sum(_results(message.content) for message in users),
        )

    def complete(self, answer: ScriptedCompletion) -> bytes:
        blocks: list[dict[str, Any]] = []
        if answer.reasoning:
            blocks.append({"type": "thinking", "thinking": "".join(answer.reasoning)})
        if answer.calls:
            blocks += [
                _tool_use(answer, i, call.tool, call.arguments)
                for i, call in enumerate(answer.calls)
            ]
        else:
            blocks.append({"type": "text", "text": answer.text})
        usage = {"input_tokens": answer.prompt_tokens, "output_tokens": answer.tokens}
        return _encode(_message(answer, blocks, answer.reason(_REASONS), usage))

    def stream(self, answer: ScriptedCompletion, chunks: int) -> EventParts:
        started = {"input_tokens": answer.prompt_tokens, "output_tokens": 1}
        blocks = list(_blocks(answer, chunks))
        head = [_event("message_start", message=_message(answer, [], None, started))]
        content: list[bytes] = []
        for index, (start, deltas) in enumerate(blocks):
            opened = _event("content_block_start", index=index, content_block=start)
            (content if index or start["type"] == "tool_use" else head).append(opened)
            content += [_event("content_block_delta", index=index, delta=d) for d in deltas]
            content.append(_event("content_block_stop", index=index))
        ending = {"stop_reason": answer.reason(_REASONS), "stop_sequence": None}
        told = {} if answer.usage is False else {"usage": {"output_tokens": answer.tokens}}
        close = [content.pop(), _event("message_delta", delta=ending, **told)]
        return EventParts(head, content, close, [_event("message_stop")])

    def error(self, status: int, message: str, /) -> bytes:
        kind = _ERROR_TYPES.get(status, "api_error")
        return _encode({"type": "error", "error": {"type": kind, "message": message}})

    def stream_error(self, message: str) -> bytes:
        return _event("error", error={"type": "overloaded_error", "message": message})

    def models(self, rows: Sequence[ListedModel]) -> bytes:
        data = [
            {
                "type": "model",
                "id": row.id,
                "display_name": row.id,
                "created_at": "2025-01-01T00:00:00Z",
            }
            for row in rows
        ]
        ends = {"first_id": rows[0].id, "last_id": rows[-1].id} if rows else {}
        return _encode({"data": data, "has_more": False, **ends})


def _results(content: Content) -> int:
    parts = content if isinstance(content, list) else []
    return sum(part.type == "tool_result" for part in parts)


def _blocks(
    answer: ScriptedCompletion, chunks: int
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each block as it starts, and its deltas."""
    if answer.reasoning:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in answer.reasoning]
        yield {"type": "thinking", "thinking": ""}, thoughts
    if not answer.calls:
        pieces = split(answer.text, chunks) if answer.text else []
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in pieces]
        return
    for index, call in enumerate(answer.calls):
        pieces = split(_encode(call.arguments).decode(), chunks)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        yield _tool_use(answer, index, call.tool, {}), deltas


def _event(name: str, **data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **data}))


def _message(
    answer: ScriptedCompletion,
    content: list[dict[str, Any]],
    reason: str | None,
    usage: dict[str, int],
) -> dict[str, Any]:
    told = {} if answer.usage is False else {"usage": usage}
    return told | {
        "id": f"msg_{answer.number:012d}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
    }


def _tool_use(
    answer: ScriptedCompletion, index: int, tool: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": f"toolu_{answer.number:012d}_{index}",
        "name": tool,
        "input": arguments,
    }
