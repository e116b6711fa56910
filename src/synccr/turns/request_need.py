"""What a client's request needs of a model, read from its body. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from synccr.policy.route_plan import Need

BYTES_A_TOKEN: Final = 4
"""Of a request's text, as a rough measure."""
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]{4096,}")


def need_of(body: bytes) -> Need:
    """What a request of a client needs of a model, from what it carries."""
    return Need(
        tools=b'"tools":[{' in body or b'"tools": [{' in body,
        tokens=(len(body) - _attached(body)) // BYTES_A_TOKEN,
    )


def named_by_client(body: bytes) -> bool:
    """Whether a request names ``provider,model`` itself, so that no route leads it."""
    try:
        model = msgspec.json.decode(body, type=_Model).model
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(model, str) and "," in model


class _Model(msgspec.Struct):
    model: Any = None


def _attached(body: bytes) -> int:
    """Bytes of images and documents: they are worth far fewer tokens than their text has."""
    if b'"base64"' not in body:
        return 0
    return sum(len(match[0]) for match in _BASE64.finditer(body))
