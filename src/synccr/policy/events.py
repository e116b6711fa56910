"""The only way into the policy (events) and the only way out (actions)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from synccr.clock import Now as Now
from synccr.config.profile import Local, Profile, Role
from synccr.heal import Healed
from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Report
from synccr.models.shape import Shape
from synccr.settings import Settings


class PolicyEvent:
    """Something that happened."""


class PolicyAction:
    """Something to do."""


class LoggedFailure(PolicyEvent):
    """A line of CCR's log tells of a failed request: the only evidence where CCR's requests do
    not pass the egress, and elsewhere a second witness."""

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


@dataclass(frozen=True)
class UpstreamSilent(PolicyEvent):
    """A request has waited for the first byte of its answer longer than ``silence_timeout``."""


@dataclass(frozen=True)
class AttemptFailed(PolicyEvent):
    """The egress asked this model, and it failed: the model is known for certain.

    Told when it fails, with ``elsewhere`` None, and once more when its turn is over and
    another model was asked; the second takes the place of the first.

    Attributes:
        trouble: ``KNOWN`` and ``TRIAL`` are no attempts and tell nothing.
        http_status: what CCR was answered.
        body: the provider's own words.
        headers: the provider's, for ``Retry-After`` and rate limits; names in any case.
        at: when it failed, UTC.
        turn: the client's request that it was made for.
        elsewhere: whether another model then served the same turn; False when every other
            one that was asked failed, too, which is evidence against nobody.
        shape: what kind of request it was.
        passed: some of the answer had reached the client, so that nobody else could be asked.
    """

    ref: ModelRef
    trouble: Trouble
    http_status: int
    body: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    at: datetime
    turn: int
    elsewhere: bool | None = None
    shape: Shape | None = None
    passed: bool = False


@dataclass(frozen=True)
class AttemptServed(PolicyEvent):
    """The egress asked this model, and it answered to the end.

    Attributes:
        at: when the request was *sent*, UTC: one sent before a trouble disproves nothing.
        session: whose request it was; empty when it names none.
    """

    ref: ModelRef
    at: datetime
    session: str


@dataclass(frozen=True)
class TrialStarted(PolicyEvent):
    """This session is the one that tries a model which is half-open."""

    ref: ModelRef
    session: str


@dataclass(frozen=True)
class BackendReady(PolicyEvent):
    """The backend asked for by ``Restart`` (or at the start, or by a person) serves."""


@dataclass(frozen=True)
class BackendDied(PolicyEvent):
    """The serving backend is gone or no longer answers; or a restart did not come up."""

    reason: str


@dataclass(frozen=True)
class SwapDone(PolicyEvent):
    """The proxy has moved to the swap's target."""


@dataclass(frozen=True)
class SwapFailed(PolicyEvent):
    """The target did not come up; the old backend serves on."""

    reason: str


@dataclass(frozen=True)
class Probed(PolicyEvent):
    """The answer to ``Probe``: a report for each model that could be asked."""

    reports: tuple[Report, ...]


@dataclass(frozen=True)
class SwapAsked(PolicyEvent):
    """A person wants this profile."""

    role: Role


@dataclass(frozen=True)
class ProfilesRead(PolicyEvent):
    """A profile was edited and can be used; ``local`` None when the local port is as it was."""

    primary: Profile
    fallback: Profile
    local: Local | None = None


@dataclass(frozen=True)
class SettingsChanged(PolicyEvent):
    """The settings were read again; other numbers count from now on."""

    settings: Settings


@dataclass(frozen=True)
class WokeUp(PolicyEvent):
    """Time has passed."""


@dataclass(frozen=True)
class StopAsked(PolicyEvent):
    """Everything is to end."""


@dataclass(frozen=True)
class Probe(PolicyAction):
    """Ask these models; answered by ``Probed``.

    Attributes:
        why: ``recovery`` or ``trouble``.
        like: what the question should resemble, where a kind of request is known to fail.
    """

    refs: tuple[ModelRef, ...]
    why: str
    like: Mapping[ModelRef, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class Swap(PolicyAction):
    """Move to this configuration; answered by ``SwapDone`` or ``SwapFailed``.

    Attributes:
        to: what to write and start.
        reason: one word for machines: a model status, ``recovered``, ``asked`` or ``edited``.
        because: the model that made it necessary, if one did.
        explanation: why this configuration and not the other.
    """

    to: Healed
    reason: str
    because: ModelRef | None
    explanation: str


@dataclass(frozen=True)
class Restart(PolicyAction):
    """Replace the dead backend by one of the same configuration."""


@dataclass(frozen=True)
class WakeAt(PolicyAction):
    """Send ``WokeUp`` at this monotonic time (or later); replaces the one before."""

    mono: float


@dataclass(frozen=True)
class Tell(PolicyAction):
    """A line for the journal, the terminal and, with ``notify``, the person elsewhere.

    Attributes:
        kind: a kind of the journal.
        text: what happened.
        todo: what a person can do; empty when nothing.
        notify: worth reaching a person who does not look.
        data: more for the journal, JSON values.
    """

    kind: str
    text: str
    todo: str = ""
    notify: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
