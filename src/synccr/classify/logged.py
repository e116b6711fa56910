"""What a line of CCR's log tells of a failed request: the only evidence where CCR's requests do
not pass the egress, and elsewhere a second witness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self


class LoggedFailure:
    """One such line."""

    def redacted(self, redact: Callable[[str], str]) -> Self:  # noqa: ARG002  # nothing to redact
        """Without the secrets that a provider may have repeated."""
        return self


@dataclass(frozen=True)
class ProviderFailed(LoggedFailure):
    """A provider answered with an error status.

    Attributes:
        provider: its name in the configuration.
        model: None when the line names none (Gemini's form does not).
        http_status: the provider's.
        body: the beginning of its answer.
        at: when, UTC.
    """

    provider: str
    model: str | None
    http_status: int
    body: str = field(repr=False)
    at: datetime

    def redacted(self, redact: Callable[[str], str]) -> Self:
        return replace(self, body=redact(self.body))


@dataclass(frozen=True)
class NetworkFailed(LoggedFailure):
    """Some provider gave no answer that can be used: refused, DNS, a timeout, no JSON."""

    message: str

    def redacted(self, redact: Callable[[str], str]) -> Self:
        return replace(self, message=redact(self.message))


@dataclass(frozen=True)
class UnclearFailure(LoggedFailure):
    """A provider's error in words that a prompt may have put there.

    Attributes:
        provider: its name in the configuration.
        models: each name that the line may mean, the shortest first; very long ones left out.
    """

    provider: str
    models: tuple[str, ...]
