"""The state machine: ``decide(state, event, now) -> (state, actions)``.

Everything that moves a running synccr is in this file. Each event is first
*learned* (what do we know now?), then one function *concludes* (what follows
from all we know?), so that no order of events can leave something undone.

``TRANSITIONS`` names every phase that may follow a phase on an event; a pair
that is missing is an error that names both and changes nothing. The drawing in
``docs/policy.md`` is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec

from synccr.classify import Verdict, classify
from synccr.heal import Healed, Local, advice
from synccr.policy import events as e
from synccr.policy import health as h
from synccr.policy.choice import Choice, choose, serves
from synccr.policy.events import Action, Event, Now
from synccr.policy.health import Health
from synccr.profile import Profile, Role, owner_order
from synccr.report import SERVING, ModelRef, Report, Status
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
    Phase.RESTARTING: frozenset({Phase.RESTARTING}),
    Phase.STOPPING: frozenset({Phase.STOPPING}),
}
_HAPPENS_ANYWHERE = (
    e.ProviderFailed,
    e.NetworkFailed,
    e.UpstreamSilent,
    e.Probed,
    e.SwapAsked,
    e.ProfilesRead,
    e.WokeUp,
)
TRANSITIONS: Mapping[tuple[Phase, type[Event]], frozenset[Phase]] = {
    **{(phase, event): after for event in _HAPPENS_ANYWHERE for phase, after in _KNOWING.items()},
    **{(phase, e.StopAsked): frozenset({Phase.STOPPING}) for phase in Phase},
    (Phase.STARTING, e.BackendReady): _UP,
    (Phase.RESTARTING, e.BackendReady): _UP,
    (Phase.STARTING, e.BackendDied): frozenset({Phase.RESTARTING}),
    (Phase.SERVING, e.BackendDied): frozenset({Phase.RESTARTING}),
    (Phase.EXHAUSTED, e.BackendDied): frozenset({Phase.RESTARTING}),
    (Phase.SWAPPING, e.BackendDied): frozenset({Phase.SWAPPING}),
    (Phase.RESTARTING, e.BackendDied): frozenset({Phase.RESTARTING}),
    (Phase.SWAPPING, e.SwapDone): _UP,
    (Phase.SWAPPING, e.SwapFailed): _UP | {Phase.RESTARTING},
    (Phase.STOPPING, e.BackendDied): frozenset({Phase.STOPPING}),
    (Phase.STOPPING, e.BackendReady): frozenset({Phase.STOPPING}),
    (Phase.STOPPING, e.SwapDone): frozenset({Phase.STOPPING}),
    (Phase.STOPPING, e.SwapFailed): frozenset({Phase.STOPPING}),
}

CRASH_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each restart in a row; after the last one CCR is given up for
``recovery_interval``, then tried again."""
CRASH_WINDOW = 120.0
"""A backend that lives this long has stopped crashing, seconds."""
MAX_PROBES = 16
"""Models asked at one time."""
_COOLDOWNS_IN_WINDOW = 20.0


class IllegalTransition(Exception):
    """An event that makes no sense in this phase; nothing has changed."""


@dataclass(frozen=True)
class Plan:
    """A swap under way."""

    to: Healed
    reason: str


@dataclass(frozen=True)
class State:
    """All that the policy knows. Times are monotonic seconds.

    Attributes:
        settings: the numbers.
        primary, fallback: what the owner wants.
        local: the local port.
        phase: what is being done.
        current: the configuration that runs.
        health: what is known of each model.
        plan: the swap under way.
        alive: whether a backend serves.
        pinned: the profile a person asked for.
        asked: a person's wish that has not been looked at yet.
        edited: a profile was edited since the current configuration was made.
        probing: models asked and not yet answered for, and until when to wait for that.
        suspects: models to ask soon, because CCR saw a trouble and named nobody.
        anonymous: times of such troubles.
        swaps: times of recent swaps.
        refused: configurations that did not come up, and until when not to try them.
        crashes: times of recent deaths of backends.
        restart_at: when the next restart is due.
        told: troubles that a person has been told of.
        trouble: the latest reason to leave, until a swap has answered it.
        why: the latest choice, explained.
    """

    settings: Settings
    primary: Profile
    fallback: Profile
    current: Healed
    local: Local
    phase: Phase = Phase.STARTING
    health: Mapping[ModelRef, Health] = field(default_factory=dict)
    plan: Plan | None = None
    alive: bool = False
    pinned: Role | None = None
    asked: Role | None = None
    edited: bool = False
    probing: Mapping[ModelRef, float] = field(default_factory=dict)
    suspects: frozenset[ModelRef] = frozenset()
    anonymous: tuple[float, ...] = ()
    swaps: tuple[float, ...] = ()
    refused: Mapping[str, float] = field(default_factory=dict)
    crashes: tuple[float, ...] = ()
    restart_at: float | None = None
    told: frozenset[str] = frozenset()
    trouble: tuple[ModelRef, Status] | None = None
    why: str = ""

    def reports(self, *, lenient: bool = False) -> dict[ModelRef, Report]:
        """What healing may rely on: a model that is away keeps its trouble until
        it is trusted again, or until its first good probe when ``lenient``."""
        return {
            ref: msgspec.structs.replace(health.report, status=Status.UNVERIFIED)
            if lenient and health.confirmed
            else health.report
            for ref, health in self.health.items()
            if health.away or health.report.status in SERVING
        }

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """Every model of both profiles, in the owner's order."""
        return owner_order(self.primary, self.fallback)

    @property
    def degraded(self) -> bool:
        """Whether some route leads to a model that cannot serve."""
        return not self.alive or not serves(self.current, self.reports())


