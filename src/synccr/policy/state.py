"""What the policy knows, and the phases it can be in.

``TRANSITIONS`` names every phase that may follow a phase on an event; a pair
that is missing is an error that names both and changes nothing. The drawing in
``docs/policy.md`` is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import msgspec

from synccr.config.profile import SCENARIOS, Local, Profile, Role, owner_order
from synccr.heal import Healed
from synccr.models.report import SERVING, ModelRef, Report, Status
from synccr.policy import events as e
from synccr.policy import route_plan
from synccr.policy.choice import digest, serves
from synccr.policy.events import Now, PolicyAction, PolicyEvent
from synccr.policy.model_health import Health
from synccr.policy.route_plan import RoutePlan
from synccr.settings import Settings


class Phase(StrEnum):
    """What the supervisor is doing."""

    STARTING = "starting"
    SERVING = "serving"
    EXHAUSTED = "exhausted"
    """A backend runs, but no model can serve."""
    SWAPPING = "swapping"
    RESTARTING = "restarting"
    """The backend is gone; a new one is on its way or waits for its turn."""
    STOPPING = "stopping"


_UP = frozenset({Phase.SERVING, Phase.EXHAUSTED, Phase.SWAPPING})
_KNOWING = {
    Phase.STARTING: frozenset({Phase.STARTING}),
    Phase.SERVING: _UP,
    Phase.EXHAUSTED: _UP,
    Phase.SWAPPING: frozenset({Phase.SWAPPING}),
    Phase.RESTARTING: frozenset({Phase.RESTARTING, Phase.SWAPPING}),
    Phase.STOPPING: frozenset({Phase.STOPPING}),
}
NEWS: tuple[type[PolicyEvent], ...] = (
    e.ProviderFailed,
    e.NetworkFailed,
    e.UnclearFailure,
    e.UpstreamSilent,
    e.AttemptFailed,
    e.AttemptServed,
    e.TrialStarted,
    e.Probed,
    e.SwapAsked,
    e.ProfilesRead,
    e.SettingsChanged,
    e.WokeUp,
)
"""What can happen in every phase, and leads from each to the same others."""

TRANSITIONS: Mapping[tuple[Phase, type[PolicyEvent]], frozenset[Phase]] = {
    **{(phase, event): after for event in NEWS for phase, after in _KNOWING.items()},
    **{(phase, e.StopAsked): frozenset({Phase.STOPPING}) for phase in Phase},
    (Phase.STARTING, e.BackendReady): _UP,
    (Phase.RESTARTING, e.BackendReady): _UP,
    (Phase.SERVING, e.BackendReady): _UP,
    (Phase.EXHAUSTED, e.BackendReady): _UP,
    (Phase.STARTING, e.BackendDied): frozenset({Phase.RESTARTING, Phase.SWAPPING}),
    (Phase.SERVING, e.BackendDied): frozenset({Phase.RESTARTING, Phase.SWAPPING}),
    (Phase.EXHAUSTED, e.BackendDied): frozenset({Phase.RESTARTING, Phase.SWAPPING}),
    (Phase.SWAPPING, e.BackendDied): frozenset({Phase.SWAPPING}),
    (Phase.RESTARTING, e.BackendDied): frozenset({Phase.RESTARTING, Phase.SWAPPING}),
    (Phase.SWAPPING, e.SwapDone): _UP,
    (Phase.SWAPPING, e.SwapFailed): _UP | {Phase.RESTARTING},
    (Phase.STOPPING, e.BackendDied): frozenset({Phase.STOPPING}),
    (Phase.STOPPING, e.BackendReady): frozenset({Phase.STOPPING}),
    (Phase.STOPPING, e.SwapDone): frozenset({Phase.STOPPING}),
    (Phase.STOPPING, e.SwapFailed): frozenset({Phase.STOPPING}),
}


@dataclass(frozen=True)
class FailedStart:
    """A configuration that did not come up, or that CCR kept dying of.

    Attributes:
        until: when it may be tried again, monotonic.
        pause: for how many seconds it was not; the next time it is twice as long.
        crashed: CCR came up with it and died of it.
    """

    until: float
    pause: float
    crashed: bool

    def counts(self, now: float, settings: Settings) -> bool:
        """Whether it is recent enough to be held against the configuration."""
        return now - self.until <= max(settings.recovery_interval_max, settings.swap_cooldown)


@dataclass(frozen=True)
class PolicyState:
    """All that the policy knows. Times are monotonic seconds.

    Attributes:
        settings: the numbers.
        primary, fallback: what the owner wants.
        local: the local port.
        phase: what is being done.
        current: the configuration that runs.
        health: what is known of each model.
        pending_swap: the configuration of the swap under way.
        alive: whether a backend serves.
        pinned: the profile a person asked for.
        asked: a person's wish that has not been looked at yet.
        edited: a profile was edited, and what runs does not know of it yet.
        probing: models asked and not yet answered for, and until when to wait for that.
        suspects: models to ask now; a wish or an edit waits for their answers.
        unattributed_errors: times of troubles of which CCR did not say whose they are.
        attempted: when an attempt last failed so, by model and HTTP status: the log tells
            the same failure again.
        traffic_at: when traffic was last seen by the egress; None when never.
        swaps: times of recent swaps that no person asked for.
        swapped_at: when the latest swap began, whoever wanted it.
        failed_starts: configurations that are not tried now, or were not for a time, by digest.
        ready_at: when the latest backend began to serve.
        crashes: how many backends in a row died young.
        restart_at: when the next restart is due.
        reported: troubles that a person has been told of.
        why: the latest choice, explained.
    """

    settings: Settings
    primary: Profile
    fallback: Profile
    current: Healed
    local: Local
    phase: Phase = Phase.STARTING
    health: Mapping[ModelRef, Health] = field(default_factory=dict)
    pending_swap: Healed | None = None
    alive: bool = False
    pinned: Role | None = None
    asked: Role | None = None
    edited: bool = False
    probing: Mapping[ModelRef, float] = field(default_factory=dict)
    suspects: frozenset[ModelRef] = frozenset()
    unattributed_errors: tuple[float, ...] = ()
    attempted: Mapping[tuple[ModelRef, int], float] = field(default_factory=dict)
    traffic_at: float | None = None
    swaps: tuple[float, ...] = ()
    swapped_at: float | None = None
    failed_starts: Mapping[str, FailedStart] = field(default_factory=dict)
    ready_at: float | None = None
    crashes: int = 0
    restart_at: float | None = None
    reported: frozenset[str] = frozenset()
    why: str = ""

    def reports(self, *, lenient: bool = False) -> dict[ModelRef, Report]:
        """What healing may rely on: an unavailable model keeps its trouble until
        it is trusted again, or until its first good probe when ``lenient``."""
        return {
            ref: msgspec.structs.replace(health.report, status=Status.UNVERIFIED)
            if lenient and health.confirmed
            else health.report
            for ref, health in self.health.items()
            if health.unavailable or health.report.status in SERVING
        }

    @cached_property
    def route_plan(self) -> RoutePlan:
        """Which model is asked for what, made once for this state."""
        return route_plan.make(
            *(self.primary, self.fallback, self.current, self.health, self.reports()),
            self.settings,
        )

    @cached_property
    def models(self) -> tuple[ModelRef, ...]:
        """Every model of both profiles, in the owner's order."""
        return owner_order(self.primary, self.fallback)

    @property
    def in_use(self) -> frozenset[ModelRef]:
        """The models that CCR takes by itself; what a prompt names goes elsewhere."""
        return frozenset(self.current.scenario(name) for name in SCENARIOS)

    def holds_back(self, healed: Healed, now: float) -> bool:
        """Whether a configuration is not to be tried at this time."""
        failed = self.failed_starts.get(digest(healed))
        return failed is not None and failed.until > now

    def is_unavailable(self, ref: ModelRef) -> bool:
        """Whether no route should lead to this model."""
        health = self.health.get(ref)
        return health is not None and health.unavailable

    @property
    def trouble(self) -> tuple[ModelRef, Status] | None:
        """The first reason to leave the current configuration; None when there is none."""
        routed = self.current.routes.values()
        first = self.current.scenario("default")
        gone = (ref for ref in (first, *routed) if self.is_unavailable(ref))
        return next(((ref, self.health[ref].report.status) for ref in gone), None)

    @property
    def degraded(self) -> bool:
        """Whether some route leads to a model that cannot serve."""
        return not self.alive or not serves(self.current, self.reports())


