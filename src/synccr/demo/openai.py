"""The OpenAI chat form, with the models list and error bodies of synthetic.new."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from synccr.demo.server import HttpRequest

_encode = msgspec.json.encode


class OfferedTool(msgspec.Struct, frozen=True):
    """A tool the model was offered, with the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any] = {}


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for.

    Attributes:
        text: of the last message of the user.
        tools: those the model may call.
        forced: the tool it has to call, ``""`` for any; None leaves it to the model.
        after_tool: the conversation ends with a tool's result, which wants words.
        results: how many results of tools the conversation has.
        usage: whether a stream shall end with the token counts; None: as usual.
    """

    model: str
    stream: bool = False
    text: str = ""
    tools: tuple[OfferedTool, ...] = ()
    forced: str | None = None
    after_tool: bool = False
    results: int = 0
    usage: bool | None = None


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool."""

    tool: str
    arguments: dict[str, Any] = {}


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says: ``text``, or ``calls`` in its place.

    Attributes:
        number: makes its id unique.
        usage: token counts are told; None where the form always does.
    """

    number: int
    model: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 1
    tokens: int = 1
    usage: bool | None = None


class ListedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the models list. Lengths are in tokens."""

    id: str
    context_length: int = 262144
    max_output_length: int = 65536
    always_on: bool = True
    features: tuple[str, ...] = ("tools", "json_mode", "structured_outputs")


class EventParts(NamedTuple):
    """The server-sent events of a completion: before the content, the content, after it, and
    the end mark (empty where the form has none).
    """

    head: list[bytes]
    content: list[bytes]
    close: list[bytes]
    mark: list[bytes]


# A request.


class Part(msgspec.Struct):
    """A part of a message's content; only what matters here."""

    type: str = "text"
    text: str | None = None


Content = str | list[Part] | None


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


def bearer(request: HttpRequest) -> str:
    """The key in ``Authorization: Bearer``, empty when there is none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def text_of(content: Content) -> str:
    """The words in a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content if part.text)


def read(body: bytes) -> Prompt:
    """What is asked for.

    Raises:
        msgspec.DecodeError: the body is not what this form prescribes.
    """
    asked = _decoder.decode(body)
    choice = asked.tool_choice
    forced: str | None = None
    if isinstance(choice, _Choice):
        forced = choice.function.name
    elif choice in ("required", "any"):  # CCR hands on Anthropic's word
        forced = ""
    tools = [] if choice == "none" else asked.tools or []
    options = asked.stream_options or _StreamOptions()
    users = [message for message in asked.messages if message.role == "user"]
    return Prompt(
        model=asked.model,
        stream=bool(asked.stream),
        text=text_of(users[-1].content) if users else "",
        tools=tuple(OfferedTool(t.function.name, t.function.parameters or {}) for t in tools),
        forced=forced,
        after_tool=bool(asked.messages) and asked.messages[-1].role == "tool",
        results=sum(message.role == "tool" for message in asked.messages),
        usage=options.include_usage if asked.stream else None,
    )


# An answer.


def whole(said: Completion) -> bytes:
    """The body of an answer that is not streamed."""
    return body(said, message(said), reason(said))


def streamed(said: Completion, chunks: int) -> EventParts:
    """The events of one that is, with the text in at most so many pieces."""
    return events(said, deltas(said, chunks), reason(said))


def reason(said: Completion) -> str:
    """Why it ends."""
    return "tool_calls" if said.calls else "stop"


def message(said: Completion) -> dict[str, Any]:
    """The one message of a whole answer."""
    if not said.calls:
        return {"role": "assistant", "content": said.text}
    calls = [
        _call(said, index, call.tool, _encode(call.arguments).decode())
        for index, call in enumerate(said.calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def body(said: Completion, message: dict[str, Any], reason: str) -> bytes:
    """A whole answer around its message."""
    choice = {"index": 0, "message": message, "finish_reason": reason}
    told = {} if said.usage is False else {"usage": _usage(said)}
    return _encode(_frame(said, "chat.completion") | {"choices": [choice], **told})


def deltas(said: Completion, chunks: int) -> list[dict[str, Any]]:
    """The content of a stream; a call's arguments come in pieces, as a text does."""
    if not said.calls:
        return [{"content": piece} for piece in split(said.text, chunks)] if said.text else []
    found: list[dict[str, Any]] = []
    for index, call in enumerate(said.calls):
        opened = {"tool_calls": [{"index": index, **_call(said, index, call.tool, "")}]}
        found.append(opened if index else {"role": "assistant"} | opened)
        found += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in split(_encode(call.arguments).decode(), chunks)
        ]
    return found


def events(said: Completion, deltas: Sequence[dict[str, Any]], reason: str) -> EventParts:
    """A stream around its content."""
    frame = _frame(said, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return event(frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    head = [] if said.calls else [chunk({"role": "assistant", "content": ""})]
    close = [chunk({}, reason)]
    if said.usage:
        close.append(event(frame | {"choices": [], "usage": _usage(said)}))
    return EventParts(head, [chunk(delta) for delta in deltas], close, [b"data: [DONE]\n\n"])


def event(data: object) -> bytes:
    """One server-sent event."""
    return b"data: " + _encode(data) + b"\n\n"


def split(text: str, chunks: int) -> list[str]:
    """``text`` in at most so many pieces of about the same length; at least one."""
    size = max(1, -(-len(text) // max(1, chunks)))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def error(message: str) -> bytes:
    """The body of an error."""
    return _encode({"error": message})


def models_list(rows: Sequence[ListedModel]) -> bytes:
    """The body of the models list."""
    return _encode({"object": "list", "data": [_row(row) for row in rows]})


def _frame(said: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{said.number:012d}",
        "object": kind,
        "created": int(time.time()),
        "model": said.model,
    }


def _call(said: Completion, index: int, tool: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{said.number:012d}_{index}",
        "type": "function",
        "function": {"name": tool, "arguments": arguments},
    }


def _usage(said: Completion) -> dict[str, int]:
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": said.tokens,
        "total_tokens": said.prompt_tokens + said.tokens,
    }


def _row(row: ListedModel) -> dict[str, Any]:
    plain = row.id.removeprefix("hf:")
    return {
        "id": row.id,
        "object": "model",
        "provider": "demo",
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
