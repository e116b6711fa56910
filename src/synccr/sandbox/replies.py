"""From a behaviour and a question to the bytes that go out. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from synccr.sandbox.behaviours import Behaviour, Kind, Tools, status
from synccr.sandbox.dialect import Ask, Dialect, answer
from synccr.sandbox.wire import End, Reply

_EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_NO_TOOLS: Final = status(400, "{model} does not support tools")


def json_reply(code: int, body: bytes) -> Reply:
    """A plain answer in JSON."""
    return Reply(status=code, headers={"content-type": "application/json"}, body=body)


def completion(dialect: Dialect, behaviour: Behaviour, ask: Ask, key: str, number: int) -> Reply:
    """What a model with this behaviour sends back. ``number`` makes ids unique."""
    if ask.tools and behaviour.tools is Tools.REFUSE:
        behaviour = _NO_TOOLS
    if behaviour.kind in (Kind.REPLY, Kind.NEVER, Kind.RESET):
        return _refusal(dialect, behaviour, ask.model, key)
    said = answer(ask, behaviour, number)
    if not ask.stream:
        return information(dialect, behaviour, dialect.complete(said), key)
    pieces = dialect.stream(said, behaviour.chunks)
    if behaviour.kind is not Kind.ANSWER:
        del pieces[min(behaviour.after, len(pieces) - 1) :]
    if behaviour.kind is Kind.STREAM_ERROR:
        pieces.append(dialect.stream_error(behaviour.message))
    return Reply(
        headers=_EVENTS,
        pieces=pieces,
        delay=behaviour.delay,
        chunk_delay=behaviour.chunk_delay,
        end=End.CUT if behaviour.kind is Kind.CUT else End.COMPLETE,
    )


def information(dialect: Dialect, behaviour: Behaviour, body: bytes, key: str) -> Reply:
    """``body``, or what this behaviour puts in its place."""
    if behaviour.kind not in (Kind.ANSWER, Kind.CUT):
        return _refusal(dialect, behaviour, "", key)
    return msgspec.structs.replace(
        json_reply(200, body),
        delay=behaviour.delay,
        end=End.CUT if behaviour.kind is Kind.CUT else End.COMPLETE,
    )


def _refusal(dialect: Dialect, behaviour: Behaviour, model: str, key: str) -> Reply:
    match behaviour.kind:
        case Kind.NEVER:
            return Reply(status=0, end=End.SILENT)
        case Kind.RESET:
            return Reply(status=0, end=End.RESET, delay=behaviour.delay)
    code = 500 if behaviour.kind is Kind.STREAM_ERROR else behaviour.status
    content_type = "application/json"
    if behaviour.body is None:
        body = dialect.error(code, _fill(behaviour.message, model, key))
    elif isinstance(behaviour.body, str):
        body = _fill(behaviour.body, model, key).encode()
        content_type = "text/html; charset=utf-8" if body.startswith(b"<") else content_type
    else:
        body = msgspec.json.encode(behaviour.body)
    return Reply(
        status=code,
        headers={"content-type": content_type, **behaviour.headers},
        body=body,
        delay=behaviour.delay,
    )


def _fill(text: str, model: str, key: str) -> str:
    return text.replace("{model}", model).replace("{key}", key)