class Step:
    """One decision being made: the state so far and the actions so far."""

    def __init__(self, state: PolicyState, now: Now) -> None:
        self.state = state
        self.now = now
        self.actions: list[PolicyAction] = []

    def set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]  # checked by tests

    def emit(self, action: PolicyAction) -> None:
        self.actions.append(action)

    def tell_once(self, key: str, tell: e.Tell) -> None:
        if key not in self.state.reported:
            self.set(reported=self.state.reported | {key})
            self.emit(tell)

    def hold_back(self, healed: Healed, *, crashed: bool) -> None:
        """Avoid a configuration for a time, and for twice as long each time."""
        state, now = self.state, self.now.mono
        settings, key = state.settings, digest(healed)
        known = state.failed_starts.get(key)
        if known is None or not known.counts(now, settings):
            known = FailedStart(now, 0.0, crashed)
        pause = max(settings.swap_cooldown, settings.recovery_interval, 2 * known.pause)
        pause = min(pause, max(settings.recovery_interval_max, settings.swap_cooldown))
        failed = FailedStart(now + pause, pause, crashed or known.crashed)
        self.set(failed_starts={**state.failed_starts, key: failed})

    def forget(self, prefix: str) -> bool:
        kept = frozenset(key for key in self.state.reported if not key.startswith(prefix))
        changed = kept != self.state.reported
        self.set(reported=kept)
        return changed

    def set_health(self, ref: ModelRef, health: Health) -> None:
        self.set(health={**self.state.health, ref: health})
