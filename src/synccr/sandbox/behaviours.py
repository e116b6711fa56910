"""How a model of the embedded provider answers: data, and the script that says what comes next.

A target is a model's name, ``EVERY_MODEL`` (overrules what the models have), or one of the
endpoints ``MODELS_LIST`` and ``QUOTAS``.
"""

from __future__ import annotations

import difflib
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from synccr.sandbox.kinds import Behaviour, Call, Finish, Kind, Tools
from synccr.sandbox.presets import PRESETS, reply

__all__ = [
    "EVERY_MODEL",
    "MODELS_LIST",
    "PRESETS",
    "QUOTAS",
    "Behaviour",
    "BehaviourLike",
    "Call",
    "Finish",
    "Kind",
    "Script",
    "Tools",
    "behaviour",
    "status",
]

EVERY_MODEL: Final = "*"
MODELS_LIST: Final = "/models"
QUOTAS: Final = "/quotas"


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
        preset = reply(code, f"Status {code}")
    return reply(
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
