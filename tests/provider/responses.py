"""The OpenAI Responses form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from synccr.demo.openai import Content, EventParts, OfferedTool, Prompt, split, text_of
from synccr.demo.server import HttpRequest

from .behaviour import FinishReason
from .chat import ChatForm
from .completions import ScriptedCompletion

_encode = msgspec.json.encode
_UNFINISHED = {FinishReason.LENGTH: "max_output_tokens", FinishReason.FILTER: "content_filter"}


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: Content = None


class _Tool(msgspec.Struct):
    type: str = "function"
    name: str = ""
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    model: str
    input: str | list[_Item]
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Tool | None = None


_decoder = msgspec.json.Decoder(_Body)


class ResponsesForm(ChatForm):
    """``POST …/responses``. Keys, the models list and error bodies are those of OpenAI."""

    field = "output"

    def read(self, request: HttpRequest) -> Prompt:
        body = _decoder.decode(request.body)
        choice = body.tool_choice
        forced = choice.name if isinstance(choice, _Tool) else None
        items = (
            body.input if isinstance(body.input, list) else [_Item("message", "user", body.input)]
        )
        users = [item for item in items if item.role == "user"]
        results = [item.type == "function_call_output" for item in items]
        tools = [] if choice == "none" else body.tools or []
        return Prompt(
            model=body.model,
            stream=bool(body.stream),
            text=text_of(users[-1].content) if users else "",
            tools=tuple(OfferedTool(t.name, t.parameters or {}) for t in tools if t.name),
            forced="" if choice == "required" else forced,
            after_tool=bool(results) and results[-1],
            results=sum(results),
        )

    def complete(self, answer: ScriptedCompletion) -> bytes:
        return _encode(_response(answer, [item for item, *_ in _items(answer)]))

    def stream(self, answer: ScriptedCompletion, chunks: int) -> EventParts:
        begun = _response(answer, []) | {"status": "in_progress"}
        head = [_event("response.created", response=begun)]
        content: list[bytes] = []
        items = list(_items(answer))
        for index, (item, name, text) in enumerate(items):
            place = {"output_index": index, "item_id": item["id"]}
            pieces = answer.reasoning if item["type"] == "reasoning" else split(text, chunks)
            opened = _event("response.output_item.added", output_index=index, item=_bare(item))
            (content if index or item["type"] == "function_call" else head).append(opened)
            content += [_event(f"response.{name}.delta", delta=d, **place) for d in pieces if d]
            content.append(_event("response.output_item.done", output_index=index, item=item))
        whole = _response(answer, [item for item, *_ in items])
        mark = _event(f"response.{whole['status']}", response=whole)
        return EventParts(head, content[:-1], content[-1:], [mark])

    def stream_error(self, message: str) -> bytes:
        # The message also stands where other forms have it, as some gateways write it.
        error = {"code": "server_error", "message": message}
        return _event("error", code="server_error", message=message, error=error)


def _event(name: str, **data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **data}))


def _items(answer: ScriptedCompletion) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each output item whole, the name of its deltas, and what they join to."""
    number = f"{answer.number:012d}"
    if answer.reasoning:
        thought = "".join(answer.reasoning)
        summary = [{"type": "summary_text", "text": thought}]
        item = {"type": "reasoning", "id": f"rs_{number}", "summary": summary}
        yield item, "reasoning_summary_text", thought
    if not answer.calls:
        refused = answer.finish is FinishReason.REFUSAL
        kind, field = ("refusal", "refusal") if refused else ("output_text", "text")
        part = {"type": kind, field: answer.text}
        yield (
            {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [part]},
            kind,
            answer.text,
        )
        return
    for index, called in enumerate(answer.calls):
        arguments = _encode(called.arguments).decode()
        call = {"id": f"fc_{number}_{index}", "call_id": f"call_{number}_{index}"}
        item = {"type": "function_call", "name": called.tool, "arguments": arguments, **call}
        yield item, "function_call_arguments", arguments


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is when it begins."""
    empty = {"content": [], "summary": [], "arguments": ""}
    return item | {name: value for name, value in empty.items() if name in item}


def _response(answer: ScriptedCompletion, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": answer.prompt_tokens,
        "output_tokens": answer.tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
    }
    why = None if answer.calls else _UNFINISHED.get(answer.finish)
    return {
        "id": f"resp_{answer.number:012d}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "model": answer.model,
        "output": output,
        "usage": None if answer.usage is False else usage,
    }
