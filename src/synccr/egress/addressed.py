"""Provider requests that CCR 3 sends to an address of ours, which stands for the provider's. Pure.

``/to/<place>/...`` names the provider; the rest of the path tells the form in which CCR asks.
CCR knows no key, and passes each header field of its client on: only what says what the request
is goes further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from synccr.config.profile import Provider
from synccr.models.report import ModelRef
from synccr.probe.dialects import CHAT, GEMINI, MESSAGES, RESPONSES, ProbeDialect, renames_limit
from synccr.transport import Outgoing

_PATH: Final = re.compile(r"/to/([a-z0-9]+)(/[^?]*)")
_MODEL: Final = re.compile(r"/models/([^/]+):[a-zA-Z]+$")
_FORMS: Final[Sequence[tuple[str, ProbeDialect]]] = (
    ("/chat/completions", CHAT),
    ("/messages", MESSAGES),
    ("/responses", RESPONSES),
)
_KEPT: Final = frozenset({b"content-type", b"accept"})
_ANTHROPIC: Final = frozenset({b"anthropic-beta", b"anthropic-version", b"user-agent"})
"""CCR 2 passes these on, too, and some providers serve known clients only."""


class Addressed(NamedTuple):
    """Whom a request is for, and where it goes.

    Attributes:
        provider: by its place.
        dialect: the form in which it is asked.
        url: the provider's own.
    """

    provider: Provider
    dialect: ProbeDialect
    url: str

    def outgoing(
        self, method: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, model: str
    ) -> Outgoing:
        """The request as the provider gets it, for the model of that name there."""
        own = {
            name.encode(): value.encode("latin-1", "replace")
            for name, value in self.dialect.headers(self.provider).items()
        }
        passed = _KEPT | (_ANTHROPIC if self.dialect is MESSAGES else frozenset())
        kept = {name: value for name, value in headers if name in passed}
        if self.dialect is CHAT and renames_limit(self.provider, model):
            body = with_limit_renamed(body)
        return Outgoing(method, self.url, tuple((own | kept).items()), body)

    def ref(self, model: str) -> ModelRef:
        """The model of that name there."""
        return ModelRef(self.provider.name, model)


def with_limit_renamed(body: bytes) -> bytes:
    """A body with ``max_completion_tokens`` in place of ``max_tokens``: CCR 3 has only the old
    name. All other values keep their bytes."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body
    if (limit := fields.pop("max_tokens", None)) is not None:
        fields["max_completion_tokens"] = limit
    return msgspec.json.encode(fields)


def addressed(target: str, at: Callable[[str], Provider | None]) -> Addressed | None:
    """Read the target of a request.

    Args:
        target: path and query.
        at: the provider at a place.

    Returns:
        None when it names no provider that is known, or no form.
    """
    match = _PATH.match(target)
    provider = at(match[1]) if match else None
    if match is None or provider is None:
        return None
    for ending, dialect in _FORMS:
        if match[2].endswith(ending):
            return Addressed(provider, dialect, provider.url)
    if model := _MODEL.search(match[2]):
        return Addressed(provider, GEMINI, GEMINI.url(provider, unquote(model[1])))
    return None
