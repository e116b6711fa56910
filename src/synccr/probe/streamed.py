"""A probe's answer that came as a stream: judged as traffic is. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from synccr.judge import Abort, Body, End, Fail, Head, Judge, dialect_for
from synccr.judge.form import is_stream
from synccr.judge.outcome import Failure, Trouble

_ENDS_A_SENTENCE = (".", "!", "?", "\N{IDEOGRAPHIC FULL STOP}", '"', "`", ")")
_PLAIN = "ok"
"""What a model without tools is asked to say."""


class Judged(NamedTuple):
    """What a streamed answer is.

    Attributes:
        failure: why it is none; None when it is whole.
        done_alone: it ended with ``[DONE]`` and no finish reason; None when that is not known.
    """

    failure: Failure | None
    done_alone: bool | None = None


def judged(dialect: str, content_type: str, body: str, *, finishes: bool) -> Judged:
    """Judge the whole body of a 2xx.

    ``[DONE]`` alone is also how a broken answer ends. It is taken for this model's own end
    where the answer is visibly complete and the model was never seen to end otherwise.

    Args:
        dialect: its name, as ``probe.dialects`` has it.
        content_type: of the answer.
        body: what came.
        finishes: the model's streams are known to end with a finish reason.
    """
    failure = _failure(dialect, content_type, body, done_alone=False)
    if failure is None:
        streamed = is_stream(content_type, body.encode())
        return Judged(None, False if streamed else None)
    if failure.trouble is not Trouble.CUT or finishes or not _complete(body):
        return Judged(failure)
    if _failure(dialect, content_type, body, done_alone=True) is None:
        return Judged(None, done_alone=True)
    return Judged(failure)


def until_end(dialect: str) -> Callable[[bytes], bool]:
    """Takes one answer piece by piece, and tells when it has its end mark: the connection
    may stay open after it, or break."""
    judge = Judge(dialect_for(dialect), streamed=True, done_alone=True)
    judge.take(Head(200, ""))

    def enough(data: bytes) -> bool:
        judge.take(Body(data))
        return judge.whole

    return enough


def _failure(dialect: str, content_type: str, body: str, *, done_alone: bool) -> Failure | None:
    judge = Judge(dialect_for(dialect), streamed=True, done_alone=done_alone)
    judge.take(Head(200, content_type))
    for event in (Body(body.encode()), End()):
        action = judge.take(event)
        if isinstance(action, Fail | Abort):
            return action.failure
    return None


def _complete(body: str) -> bool:
    """Whether a chat completion says all it has to: calls with JSON in them, or a sentence."""
    text = ""
    calls: dict[str, str] = {}
    for delta in _deltas(body):
        text += delta["content"] if isinstance(delta.get("content"), str) else ""
        for call in _rows(delta, "tool_calls"):
            function = call.get("function")
            part = function.get("arguments") if isinstance(function, dict) else None
            key = str(call.get("index"))
            calls[key] = calls.get(key, "") + (part if isinstance(part, str) else "")
    if calls:
        return all(_document(arguments) is not None for arguments in calls.values())
    said = text.strip()
    return said.lower() == _PLAIN or said.endswith(_ENDS_A_SENTENCE)


def _deltas(body: str) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        document = _document(line[5:]) if line.startswith("data:") else None
        for choice in _rows(document, "choices"):
            if isinstance(choice.get("delta"), dict):
                yield choice["delta"]


def _rows(document: Any, name: str) -> list[dict[str, Any]]:
    rows = document.get(name) if isinstance(document, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