def start(
    settings: Settings,
    primary: Profile,
    fallback: Profile,
    current: Healed,
    reports: Iterable[Report],
    local: Local,
    now: Now,
) -> State:
    """The state of a supervisor that has preflighted and chosen, before its first backend."""
    health = {r.ref: h.probed(None, r, now, settings) for r in reports}
    return State(settings, primary, fallback, current, local, health=health)


def decide(state: State, event: Event, now: Now) -> tuple[State, tuple[Action, ...]]:
    """Take one event; the result is the new state and what to do.

    Raises:
        IllegalTransition: ``event`` has no place in the state's phase.
    """
    allowed = TRANSITIONS.get((state.phase, type(event)))
    if allowed is None:
        raise IllegalTransition(f"{type(event).__name__} while {state.phase}")
    step = _Step(state, now)
    _LEARN[type(event)](step, event)
    _conclude(step)
    if step.state.phase not in allowed:
        raise IllegalTransition(
            f"{type(event).__name__} leads from {state.phase} to {step.state.phase}"
        )
    return step.state, tuple(step.actions)


class _Step:
    """One decision being made: the state so far and the actions so far."""

    def __init__(self, state: State, now: Now) -> None:
        self.state = state
        self.now = now
        self.actions: list[Action] = []

    def set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]  # checked by tests

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def tell_once(self, key: str, tell: e.Tell) -> None:
        if key not in self.state.told:
            self.set(told=self.state.told | {key})
            self.do(tell)

    def forget(self, prefix: str) -> bool:
        told = frozenset(key for key in self.state.told if not key.startswith(prefix))
        changed = told != self.state.told
        self.set(told=told)
        return changed

    def put(self, ref: ModelRef, health: Health) -> None:
        self.set(health={**self.state.health, ref: health})


# ---------------------------------------------------------------- learn


def _provider_failed(step: _Step, event: e.ProviderFailed) -> None:
    verdict = classify(event.http_status, event.body, now=event.at)
    if verdict.request_fault:
        return
    refs = _concerned(step.state, event, verdict)
    for ref in refs:
        known = step.state.health.get(ref)
        if known and known.away_since is None and known.report.checked_at > event.at:
            continue  # a line of before the latest probe tells nothing new
        report = _report(ref, event, verdict, known)
        _learn_trouble(step, ref, h.seen_failing(known, report, step.now, step.state.settings))


def _concerned(state: State, event: e.ProviderFailed, verdict: Verdict) -> list[ModelRef]:
    """The models that an error tells about: one, or all of the account."""
    of_provider = [ref for ref in state.models if ref.provider == event.provider]
    if verdict.account:
        return of_provider
    if event.model is not None:
        return [ref for ref in of_provider if ref.model == event.model]
    routed = [ref for ref in of_provider if ref in state.current.routes.values()]
    return routed if len(routed) == 1 else []


def _report(
    ref: ModelRef, event: e.ProviderFailed, verdict: Verdict, known: Health | None
) -> Report:
    return Report(
        provider=ref.provider,
        model=ref.model,
        status=verdict.status,
        http_status=event.http_status,
        checked_at=event.at,
        detail=verdict.detail,
        account=verdict.account,
        retry_at=verdict.retry_at,
        tools=known.report.tools if known else None,
        context_length=known.report.context_length if known else None,
        from_traffic=True,
    )


