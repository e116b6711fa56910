"""What is known about a model: the words that every part of synccr shares."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Status(StrEnum):
    """State of a model, as the public contract names it."""

    OK = "ok"
    BILLING = "billing"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    MISSING = "missing"
    AUTH = "auth"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNVERIFIED = "unverified"


SERVING = frozenset({Status.OK, Status.UNVERIFIED})
"""A route may lead here."""

FATAL = frozenset({Status.BILLING, Status.QUOTA, Status.MISSING, Status.AUTH})
"""Asking again at once brings the same answer: a route must not lead here."""

TRANSIENT = frozenset({Status.RATE_LIMITED, Status.OVERLOADED, Status.TIMEOUT, Status.UNREACHABLE})
"""May pass by itself: asked again with backoff, left when it persists."""


class ModelRef(NamedTuple):
    """A model of a provider, written ``provider,model`` as CCR does."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider},{self.model}"

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Split at the first comma, as CCR 2.0.0 does.

        Raises:
            ValueError: there is no comma, or nothing on one side of it.
        """
        provider, comma, model = text.partition(",")
        if not (comma and provider and model):
            raise ValueError(f"not of the form provider,model: {text!r}")
        return cls(provider, model)


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What a probe, or a running CCR, found out about one model.

    Attributes:
        status: the model's state.
        http_status: the provider's HTTP status; None when there was no answer.
        latency_ms: time to the whole answer, milliseconds.
        checked_at: when, UTC.
        detail: one line for a person, without secrets.
        account: the trouble is the account's (key, spent cap), so that it hits
            every model of the provider.
        retry_at: when the provider said it will serve again, UTC.
        tools: the model called a tool when asked to; None when not tried.
        context_length: tokens, from the provider's models list.
        from_traffic: seen in a running CCR's log, not by a probe.
        done_alone: its streams end with ``[DONE]`` and no finish reason; None when no
            streamed probe has shown it.
    """

    provider: str
    model: str
    status: Status
    http_status: int | None = None
    latency_ms: int | None = None
    checked_at: datetime
    detail: str = ""
    account: bool = False
    retry_at: datetime | None = None
    tools: bool | None = None
    context_length: int | None = None
    from_traffic: bool = False
    done_alone: bool | None = None

    @property
    def ref(self) -> ModelRef:
        """The model this is about."""
        return ModelRef(self.provider, self.model)

    @property
    def serves(self) -> bool:
        """Whether a route may lead to this model."""
        return self.status in SERVING and self.tools is not False


SUBSCRIPTION = "subscription"
FIVE_HOURS = "rolling five hours"
WEEK = "weekly tokens, percent"
SEARCH = "search, hourly"
RATE = "rate limit, "
"""Windows of a :class:`Quota`; ``RATE`` is the beginning of those that last minutes."""

ROLLING = frozenset({FIVE_HOURS, WEEK})
"""Windows that renew bit by bit: the time they name is that of the next bit."""


Reports = Mapping[ModelRef, Report]
"""What is known; a model that is not in it is not known to be in trouble."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a provider's allowance. Every field may be unknown.

    Attributes:
        provider: the provider's name in the profile.
        limit: requests (or the provider's unit) in the period.
        used: of those, spent.
        renews_at: when the period ends, UTC.
        window: what the numbers count, e.g. ``subscription`` or ``rolling five hours``.
    """

    provider: str
    limit: float | None = None
    used: float | None = None
    renews_at: datetime | None = None
    window: str = "subscription"

    @property
    def remaining(self) -> float | None:
        """What is left, never below zero; None when unknown."""
        if self.limit is None or self.used is None:
            return None
        return max(0.0, self.limit - self.used)

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.remaining == 0
