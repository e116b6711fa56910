"""Answers of the four dialects, healthy and not, and what a judge makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from synccr.judge import (
    TRANSITIONS,
    Abort,
    Action,
    Body,
    Cut,
    Done,
    End,
    Event,
    Fail,
    Failure,
    Head,
    Judge,
    Pass,
    Silent,
    State,
    dialect_for,
)

STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
ENDINGS: tuple[Event, ...] = (End(), Cut("reset by peer"), Silent(20.0))
NAMES = ("openai", "anthropic", "gemini", "openai-responses")


def event(document: Any, name: str = "", end: str = "\n") -> bytes:
    """One server-sent event."""
    data = document if isinstance(document, str) else json.dumps(document)
    head = f"event: {name}{end}" if name else ""
    return f"{head}data: {data}{end}{end}".encode()


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    """OpenAI's chunk."""
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def typed(kind: str, **fields: Any) -> bytes:
    """An event of Anthropic or the responses form, which name the type twice."""
    return event({"type": kind, **fields}, kind)


def candidate(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """Gemini's chunk."""
    parts = [{"text": text}] if text is not None else []
    told = {"finishReason": finish} if finish else {}
    return event({"candidates": [{"content": {"parts": parts}, **told}], **more})


DONE = event("[DONE]")
LEAD: dict[str, list[bytes]] = {
    "openai": [b": OPENROUTER PROCESSING\n\n", chunk(role="assistant", content="")],
    "anthropic": [
        typed("message_start", message={"content": [], "usage": {"input_tokens": 7}}),
        typed("ping"),
        typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ],
    "gemini": [event({"usageMetadata": {"promptTokenCount": 7}})],
    "openai-responses": [
        typed("response.created", response={"status": "in_progress", "output": []}),
        typed("response.output_item.added", item={"type": "message", "content": []}),
    ],
}
"""What comes before the first content."""
TEXT: dict[str, list[bytes]] = {
    "openai": [chunk(content="Hel"), chunk(content="lo – \u00e9")],
    "anthropic": [
        typed("content_block_delta", index=0, delta={"type": "text_delta", "text": t})
        for t in ("Hel", "lo")
    ],
    "gemini": [candidate("Hel"), candidate("lo")],
    "openai-responses": [typed("response.output_text.delta", delta=t) for t in ("Hel", "lo")],
}
_WHOLE_RESPONSE = {
    "status": "completed",
    "output": [],
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
TAIL: dict[str, list[bytes]] = {
    "openai": [
        chunk(finish="stop"),
        event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
        DONE,
    ],
    "anthropic": [
        typed("content_block_stop", index=0),
        typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        typed("message_stop"),
    ],
    "gemini": [
        candidate(finish="STOP", usageMetadata={"promptTokenCount": 7, "candidatesTokenCount": 2})
    ],
    "openai-responses": [typed("response.completed", response=_WHOLE_RESPONSE)],
}
"""The end mark, and what goes with it."""
ERROR: dict[str, bytes] = {
    "openai": event({"error": {"message": "Overloaded", "code": 529}}),
    "anthropic": typed("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    "gemini": event({"error": {"code": 529, "message": "Overloaded"}}),
    "openai-responses": typed("error", code="529", message="Overloaded"),
}
LENGTH: dict[str, list[bytes]] = {
    "openai": [chunk(finish="length"), DONE],
    "anthropic": [
        typed("message_delta", delta={"stop_reason": "max_tokens"}),
        typed("message_stop"),
    ],
    "gemini": [candidate(finish="MAX_TOKENS")],
    "openai-responses": [
        typed("response.incomplete", response={"status": "incomplete", "output": []})
    ],
}
"""The end of an answer that spent all its tokens before the first word."""
DOCUMENT: dict[str, dict[str, Any]] = {
    "openai": {
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    },
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 2},
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2},
    },
    "openai-responses": {
        **_WHOLE_RESPONSE,
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}],
    },
}
"""A whole answer that is not streamed."""


def judge(name: str = "openai", *, streamed: bool = True, **options: Any) -> Judge:
    """A judge of the dialect of this name."""
    return Judge(dialect_for(name), streamed=streamed, **options)


class Heard:
    """What came of an answer.

    Attributes:
        passed: all the bytes that were handed on.
        last: the action that ended it; None while it goes on.
        most: the most bytes that were taken and neither passed nor given up.
    """

    def __init__(self, judged: Judge) -> None:
        self.judge = judged
        self.passed = b""
        self.last: Fail | Abort | Done | None = None
        self.most = 0
        self.taken = 0
        self.steps: set[tuple[State, type[Event], type[Action], State]] = set()

    def take(self, happening: Event) -> Action:
        """Let it happen, and look that the table has it."""
        before = self.judge.state
        action = self.judge.take(happening)
        step = (type(action), self.judge.state)
        assert step in TRANSITIONS[before, type(happening)], (before, happening, step)
        self.steps.add((before, type(happening), *step))
        if isinstance(happening, Body):
            self.taken += len(happening.data)
        match action:
            case Pass(data):
                assert data
                self.passed += data
            case Fail(failure):
                assert not self.passed
                assert not failure.passed
                self.last = action
            case Abort(failure, data):
                assert failure.passed
                self.passed += data
                self.last = action
            case Done(data):
                self.passed += data
                self.last = action
        if self.last is None:
            self.most = max(self.most, self.taken - len(self.passed))
        return action

    @property
    def verdict(self) -> tuple[type[Action], Failure | None]:
        """What does not depend on the cutting."""
        assert self.last is not None
        failure = None if isinstance(self.last, Done) else self.last.failure
        return type(self.last), failure

    @property
    def failure(self) -> Failure:
        """Of an answer that was given up."""
        assert isinstance(self.last, Fail | Abort), self.last
        return self.last.failure


def hear(
    judged: Judge,
    pieces: Iterable[bytes],
    ending: Event | None = ENDINGS[0],
    *,
    status: int = 200,
    kind: str = STREAM,
) -> Heard:
    """A whole answer in these pieces; after the last action nothing does anything."""
    heard = Heard(judged)
    heard.take(Head(status, kind))
    for piece in pieces:
        heard.take(Body(piece))
    if ending is not None:
        heard.take(ending)
        assert judged.state is State.OVER
    return heard


def stream(name: str, *parts: Sequence[bytes] | bytes, **options: Any) -> Heard:
    """A stream in one dialect that ends as HTTP ends it, an event a piece."""
    pieces = [p for part in parts for p in ([part] if isinstance(part, bytes) else part)]
    ending = options.pop("ending", ENDINGS[0])
    return hear(judge(name, **options), pieces, ending)


def document(name: str, body: Any, **options: Any) -> Heard:
    """An answer in one JSON document, or in any other bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    ending, kind = options.pop("ending", ENDINGS[0]), options.pop("kind", JSON)
    return hear(judge(name, **options), [data], ending, kind=kind)
