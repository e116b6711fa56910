"""The Gemini form. The model and whether to stream are in the path, not in the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from synccr.demo.openai import EventParts, ListedModel, OfferedTool, Prompt, split
from synccr.demo.server import HttpRequest

from .completions import ScriptedCompletion

_encode = msgspec.json.encode
_REASONS = ("STOP", "MAX_TOKENS", "SAFETY", "PROHIBITED_CONTENT", "STOP")

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    function_response: dict[str, Any] | None = None


class _Content(msgspec.Struct):
    role: str = "user"
    parts: list[_Part] = []


class _Declaration(msgspec.Struct, rename="camel"):
    name: str
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None


class _Tools(msgspec.Struct, rename="camel"):
    function_declarations: list[_Declaration] = []


class _Calling(msgspec.Struct, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] = []


class _ToolConfig(msgspec.Struct, rename="camel"):
    function_calling_config: _Calling = msgspec.field(default_factory=_Calling)


class _Body(msgspec.Struct, rename="camel"):
    contents: list[_Content]
    tools: list[_Tools] | None = None
    tool_config: _ToolConfig | None = None


_decoder = msgspec.json.Decoder(_Body)


class GeminiForm:
    """``POST …/models/{model}:generateContent`` and ``:streamGenerateContent?alt=sse``."""

    field = "candidates"

    def key(self, request: HttpRequest) -> str:
        in_query = parse_qs(request.query).get("key", [""])[0] if request.query else ""
        return request.headers.get("x-goog-api-key") or in_query

    def read(self, request: HttpRequest) -> Prompt:
        resource, _, action = request.path.rpartition(":")
        body = _decoder.decode(request.body)
        calling = body.tool_config.function_calling_config if body.tool_config else _Calling()
        mode = calling.mode.upper()
        users = [content for content in body.contents if content.role == "user"]
        last = users[-1].parts if users else []
        return Prompt(
            model=unquote(resource.partition("/models/")[2]),
            stream=action == "streamGenerateContent",
            text="\n".join(part.text for part in last if part.text),
            tools=()
            if mode == "NONE"
            else tuple(
                OfferedTool(item.name, item.parameters_json_schema or item.parameters or {})
                for group in body.tools or []
                for item in group.function_declarations
            ),
            forced=(calling.allowed_function_names or [""])[0] if mode == "ANY" else None,
            after_tool=any(part.function_response is not None for part in last),
            results=sum(p.function_response is not None for user in users for p in user.parts),
        )

    def complete(self, answer: ScriptedCompletion) -> bytes:
        return _encode(_response(answer, [*_thoughts(answer), *_parts(answer, 1)], last=True))

    def stream(self, answer: ScriptedCompletion, chunks: int) -> EventParts:
        parts = _parts(answer, chunks)
        events = [_event(_response(answer, [part], last=False)) for part in _thoughts(answer)]
        events += [
            _event(_response(answer, [part], last=number == len(parts)))
            for number, part in enumerate(parts, 1)
        ]
        return EventParts([], events[:-1], events[-1:], [])

    def error(self, status: int, message: str, /) -> bytes:
        return _encode(_error(status, message))

    def stream_error(self, message: str) -> bytes:
        return _event(_error(503, message))

    def models(self, rows: Sequence[ListedModel]) -> bytes:
        models = [
            {
                "name": f"models/{row.id}",
                "displayName": row.id,
                "inputTokenLimit": row.context_length,
                "outputTokenLimit": row.max_output_length,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for row in rows
        ]
        return _encode({"models": models})


def _event(data: object) -> bytes:
    return b"data: " + _encode(data) + b"\r\n\r\n"


def _thoughts(answer: ScriptedCompletion) -> list[dict[str, Any]]:
    return [{"text": piece, "thought": True} for piece in answer.reasoning]


def _parts(answer: ScriptedCompletion, chunks: int) -> list[dict[str, Any]]:
    # A function call comes whole, as Gemini sends it.
    if answer.calls:
        return [{"functionCall": {"name": c.tool, "args": c.arguments}} for c in answer.calls]
    return [{"text": piece} for piece in split(answer.text, chunks)]


def _response(
    answer: ScriptedCompletion, parts: list[dict[str, Any]], *, last: bool
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = answer.reason(_REASONS)
    usage = {
        "promptTokenCount": answer.prompt_tokens,
        "candidatesTokenCount": answer.tokens,
        "totalTokenCount": answer.prompt_tokens + answer.tokens,
    }
    told = {} if answer.usage is False else {"usageMetadata": usage}
    return told | {
        "candidates": [candidate],
        "modelVersion": answer.model,
        "responseId": f"resp-{answer.number:012d}",
    }


def _error(status: int, message: str) -> dict[str, Any]:
    name = _STATUS_NAMES.get(status, "UNKNOWN")
    return {"error": {"code": status, "message": message, "status": name}}