def _learn_trouble(step: _Step, ref: ModelRef, health: Health) -> None:
    step.put(ref, health)
    if not health.away:
        return
    status = health.report.status
    if ref in step.state.current.routes.values() and not step.state.trouble:
        step.set(trouble=(ref, status))
    key = ref.provider if health.report.account else str(ref)
    subject = f"Provider {ref.provider}" if health.report.account else str(ref)
    detail = f": {health.report.detail}" if health.report.detail else ""
    step.tell_once(
        f"away:{key}:{status}",
        e.Tell(
            "error_seen",
            f"{subject} is away ({status}{detail}).",
            " ".join(advice([status])),
            data={
                "provider": ref.provider,
                "model": ref.model,
                "status": status.value,
                "http_status": health.report.http_status,
            },
        ),
    )


def _network_failed(step: _Step, _event: e.NetworkFailed) -> None:
    """CCR does not say which provider failed: when it persists, all routed models are asked."""
    settings = step.state.settings
    since = step.now.mono - settings.trouble_window
    times = (*(t for t in step.state.anonymous if t > since), step.now.mono)
    if len(times) < settings.trouble_count:
        step.set(anonymous=times)
    else:
        step.set(anonymous=(), suspects=_routed(step.state))


def _upstream_silent(step: _Step, _event: e.UpstreamSilent) -> None:
    step.set(suspects=_routed(step.state))


def _routed(state: State) -> frozenset[ModelRef]:
    here = (r for r in state.current.routes.values() if not _is_away(state, r))
    return frozenset(here)


def _is_away(state: State, ref: ModelRef) -> bool:
    health = state.health.get(ref)
    return health is not None and health.away


def _probed(step: _Step, event: e.Probed) -> None:
    answered = {report.ref for report in event.reports}
    step.set(
        probing={ref: t for ref, t in step.state.probing.items() if ref not in answered},
        suspects=step.state.suspects - answered,
    )
    for report in event.reports:
        if report.ref not in step.state.models:
            continue
        before = step.state.health.get(report.ref)
        after = h.probed(before, report, step.now, step.state.settings)
        if after.away:
            _learn_probe_trouble(step, report, before, after)
        else:
            step.put(report.ref, after)
            _learn_return(step, report.ref, before)
    _spread_account_news(step, event.reports)


def _learn_probe_trouble(step: _Step, report: Report, before: Health | None, after: Health) -> None:
    if after.confirmed or (before and before.away and before.report.status is report.status):
        step.put(report.ref, after)  # nothing that a person has not been told
    else:
        _learn_trouble(step, report.ref, after)


def _learn_return(step: _Step, ref: ModelRef, before: Health | None) -> None:
    if before is None or not before.away:
        return
    step.forget(f"away:{ref}:")
    step.forget(f"away:{ref.provider}:")
    step.do(
        e.Tell(
            "recovered",
            f"{ref} serves again.",
            data={"provider": ref.provider, "model": ref.model},
        )
    )


def _spread_account_news(step: _Step, reports: Iterable[Report]) -> None:
    """One model speaks for its account: when the account answers again, its other
    models are asked at once; while it does not, they are not asked one by one."""
    for report in reports:
        health = step.state.health.get(report.ref)
        for ref in step.state.models:
            other = step.state.health.get(ref)
            if ref.provider != report.provider or ref == report.ref or not health:
                continue
            if not (other and other.away and other.report.account):
                continue
            due = step.now.mono if report.status in SERVING else health.probe_at
            if report.status in SERVING or report.account:
                step.put(ref, replace(other, probe_at=due))


def _backend_ready(step: _Step, _event: e.BackendReady) -> None:
    if step.state.phase is not Phase.STOPPING:
        step.set(phase=Phase.SERVING, alive=True, restart_at=None)


def _backend_died(step: _Step, event: e.BackendDied) -> None:
    state, now = step.state, step.now.mono
    step.set(alive=False)
    if state.phase is Phase.STOPPING:
        return
    crashes = (*(t for t in state.crashes if t > now - CRASH_WINDOW), now)
    step.set(crashes=crashes)
    if state.phase is Phase.SWAPPING:
        return
    row = len(crashes) - 1
    given_up = row >= len(CRASH_PAUSES)
    pause = state.settings.recovery_interval if given_up else CRASH_PAUSES[row]
    step.set(phase=Phase.RESTARTING, restart_at=now + pause)
    data = {"reason": event.reason, "pause_s": pause}
    if given_up:
        text = f"CCR keeps dying ({event.reason}); next try in {pause:.0f} s."
        todo = "See what it says: synccr logs, synccr doctor"
        step.tell_once("crashing", e.Tell("crashed", text, todo, notify=True, data=data))
    else:
        step.do(e.Tell("crashed", f"CCR died ({event.reason}); it is started again.", data=data))


