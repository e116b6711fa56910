"""How a model of the embedded provider answers: data, and the script that says what comes next.

A target is a model's name, ``EVERY_MODEL`` (overrules what the models have), or one of the
endpoints ``MODELS_LIST`` and ``QUOTAS``. The bodies of the presets are those real providers send.
"""

from __future__ import annotations

import difflib
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

EVERY_MODEL: Final = "*"
MODELS_LIST: Final = "/models"
QUOTAS: Final = "/quotas"


class Kind(StrEnum):
    """What happens to a request."""

    ANSWER = "answer"
    """A completion."""
    REPLY = "reply"
    """A fixed status, headers and body."""
    NEVER = "never"
    """Accepted and never answered."""
    CUT = "cut"
    """The connection closes in the middle of the body or the stream."""
    STREAM_ERROR = "stream_error"
    """An error event inside a stream that ends normally; a 500 when not streaming."""
    RESET = "reset"
    """The connection is reset (TCP RST) instead of an answer."""


class Tools(StrEnum):
    """What a model does with the tools it is offered."""

    CALL = "call"
    IGNORE = "ignore"
    REFUSE = "refuse"
    """400, as servers answer for a model without tool support."""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model answers. Preset names and these fields are also the JSON form.

    Attributes:
        name: what records call it; empty for kind and status.
        status: HTTP status of a ``REPLY``.
        message: of an error, put in the form of the dialect that was asked. ``{model}`` and
            ``{key}`` stand for what the request named and for the key it carried.
        body: of a ``REPLY``, instead of ``message``: text is sent as it is (with the same
            placeholders), any other value as JSON.
        headers: of a ``REPLY``, lower case names.
        delay: seconds before the first byte.
        chunk_delay: seconds between the events of a stream.
        chunks: into how many pieces a streamed answer is split.
        after: how many events come before a cut or an error event.
        length: characters of the answer; None for one short sentence. An echo keeps its own.
    """

    name: str = ""
    kind: Kind = Kind.ANSWER
    status: int = 200
    message: str = ""
    body: Any = None
    headers: dict[str, str] = {}
    delay: float = 0.0
    chunk_delay: float = 0.0
    chunks: int = 4
    after: int = 3
    length: int | None = None
    tools: Tools = Tools.CALL

    @property
    def label(self) -> str:
        """Name for records."""
        return self.name or (f"status {self.status}" if self.kind is Kind.REPLY else self.kind)


_PAGE = (
    "<!DOCTYPE html><html><head><title>{0}</title></head>"
    "<body><center><h1>{0}</h1></center></body></html>"
)
_SPENT_CAP = (
    "You've exceeded your subscription rate limits. Upgrade, or try again later. "
    "You can view your usage at https://synthetic.new/billing"
)
_ON_DEMAND = "Your plan doesn't cover on-demand models, and there's insufficient credit balance"
_NO_QUOTA = (
    "Insufficient quota and token balance: consider upgrading your subscription on "
    "https://synthetic.new/billing"
)


def _reply(
    status: int, message: str = "", body: object = None, headers: Mapping[str, str] | None = None
) -> Behaviour:
    return Behaviour(
        kind=Kind.REPLY, status=status, message=message, body=body, headers=dict(headers or {})
    )


PRESETS: Final[Mapping[str, Behaviour]] = {
    name: msgspec.structs.replace(behaviour, name=name)
    for name, behaviour in {
        "ok": Behaviour(),
        "slow": Behaviour(delay=0.5, chunk_delay=0.1),
        "no_tools": Behaviour(tools=Tools.REFUSE),
        "ignores_tools": Behaviour(tools=Tools.IGNORE),
        "billing": _reply(402, _ON_DEMAND),
        "no_quota": _reply(402, _NO_QUOTA),
        "spent_cap": _reply(429, _SPENT_CAP),
        "rate_limited": _reply(
            429, "Too many requests, please slow down", headers={"retry-after": "1"}
        ),
        "missing": _reply(404, "The model `{model}` does not exist"),
        "unavailable": _reply(400, "Model is unavailable"),
        "bad_request": _reply(400, "Invalid request"),
        "auth": _reply(401, "Invalid API key"),
        "echo_key": _reply(401, "invalid API key provided: got '{key}'"),
        "forbidden": _reply(403, "Your account may not use {model}"),
        "server_error": _reply(500, "Internal server error"),
        "down": _reply(503, "Service temporarily unavailable"),
        "overloaded": _reply(529, "Overloaded"),
        "html": _reply(200, body=_PAGE.format("Sign in to the network")),
        "bad_gateway": _reply(502, body=_PAGE.format("502 Bad Gateway")),
        "garbage": _reply(200, body="\x1f\x8b not json {"),
        "json_error": _reply(200, "Upstream failed"),
        "never": Behaviour(kind=Kind.NEVER),
        "cut": Behaviour(kind=Kind.CUT),
        "stream_error": Behaviour(kind=Kind.STREAM_ERROR, message="The model stopped working"),
        "reset": Behaviour(kind=Kind.RESET),
    }.items()
}

_DEFAULT_OF_STATUS: Final = {
    400: "bad_request",
    401: "auth",
    402: "billing",
    403: "forbidden",
    404: "missing",
    429: "rate_limited",
    500: "server_error",
    502: "bad_gateway",
    503: "down",
    529: "overloaded",
}

BehaviourLike = Behaviour | str | int | Mapping[str, Any]
"""A behaviour, a preset's name, an HTTP status, or a preset's changed fields
(``{"preset": "billing", "delay": 2}``)."""


def status(
    code: int,
    message: str | None = None,
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """A fixed reply; what is not given is what a real provider sends with this status."""
    preset = PRESETS.get(_DEFAULT_OF_STATUS.get(code, ""))
    if preset is not None and message is None and body is None and headers is None:
        return preset
    if preset is None:
        preset = _reply(code, f"Status {code}")
    return _reply(
        code,
        preset.message if message is None else message,
        body if body is not None or message is not None else preset.body,
        preset.headers if headers is None else headers,
    )


def behaviour(value: BehaviourLike) -> Behaviour:
    """The behaviour that ``value`` stands for.

    Raises:
        ValueError: there is no such preset, or a field is unknown or of a wrong type.
    """
    if isinstance(value, Behaviour):
        return value
    if isinstance(value, int):
        return status(value)
    changes = {"preset": value} if isinstance(value, str) else dict(value)
    name = changes.pop("preset", "ok")
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=1)
        raise ValueError(
            f"no behaviour {name!r}; {f'did you mean {near[0]!r}' if near else 'known'}: "
            f"{', '.join(PRESETS)}"
        )
    fields = msgspec.structs.asdict(PRESETS[name]) | changes
    return msgspec.convert(fields, Behaviour)  # its ValidationError is a ValueError


class _Target:
    """The behaviour of one target: its own, what comes before that, and its credit."""

    __slots__ = ("base", "credit", "upcoming")

    def __init__(self) -> None:
        self.base: Behaviour | None = None
        self.upcoming: deque[Behaviour] = deque()
        self.credit: int | None = None

    def take(self, otherwise: Behaviour | None) -> Behaviour | None:
        if self.upcoming:
            return self.upcoming.popleft()
        base = self.base or otherwise
        if self.credit is not None and base is not None and base.kind is Kind.ANSWER:
            if self.credit == 0:
                return PRESETS["billing"]
            self.credit -= 1
        return base


class Script:
    """What each target does next. Safe to use from any thread.

    Args:
        unknown: for models without a behaviour of their own.
    """

    def __init__(self, unknown: BehaviourLike = "ok") -> None:
        self._unknown = behaviour(unknown)
        self._targets: dict[str, _Target] = {}
        self._lock = threading.Lock()

    def set(self, target: str, value: BehaviourLike | None, *, times: int | None = None) -> None:
        """Answer so from now on, or only the next ``times`` requests. None takes it back.

        Raises:
            ValueError: no such behaviour.
        """
        chosen = None if value is None else behaviour(value)
        with self._lock:
            state = self._targets.setdefault(target, _Target())
            state.upcoming.clear()
            if times is None or chosen is None:
                state.base = chosen
            else:
                state.upcoming.extend([chosen] * times)

    def schedule(self, target: str, values: Iterable[BehaviourLike]) -> None:
        """Answer the next requests so, one each, and then as before.

        Raises:
            ValueError: no such behaviour.
        """
        chosen = [behaviour(value) for value in values]
        with self._lock:
            self._targets.setdefault(target, _Target()).upcoming = deque(chosen)

    def credit(self, model: str, requests: int | None) -> None:
        """Pay for so many answers, after which comes 402; None for no limit."""
        with self._lock:
            self._targets.setdefault(model, _Target()).credit = requests

    def take(self, target: str) -> Behaviour:
        """The behaviour for the request that has just come; counts it."""
        with self._lock:
            override = self._targets.get(EVERY_MODEL) if not target.startswith("/") else None
            chosen = override.take(None) if override else None
            if chosen is None:
                state = self._targets.get(target)
                otherwise = PRESETS["ok"] if target.startswith("/") else self._unknown
                chosen = (state.take(otherwise) if state else None) or otherwise
            return chosen
