"""The OpenAI chat form, with the models list and error bodies of synthetic.new."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from synccr.sandbox import dialect
from synccr.sandbox.dialect import Answer, Ask, Content, Listed, Stream, Tool, split, text_of
from synccr.sandbox.kinds import Finish
from synccr.sandbox.wire import Request

_encode = msgspec.json.encode
_REASONS = ("stop", "length", "content_filter", "stop", "tool_calls")


class _Message(msgspec.Struct):
    role: str
    content: Content = None


class _Function(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    function: _Function


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Named(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    function: _Named


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None


_decoder = msgspec.json.Decoder(_Body)


class OpenAI:
    """``POST …/chat/completions``."""

    field = "choices"

    def key(self, request: Request) -> str:
        return dialect.bearer(request)

    def read(self, request: Request) -> Ask:
        body = _decoder.decode(request.body)
        choice = body.tool_choice
        forced: str | None = None
        if isinstance(choice, _Choice):
            forced = choice.function.name
        elif choice in ("required", "any"):  # CCR hands on Anthropic's word
            forced = ""
        tools = [] if choice == "none" else body.tools or []
        users = [message for message in body.messages if message.role == "user"]
        return Ask(
            model=body.model,
            stream=bool(body.stream),
            text=text_of(users[-1].content) if users else "",
            tools=tuple(Tool(t.function.name, t.function.parameters or {}) for t in tools),
            forced=forced,
            after_tool=bool(body.messages) and body.messages[-1].role == "tool",
            results=sum(message.role == "tool" for message in body.messages),
            usage=bool(body.stream_options and body.stream_options.include_usage)
            if body.stream
            else None,
        )

    def complete(self, answer: Answer) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.finish is Finish.REFUSAL:
            message |= {"content": None, "refusal": answer.text}
        if answer.reasoning:
            message["reasoning_content"] = "".join(answer.reasoning)
        if answer.tool:
            arguments = _encode(answer.arguments).decode()
            message["content"] = None
            message["tool_calls"] = [_call(answer, i, arguments) for i in range(answer.calls)]
        choice = {"index": 0, "message": message, "finish_reason": answer.reason(_REASONS)}
        told = {} if answer.usage is False else {"usage": _usage(answer)}
        return _encode(_frame(answer, "chat.completion") | {"choices": [choice], **told})

    def stream(self, answer: Answer, chunks: int) -> Stream:
        frame = _frame(answer, "chat.completion.chunk")

        def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _event(frame | {"choices": [choice]})

        head = [event({"role": "assistant", "content": ""})]
        content = [event({"reasoning_content": piece}) for piece in answer.reasoning]
        if answer.tool:
            calls = [{"index": i, **_call(answer, i, "")} for i in range(answer.calls)]
            head = []
            for i, call in enumerate(calls):
                who = {} if i else {"role": "assistant"}
                content.append(event(who | {"tool_calls": [call]}))
                content += [
                    event({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
                    for piece in split(_encode(answer.arguments).decode(), chunks)
                ]
        elif answer.text:
            name = "refusal" if answer.finish is Finish.REFUSAL else "content"
            content += [event({name: piece}) for piece in split(answer.text, chunks)]
        close = [event({}, answer.reason(_REASONS))]
        if answer.usage:
            close.append(_event(frame | {"choices": [], "usage": _usage(answer)}))
        return Stream(head, content, close, [b"data: [DONE]\n\n"])

    def error(self, _status: int, message: str, /) -> bytes:
        return _encode({"error": message})

    def stream_error(self, message: str) -> bytes:
        return _event({"error": {"message": message, "type": "server_error", "code": 500}})

    def models(self, rows: Sequence[Listed]) -> bytes:
        return _encode({"object": "list", "data": [_row(row) for row in rows]})


def _event(data: object) -> bytes:
    return b"data: " + _encode(data) + b"\n\n"


def _frame(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.number:012d}",
        "object": kind,
        "created": int(time.time()),
        "model": answer.model,
    }


def _call(answer: Answer, index: int, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{answer.number:012d}_{index}",
        "type": "function",
        "function": {"name": answer.tool, "arguments": arguments},
    }


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
    }


def _row(row: Listed) -> dict[str, Any]:
    plain = row.id.removeprefix("hf:")
    return {
        "id": row.id,
        "object": "model",
        "provider": "sandbox",
        "always_on": row.always_on,
        "hugging_face_id": plain,
        "name": plain,
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "context_length": row.context_length,
        "max_output_length": row.max_output_length,
        "pricing": {"prompt": "$0.00000055", "completion": "$0.00000219"},
        "quantization": "fp8",
        "supported_sampling_parameters": [
            "temperature",
            "top_p",
            "top_k",
            "repetition_penalty",
            "max_tokens",
        ],
        "supported_features": row.features,
    }
