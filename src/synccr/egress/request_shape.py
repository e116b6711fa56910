"""What a provider request asks for, read from its address and body. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

_GEMINI: Final = re.compile(r".*/models/(.+):(stream)?[gG]enerateContent$")
_ENDINGS: Final = (
    ("/chat/completions", "openai"),
    ("/messages", "anthropic"),
    ("/responses", "openai-responses"),
)


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None
    tools: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What a request is, as far as its judgement needs to know.

    Attributes:
        model: by the provider's own name; empty when the request names none.
        dialect: the form, as :mod:`synccr.probe.dialects` names it; None when unknown.
        streamed: the answer is to come as events.
        tools: tools are offered.
        size: bytes of the request's body.
    """

    model: str
    dialect: str | None
    streamed: bool
    tools: bool
    size: int


def read_shape(url: str, body: bytes) -> RequestShape:
    """Read a request; what cannot be read is left empty."""
    path = urlsplit(url).path
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = _Body()
    tools = len(bytes(found.tools)) > 2 and not bytes(found.tools).startswith(b"null")
    if match := _GEMINI.match(path):
        return RequestShape(unquote(match[1]), "gemini", bool(match[2]), tools, len(body))
    dialect = next((name for ending, name in _ENDINGS if path.endswith(ending)), None)
    if dialect is None and bytes(found.messages):
        dialect = "openai"
    model = found.model if isinstance(found.model, str) else ""
    return RequestShape(model, dialect, found.stream is True, tools, len(body))
