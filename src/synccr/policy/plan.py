"""Plan: what follows from all that is known now.

One function for every event, so that no order of events can leave something undone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from synccr.config.profile import SCENARIOS
from synccr.heal import Healed
from synccr.heal.advice import advice_on, summary
from synccr.models.report import ModelRef, Reports
from synccr.policy import events as e
from synccr.policy import model_health as h
from synccr.policy.choice import Choice, choose, digest, serves
from synccr.policy.state import Phase, PolicyState, Step
from synccr.settings import Settings

MAX_PROBES = 16
"""Models asked at one time."""
SWAPS_A_DAY = 6
"""Swaps within 24 hours that no person asked for; after one less no return is made. A larger
``swap_limit`` counts for the day, too."""
_COOLDOWNS_IN_WINDOW = 20.0
_DAY = 86_400.0
_SWAPS_KEPT = 1000
"""As many as ``swap_limit`` can be."""


def plan(step: Step) -> None:
    """Add the actions that follow from the state."""
    waiting = _move_instead_of_restarting(step)
    _restart_if_due(step)
    _give_up_on_answers(step)
    _probe_what_is_due(step)
    if step.state.phase in (Phase.SERVING, Phase.EXHAUSTED):
        waiting = _move_if_better(step)
    _wake(step, waiting)


def _move_instead_of_restarting(step: Step) -> float | None:
    """What a person wants goes before another try of what CCR died of; and so does any other
    configuration, once CCR keeps dying of this one.

    Returns:
        When such a move that may not be made yet may be, monotonic; None when none waits.
    """
    state, now = step.state, step.now.mono
    if state.phase is not Phase.RESTARTING or state.restart_at is None:
        return None  # a restart under way is waited for
    of_a_person = bool(state.asked or state.edited)
    if state.suspects if of_a_person else not state.holds_back(state.current, now):
        return None
    found = _choice(state, now)
    if found is None:
        return None
    choice, reports = found
    if of_a_person and not _differs(choice.healed, state):
        step.set(restart_at=now, asked=None, edited=False)
        return None
    if not of_a_person and digest(choice.healed) == digest(state.current):
        return None
    not_before = _not_before(state, choice.healed, reports, now)
    if not state.asked and not_before > now:
        return not_before
    step.set(restart_at=None, why=choice.why, asked=None)
    _swap(step, choice, _reason(state, reports), of_a_person=of_a_person)
    return None


def _restart_if_due(step: Step) -> None:
    state = step.state
    due = state.restart_at is not None and state.restart_at <= step.now.mono
    if state.phase is Phase.RESTARTING and due:
        step.set(restart_at=None)
        step.emit(e.Restart())


def _give_up_on_answers(step: Step) -> None:
    """An answer that never comes holds nothing up; an unavailable model is asked again later."""
    state, now = step.state, step.now.mono
    late = {ref for ref, until in state.probing.items() if until <= now}
    if not late:
        return
    probing = {ref: until for ref, until in state.probing.items() if ref not in late}
    step.set(probing=probing, suspects=state.suspects - late)
    for ref in late:
        health = state.health.get(ref)
        if health and health.unavailable and health.probe_at is None:
            step.set_health(ref, h.unanswered(health, step.now, state.settings))


def _probe_what_is_due(step: Step) -> None:
    """Suspects at once; others when their time has come, one of an account that is unavailable."""
    state, now = step.state, step.now.mono
    deadline = now + 2 * state.settings.preflight_timeout + 10
    due = [ref for ref in state.models if ref in state.suspects and ref not in state.probing]
    accounts = {ref.provider for ref in state.probing}
    for ref, health in state.health.items():
        if ref in state.probing or ref in due or health.probe_at is None or health.probe_at > now:
            continue
        if health.unavailable and health.report.account and not health.confirmed:
            if ref.provider in accounts:
                step.set_health(ref, replace(health, probe_at=deadline))
                continue
            accounts.add(ref.provider)
        due.append(ref)
    refs = tuple(due[: max(0, MAX_PROBES - len(state.probing))])
    if not refs:
        return
    step.set(probing={**state.probing, **dict.fromkeys(refs, deadline)})
    for ref in refs:
        if ref in state.health:
            step.set_health(ref, replace(state.health[ref], probe_at=None))
    recovery = all(state.is_unavailable(ref) for ref in refs)
    shapes = {ref: one.shape for ref in refs if (one := step.state.health.get(ref))}
    like = {ref: shape for ref, shape in shapes.items() if shape is not None}
    step.emit(e.Probe(refs, "recovery" if recovery else "trouble", like))


def _move_if_better(step: Step) -> float | None:
    """Swap when another configuration is the one to run now.

    Returns:
        When a swap that may not be done yet may be, monotonic; None when none waits.
    """
    state, now = step.state, step.now.mono
    if (state.asked or state.edited) and state.suspects:
        return None  # what a person wants is looked at first
    found = _choice(state, now)
    if found is None:
        _nothing_serves(step)
        return None
    choice, reports = found
    if step.forget("exhausted"):
        step.emit(e.Tell("recovered", "A model can serve again.", notify=True))
    step.set(phase=Phase.SERVING, why=choice.why, asked=None)
    if not _differs(choice.healed, state):
        unpinned = state.pinned == "primary" and _as_written(choice.healed)
        step.set(edited=False, pinned=None if unpinned else state.pinned)
        return None
    not_before = _not_before(state, choice.healed, reports, now)
    put_off = _return_put_off(state, reports, now)
    if put_off > now and not (state.asked or state.edited):
        at = step.now.wall + timedelta(seconds=put_off - now)
        swaps = _swaps_a_day(state.settings) - 1
        waits = f"{swaps} swaps within a day put the return off until {at:%H:%M} UTC"
        step.set(why=f"{choice.why}; {waits}")
        not_before = max(not_before, put_off)
    if not state.asked and max(not_before, _doubted_until(state, choice.healed)) > now:
        return max(not_before, _doubted_until(state, choice.healed))
    _swap(step, choice, _reason(state, reports), of_a_person=bool(state.asked or state.edited))
    return None


def _return_put_off(state: PolicyState, reports: Reports, now: float) -> float:
    """Until when a configuration that serves is kept, since there were many swaps in a day."""
    times, most = [t for t in state.swaps if t > now - _DAY], _swaps_a_day(state.settings)
    if not (state.alive and serves(state.current, reports)) or len(times) < most - 1:
        return now
    return times[1 - most] + _DAY


def _swaps_a_day(settings: Settings) -> int:
    return max(SWAPS_A_DAY, settings.swap_limit)


def _doubted_until(state: PolicyState, healed: Healed) -> float:
    """When a route may be moved to a model that is in doubt, and is being asked."""
    moved = {healed.scenario(name) for name in SCENARIOS} - state.in_use
    found = (state.health.get(ref) for ref in moved)
    return max((one.doubted_until or 0.0 for one in found if one), default=0.0)


def _swap(
    step: Step, choice: Choice, reason: tuple[str, ModelRef | None], *, of_a_person: bool
) -> None:
    state, now = step.state, step.now.mono
    step.set(
        phase=Phase.SWAPPING,
        pending_swap=choice.healed,
        swaps=_kept_swaps(state, now) + (() if of_a_person else (now,)),
        swapped_at=now,
    )
    step.emit(e.Swap(choice.healed, *reason, choice.why))


def _choice(state: PolicyState, now: float) -> tuple[Choice, Reports] | None:
    """The best configuration, and what it relies on; a pinned profile first, as long as
    it can serve.

    While the current one does not serve, one that did not come up just now is the
    last resort.
    """
    held_back: frozenset[str] = frozenset()
    if not serves(state.current, state.reports()) or state.holds_back(state.current, now):
        held_back = frozenset(key for key, one in state.failed_starts.items() if one.until > now)
    for avoid in (held_back, frozenset[str]()) if held_back else (held_back,):
        for lenient in (False, True):
            reports = state.reports(lenient=lenient)
            found = _choose(state, reports, avoid)
            if found:
                return found, reports
    return None


def _choose(state: PolicyState, reports: Reports, avoid: frozenset[str]) -> Choice | None:
    known = (state.primary, state.fallback, reports, state.local, state.current, avoid)
    if not state.pinned:
        return choose(*known)
    found = choose(*known, only=state.pinned)
    if found:
        return replace(found, why=f"{state.pinned} was asked for; {found.why}")
    found = choose(*known)
    return found and replace(
        found, why=f"{state.pinned} was asked for and cannot serve; {found.why}"
    )


def _nothing_serves(step: Step) -> None:
    step.set(phase=Phase.EXHAUSTED, asked=None)
    reports = step.state.reports()
    step.set(why=f"no model can serve: {summary(reports)}")
    text = f"No model can serve now ({summary(reports)}); CCR stays up and synccr keeps probing."
    todo = advice_on(reports.values())
    step.tell_once("exhausted", e.Tell("exhausted", text, todo, notify=True))


def _as_written(healed: Healed) -> bool:
    """Whether every route of the profile is as its owner wrote it."""
    return all(healed.routes[name] == ref for name, ref in healed.profile.routes.items())


def _differs(healed: Healed, state: PolicyState) -> bool:
    current = state.current
    if state.edited or state.asked:
        return healed.config != current.config or healed.profile.role != current.profile.role
    return dict(healed.routes) != dict(current.routes)


def _not_before(state: PolicyState, target: Healed, reports: Reports, now: float) -> float:
    """When a swap to ``target`` is allowed.

    A target that did not come up waits for its turn. Otherwise at once when a person edited
    the profiles, or when the current configuration does not serve; a better one waits for
    the cooldown. Never more than the limit in a window, in which what a person does is not
    counted.
    """
    failed = state.failed_starts.get(digest(target))
    held_back = failed.until if failed else now
    if state.edited:
        return held_back
    times = [held_back]
    recent, limit = _recent_swaps(state, now), state.settings.swap_limit
    if len(recent) >= limit:
        times.append(recent[-limit] + _window(state.settings))
    if state.alive and state.swapped_at is not None and serves(state.current, reports):
        times.append(state.swapped_at + state.settings.swap_cooldown)
    return max(times)


def _kept_swaps(state: PolicyState, now: float) -> tuple[float, ...]:
    since = now - max(_DAY, _window(state.settings))
    return tuple(t for t in state.swaps if t > since)[-_SWAPS_KEPT:]


def _recent_swaps(state: PolicyState, now: float) -> tuple[float, ...]:
    return tuple(t for t in state.swaps if t > now - _window(state.settings))


def _window(settings: Settings) -> float:
    return max(1.0, settings.swap_cooldown) * _COOLDOWNS_IN_WINDOW


def _reason(state: PolicyState, reports: Reports) -> tuple[str, ModelRef | None]:
    if state.asked:
        return "asked", None
    if state.phase is Phase.RESTARTING and not state.edited:
        return "crashed", None
    if state.trouble and not serves(state.current, reports):
        ref, status = state.trouble
        return status.value, ref
    return ("edited", None) if state.edited else ("recovered", None)


def _wake(step: Step, waiting: float | None) -> None:
    """Ask for the next moment at which time alone makes something due."""
    state, now = step.state, step.now.mono
    times = [
        max(health.probe_at, now + 1.0)
        for ref, health in state.health.items()
        if health.probe_at is not None and ref not in state.probing
    ]
    times += state.probing.values()
    times += [time for time in (state.restart_at, waiting) if time is not None]
    if times:
        step.emit(e.WakeAt(min(times)))
