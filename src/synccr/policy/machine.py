"""The state machine: ``decide(state, event, now) -> (state, actions)``.

The package's own page says how it works.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synccr.config.profile import Local, Profile
from synccr.heal import Healed
from synccr.models.report import Report
from synccr.policy import model_health as h
from synccr.policy.events import Now, PolicyAction, PolicyEvent
from synccr.policy.observe import observe
from synccr.policy.plan import plan
from synccr.policy.state import TRANSITIONS, Phase, PolicyState, Step
from synccr.settings import Settings

__all__ = [
    "TRANSITIONS",
    "IllegalTransition",
    "Phase",
    "PolicyState",
    "decide",
    "start",
]


class IllegalTransition(Exception):
    """An event that makes no sense in this phase; nothing has changed."""


def start(
    settings: Settings,
    primary: Profile,
    fallback: Profile,
    current: Healed,
    reports: Iterable[Report],
    local: Local,
    now: Now,
) -> PolicyState:
    """The state of a supervisor that has preflighted and chosen, before its first backend."""
    state = PolicyState(settings, primary, fallback, current, local)
    known = {r.ref: r for r in reports}
    health = {
        ref: replace(h.probed(None, known[ref], now, settings), seen_at=now.mono)
        for ref in state.models
        if ref in known
    }
    return replace(state, health=health)


def decide(
    state: PolicyState, event: PolicyEvent, now: Now
) -> tuple[PolicyState, tuple[PolicyAction, ...]]:
    """Take one event; the result is the new state and what to do.

    Raises:
        IllegalTransition: ``event`` has no place in the state's phase.
    """
    allowed = TRANSITIONS.get((state.phase, type(event)))
    if allowed is None:
        raise IllegalTransition(f"{type(event).__name__} while {state.phase}")
    if state.phase is Phase.STOPPING:
        return state, ()  # whatever still happens, nothing follows from it
    step = Step(state, now)
    observe(step, event)
    plan(step)
    if step.state.phase not in allowed:
        raise IllegalTransition(
            f"{type(event).__name__} leads from {state.phase} to {step.state.phase}"
        )
    return step.state, tuple(step.actions)