def _swap_done(step: _Step, _event: e.SwapDone) -> None:
    plan = step.state.plan
    if step.state.phase is Phase.STOPPING or plan is None:
        return
    step.set(phase=Phase.SERVING, alive=True, current=plan.to, plan=None, trouble=None)


def _swap_failed(step: _Step, _event: e.SwapFailed) -> None:
    plan, state, now = step.state.plan, step.state, step.now.mono
    if state.phase is Phase.STOPPING or plan is None:
        return
    until = now + max(state.settings.swap_cooldown, state.settings.recovery_interval)
    step.set(refused={**state.refused, _digest(plan.to): until}, plan=None)
    if state.alive:
        step.set(phase=Phase.SERVING)
    else:
        step.set(phase=Phase.RESTARTING, restart_at=now)


def _swap_asked(step: _Step, event: e.SwapAsked) -> None:
    """A person's wish is looked at afresh: models thought to be away are asked first."""
    step.set(pinned=event.role, asked=event.role, refused={})
    profile = step.state.primary if event.role == "primary" else step.state.fallback
    away = frozenset(r for r in profile.routes.values() if _is_away(step.state, r))
    step.set(suspects=step.state.suspects | away)


def _profiles_read(step: _Step, event: e.ProfilesRead) -> None:
    step.set(primary=event.primary, fallback=event.fallback, edited=True, refused={})
    known = step.state.models
    health = {ref: found for ref, found in step.state.health.items() if ref in known}
    step.set(health=health, suspects=frozenset(r for r in known if r not in health))


def _woke_up(_step: _Step, _event: e.WokeUp) -> None:
    """Nothing new is known; time alone may have made something due."""


def _stop_asked(step: _Step, _event: e.StopAsked) -> None:
    step.set(phase=Phase.STOPPING, restart_at=None)


_LEARN: Mapping[type[Event], Callable[..., None]] = {
    e.ProviderFailed: _provider_failed,
    e.NetworkFailed: _network_failed,
    e.UpstreamSilent: _upstream_silent,
    e.BackendReady: _backend_ready,
    e.BackendDied: _backend_died,
    e.SwapDone: _swap_done,
    e.SwapFailed: _swap_failed,
    e.Probed: _probed,
    e.SwapAsked: _swap_asked,
    e.ProfilesRead: _profiles_read,
    e.WokeUp: _woke_up,
    e.StopAsked: _stop_asked,
}


# ------------------------------------------------------------- conclude


def _conclude(step: _Step) -> None:
    if step.state.phase is Phase.STOPPING:
        return
    _restart_if_due(step)
    _probe_what_is_due(step)
    if step.state.phase in (Phase.SERVING, Phase.EXHAUSTED):
        _move_if_better(step)
    _wake(step)


def _restart_if_due(step: _Step) -> None:
    state = step.state
    due = state.restart_at is not None and state.restart_at <= step.now.mono
    if state.phase is Phase.RESTARTING and due:
        step.set(restart_at=None)
        step.do(e.Restart())


def _probe_what_is_due(step: _Step) -> None:
    """Suspects at once; models that are away when their time has come, one an account."""
    state, now = step.state, step.now.mono
    deadline = now + 2 * state.settings.preflight_timeout + 10
    probing = {ref: until for ref, until in state.probing.items() if until > now}
    due = {ref: None for ref in state.models if ref in state.suspects and ref not in probing}
    accounts = {ref.provider for ref in probing}
    for ref, health in state.health.items():
        if ref in probing or health.probe_at is None or health.probe_at > now:
            continue
        if health.report.account and not health.confirmed:
            if ref.provider in accounts:
                step.put(ref, replace(health, probe_at=deadline))
                continue
            accounts.add(ref.provider)
        due[ref] = None
    refs = tuple(due)[: max(0, MAX_PROBES - len(probing))]
    step.set(probing={**probing, **dict.fromkeys(refs, deadline)})
    if refs:
        suspected = any(ref in state.suspects for ref in refs)
        step.do(e.Probe(refs, "trouble" if suspected else "recovery"))


