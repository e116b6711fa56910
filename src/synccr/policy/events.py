"""The only way into the policy (events) and the only way out (actions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from synccr.classify.logged import LoggedFailure as LoggedFailure
from synccr.classify.logged import NetworkFailed as NetworkFailed
from synccr.classify.logged import ProviderFailed as ProviderFailed
from synccr.classify.logged import UnclearFailure as UnclearFailure
from synccr.clock import Now as Now
from synccr.config.profile import Local, Profile, Role
from synccr.heal import Healed
from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Report
from synccr.models.shape import Shape
from synccr.settings import Settings


class _Event:
    """Something that happened, but for what a log tells."""


PolicyEvent = _Event | LoggedFailure
"""Something that happened."""


class PolicyAction:
    """Something to do."""


@dataclass(frozen=True)
class UpstreamSilent(_Event):
    """A request has waited for the first byte of its answer longer than ``silence_timeout``."""


@dataclass(frozen=True)
class AttemptFailed(_Event):
    """The egress asked this model, and it failed: the model is known for certain.

    Told when it fails, with ``elsewhere`` None, and once more when its turn is over and
    another model was asked; the second takes the place of the first.

    Attributes:
        trouble: ``KNOWN`` and ``TRIAL`` are no attempts and tell nothing.
        http_status: the provider's, or the one that stands for a trouble without an error's.
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
class AttemptServed(_Event):
    """The egress asked this model, and it answered to the end.

    Attributes:
        at: when the request was *sent*, UTC: one sent before a trouble disproves nothing.
        session: whose request it was; empty when it names none.
    """

    ref: ModelRef
    at: datetime
    session: str


@dataclass(frozen=True)
class TrialStarted(_Event):
    """This session is the one that tries a model which is half-open."""

    ref: ModelRef
    session: str


@dataclass(frozen=True)
class BackendReady(_Event):
    """The backend asked for by ``Restart`` (or at the start, or by a person) serves."""


@dataclass(frozen=True)
class BackendDied(_Event):
    """The serving backend is gone or no longer answers; or a restart did not come up."""

    reason: str


@dataclass(frozen=True)
class SwapDone(_Event):
    """The proxy has moved to the swap's target."""


@dataclass(frozen=True)
class SwapFailed(_Event):
    """The target did not come up; the old backend serves on."""

    reason: str


@dataclass(frozen=True)
class Probed(_Event):
    """The answer to ``Probe``: a report for each model that could be asked."""

    reports: tuple[Report, ...]


@dataclass(frozen=True)
class SwapAsked(_Event):
    """A person wants this profile."""

    role: Role


@dataclass(frozen=True)
class ProfilesRead(_Event):
    """A profile was edited and can be used; ``local`` None when the local port is as it was."""

    primary: Profile
    fallback: Profile
    local: Local | None = None


@dataclass(frozen=True)
class SettingsChanged(_Event):
    """The settings were read again; other numbers count from now on."""

    settings: Settings


@dataclass(frozen=True)
class WokeUp(_Event):
    """Time has passed."""


@dataclass(frozen=True)
class StopAsked(_Event):
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
