"""From a behaviour and a question to the bytes that go out. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from synccr.demo.openai import Prompt
from synccr.demo.provider import EVENTS

from .behaviour import Behaviour, Kind, Tools
from .completions import ProviderForm, ScriptedCompletion, answer
from .connection import Ending, TroubledReply
from .presets import status

_COMMENT: Final = b": keep-alive\n\n"
_ENDS: Final = {Kind.CUT: Ending.CUT, Kind.STALL: Ending.STALL}
_NO_TOOLS: Final = status(400, "{model} does not support tools")


def completion(
    form: ProviderForm, behaviour: Behaviour, prompt: Prompt, key: str, number: int
) -> TroubledReply:
    """What a model with this behaviour sends back. ``number`` makes ids unique."""
    if prompt.tools and behaviour.tools is Tools.REFUSE:
        behaviour = _NO_TOOLS
    if behaviour.kind in (Kind.REPLY, Kind.NEVER, Kind.RESET):
        return _refusal(form, behaviour, prompt.model, key)
    said = answer(prompt, behaviour, number)
    if not prompt.stream or behaviour.whole or behaviour.kind is Kind.HOLLOW:
        waited = behaviour.delay + behaviour.chunk_delay * behaviour.reasoning
        return information(
            form,
            msgspec.structs.replace(behaviour, delay=waited),
            form.complete(said),
            key,
        )
    return TroubledReply(
        headers=EVENTS,
        pieces=_formatted(_events(form, behaviour, said), behaviour),
        delay=behaviour.delay,
        chunk_delay=behaviour.chunk_delay,
        ending=_ENDS.get(behaviour.kind, Ending.COMPLETE),
    )


def _events(form: ProviderForm, behaviour: Behaviour, said: ScriptedCompletion) -> list[bytes]:
    """What comes of a stream before it is whole, or goes wrong."""
    stream = form.stream(said, behaviour.chunks)
    events = [event for part in stream for event in part]
    if behaviour.kind is Kind.ANSWER:
        return events
    after = len(stream.head) if behaviour.before_content else behaviour.after
    del events[min(after, len(events) - 1) :]
    if behaviour.kind is Kind.STREAM_ERROR:
        events.append(form.stream_error(behaviour.message))
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


def information(form: ProviderForm, behaviour: Behaviour, body: bytes, key: str) -> TroubledReply:
    """``body``, or what this behaviour puts in its place."""
    if behaviour.kind in (Kind.REPLY, Kind.NEVER, Kind.RESET, Kind.STREAM_ERROR):
        return _refusal(form, behaviour, "", key)
    if behaviour.kind is Kind.HOLLOW:
        hollow = msgspec.json.decode(body) | {form.field: behaviour.body}
        body = msgspec.json.encode(hollow)
    if behaviour.kind is Kind.END:
        body = body[: len(body) // 2]
    broken = behaviour.kind in (Kind.CUT, Kind.END, Kind.STALL)
    return TroubledReply(
        headers={"content-type": "application/json"},
        body=body,
        pieces=[] if broken and not behaviour.after else None,
        delay=behaviour.delay,
        ending=_ENDS.get(behaviour.kind, Ending.COMPLETE),
    )


def _refusal(form: ProviderForm, behaviour: Behaviour, model: str, key: str) -> TroubledReply:
    match behaviour.kind:
        case Kind.NEVER:
            return TroubledReply(status=0, ending=Ending.SILENT)
        case Kind.RESET:
            return TroubledReply(status=0, ending=Ending.RESET, delay=behaviour.delay)
    code = 500 if behaviour.kind is Kind.STREAM_ERROR else behaviour.status
    content_type = "application/json"
    if behaviour.body is None:
        body = form.error(code, _fill(behaviour.message, model, key))
    elif isinstance(behaviour.body, str):
        body = _fill(behaviour.body, model, key).encode()
        content_type = "text/html; charset=utf-8" if body.startswith(b"<") else content_type
    else:
        body = msgspec.json.encode(behaviour.body)
    return TroubledReply(
        status=code,
        headers={"content-type": content_type, **behaviour.headers},
        body=body,
        delay=behaviour.delay,
    )


def _fill(text: str, model: str, key: str) -> str:
    return text.replace("{model}", model).replace("{key}", key)
