"""The state machine: ``decide(state, event, now) -> (state, actions)``.

Each event is first *learned* (what do we know now?), then one function
*concludes* (what follows from all we know?), so that no order of events can
leave something undone. What is known, and the phases, are in :mod:`.state`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synccr.config.profile import Profile
from synccr.heal import Healed, Local
from synccr.models.report import Report
from synccr.policy import health as h
from synccr.policy.events import Action, Event, Now
from synccr.policy.observe import LEARN
from synccr.policy.plan import conclude
from synccr.policy.state import TRANSITIONS, Phase, Plan, State, Step
from synccr.settings import Settings

__all__ = ["TRANSITIONS", "IllegalTransition", "Phase", "Plan", "State", "decide", "start"]


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
) -> State:
    """The state of a supervisor that has preflighted and chosen, before its first backend."""
    state = State(settings, primary, fallback, current, local)
    known = {r.ref: r for r in reports}
    health = {
        ref: replace(h.probed(None, known[ref], now, settings), seen_at=now.mono)
        for ref in state.models
        if ref in known
    }
    return replace(state, health=health)


def decide(state: State, event: Event, now: Now) -> tuple[State, tuple[Action, ...]]:
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
    LEARN[type(event)](step, event)
    conclude(step)
    if step.state.phase not in allowed:
        raise IllegalTransition(
            f"{type(event).__name__} leads from {state.phase} to {step.state.phase}"
        )
    return step.state, tuple(step.actions)
