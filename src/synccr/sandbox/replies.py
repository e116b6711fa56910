"""From a behaviour and a question to the bytes that go out. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from synccr.sandbox.behaviours import Behaviour, Kind, Tools, status
from synccr.sandbox.dialect import Answer, Ask, Dialect, answer
from synccr.sandbox.wire import End, Reply

_EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_COMMENT: Final = b": keep-alive\n\n"
_ENDS: Final = {Kind.CUT: End.CUT, Kind.STALL: End.STALL}
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
    if not ask.stream or behaviour.whole or behaviour.kind is Kind.HOLLOW:
        waited = behaviour.delay + behaviour.chunk_delay * behaviour.reasoning
        return information(
            dialect,
            msgspec.structs.replace(behaviour, delay=waited),
            dialect.complete(said),
            key,
        )
    return Reply(
        headers=_EVENTS,
        pieces=_formatted(_events(dialect, behaviour, said), behaviour),
        delay=behaviour.delay,
        chunk_delay=behaviour.chunk_delay,
        end=_ENDS.get(behaviour.kind, End.COMPLETE),
    )


def _events(dialect: Dialect, behaviour: Behaviour, said: Answer) -> list[bytes]:
    """What comes of a stream before it is whole, or goes wrong."""
    stream = dialect.stream(said, behaviour.chunks)
    events = [event for part in stream for event in part]
    if behaviour.kind is Kind.ANSWER:
        return events
    after = len(stream.head) if behaviour.before_content else behaviour.after
    del events[min(after, len(events) - 1) :]
    if behaviour.kind is Kind.STREAM_ERROR:
        events.append(dialect.stream_error(behaviour.message))
    return events + (stream.mark if behaviour.kind is Kind.MARK else [])


def _formatted(events: list[bytes], behaviour: Behaviour) -> list[bytes]:
    """The same events, written in another way that server-sent events allow."""
    if behaviour.padding:
        wide = b"data: " + b" " * behaviour.padding
        events = [event.replace(b"data: ", wide, 1) for event in events]
    if behaviour.comments:
        between = [piece for event in events for piece in (event, _COMMENT)]
        events = [_COMMENT] * behaviour.comments + between[:-1]
    if behaviour.crlf:
        events = [event.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for event in events]
    return events


def information(dialect: Dialect, behaviour: Behaviour, body: bytes, key: str) -> Reply:
    """``body``, or what this behaviour puts in its place."""
    if behaviour.kind in (Kind.REPLY, Kind.NEVER, Kind.RESET, Kind.STREAM_ERROR):
        return _refusal(dialect, behaviour, "", key)
    if behaviour.kind is Kind.HOLLOW:
        hollow = msgspec.json.decode(body) | {dialect.field: behaviour.body}
        body = msgspec.json.encode(hollow)
    if behaviour.kind is Kind.END:
        body = body[: len(body) // 2]
    broken = behaviour.kind in (Kind.CUT, Kind.END, Kind.STALL)
    return msgspec.structs.replace(
        json_reply(200, body),
        pieces=[] if broken and not behaviour.after else None,
        delay=behaviour.delay,
        end=_ENDS.get(behaviour.kind, End.COMPLETE),
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
