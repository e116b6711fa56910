"""What an answer says of a model: its status, what the trouble is about, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from synccr.models.report import Status


class Scope(StrEnum):
    """What an error is about, by the words of the model that failed."""

    REQUEST = "request"
    """Too long, a bad parameter, content policy: no reason to move a route."""
    MODEL = "model"
    KEY = "key"
    """The key or its account (refused, a spent cap, no credit): perhaps all of its models."""
    PROVIDER = "provider"
    """No answer at all: perhaps all that is at the same address."""


class Confidence(StrEnum):
    """How sure it is that the model which failed has this trouble. That others have it, too,
    is never more than a suspicion, whatever the words."""

    CERTAIN = "certain"
    """The HTTP status says it by itself."""
    LIKELY = "likely"
    """Words say it, and those may repeat a prompt."""


@dataclass(frozen=True)
class Verdict:
    """What an answer says about a model.

    Attributes:
        status: the model's state; ``unverified`` when the request was at fault,
            because such an answer says nothing about the model.
        scope: what the trouble is about.
        confidence: how sure it is of the model that failed.
        retry_at: when the provider said it will serve again, UTC.
        detail: one line of at most 200 characters; secrets are the caller's to mask.
        too_long: the request does not fit into the model's context window.
    """

    status: Status
    scope: Scope = Scope.MODEL
    confidence: Confidence = Confidence.LIKELY
    retry_at: datetime | None = None
    detail: str = ""
    too_long: bool = False