def _move_if_better(step: _Step) -> None:
    """Swap when another configuration is the one to run now, and it may be done now."""
    state = step.state
    choice = _choice(state)
    if choice is None:
        _nothing_serves(step)
        return
    if step.forget("exhausted") and state.phase is Phase.EXHAUSTED:
        step.do(e.Tell("recovered", "A model can serve again.", notify=True))
    step.set(phase=Phase.SERVING, why=choice.why)
    if state.asked and any(ref in step.state.probing for ref in state.suspects):
        return  # the person's profile is being looked at
    asked, edited = state.asked, state.edited
    step.set(asked=None)
    if not _differs(choice.healed, state, edited=edited):
        step.set(trouble=None, edited=edited and bool(state.suspects))
        return
    if edited and state.suspects:
        return  # what is new in an edited profile is asked before it is applied
    if not asked and _not_before(step.state, choice.healed, step.now.mono) > step.now.mono:
        return
    reason, because = _reason(state, asked)
    step.set(
        phase=Phase.SWAPPING,
        plan=Plan(choice.healed, reason),
        swaps=(*_recent_swaps(state, step.now.mono), step.now.mono),
        edited=False,
    )
    step.do(e.Swap(choice.healed, reason, because, choice.why))


def _choice(state: State) -> Choice | None:
    """The best configuration; a pinned profile first, as long as it can serve."""
    pinned = {"primary": state.primary, "fallback": state.fallback}.get(state.pinned or "")
    pairs = [(pinned, pinned)] if pinned else []
    pairs.append((state.primary, state.fallback))
    for lenient in (False, True):
        for primary, fallback in pairs:
            reports = state.reports(lenient=lenient)
            found = choose(primary, fallback, reports, state.local, state.current)
            if found:
                return found
    return None


def _nothing_serves(step: _Step) -> None:
    step.set(phase=Phase.EXHAUSTED, asked=None)
    reports = step.state.reports()
    text = "No model can serve now; CCR stays up and synccr keeps probing."
    todo = " ".join(advice(report.status for report in reports.values()))
    step.tell_once("exhausted", e.Tell("exhausted", text, todo, notify=True))


def _differs(healed: Healed, state: State, *, edited: bool) -> bool:
    current = state.current
    if edited or state.asked:
        return healed.config != current.config or healed.profile.role != current.profile.role
    return dict(healed.routes) != dict(current.routes)


def _not_before(state: State, target: Healed, now: float) -> float:
    """When a swap to ``target`` is allowed: at once when the current configuration
    does not serve and it is not the target that failed to come up; a better
    one waits for the cooldown; never more than the limit in a window."""
    times = [state.refused.get(_digest(target), 0.0)]
    recent = _recent_swaps(state, now)
    if len(recent) >= state.settings.swap_limit:
        times.append(recent[-state.settings.swap_limit] + _window(state.settings))
    if recent and serves(state.current, state.reports()):
        times.append(recent[-1] + state.settings.swap_cooldown)
    return max(times)


def _recent_swaps(state: State, now: float) -> tuple[float, ...]:
    return tuple(t for t in state.swaps if t > now - _window(state.settings))


def _window(settings: Settings) -> float:
    return settings.swap_cooldown * _COOLDOWNS_IN_WINDOW


def _reason(state: State, asked: Role | None) -> tuple[str, ModelRef | None]:
    if asked:
        return "asked", None
    if state.trouble:
        ref, status = state.trouble
        return status.value, ref
    return ("edited", None) if state.edited else ("recovered", None)


def _digest(healed: Healed) -> str:
    routes = ";".join(f"{name}={ref}" for name, ref in sorted(healed.routes.items()))
    return f"{healed.profile.role}:{routes}"


def _wake(step: _Step) -> None:
    """Ask for the next moment at which time alone makes something due."""
    state, now = step.state, step.now.mono
    times = [
        max(health.probe_at, now + 1.0)
        for ref, health in state.health.items()
        if health.probe_at is not None and ref not in state.probing
    ]
    times += state.probing.values()
    if state.restart_at is not None:
        times.append(state.restart_at)
    if state.phase is Phase.SERVING:
        choice = _choice(state)
        if choice and _differs(choice.healed, state, edited=state.edited):
            times.append(max(_not_before(state, choice.healed, now), now + 0.05))
    if times:
        step.do(e.WakeAt(min(times)))
