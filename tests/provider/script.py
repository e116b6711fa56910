"""Which behaviour comes next.

A target is a model's name, ``EVERY_MODEL`` (overrules what the models have), or one of the
endpoints ``MODELS_LIST`` and ``QUOTAS``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from .behaviour import Behaviour, Kind
from .presets import PRESETS, BehaviourLike, behaviour

EVERY_MODEL: Final = "*"
MODELS_LIST: Final = "/models"
QUOTAS: Final = "/quotas"


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
