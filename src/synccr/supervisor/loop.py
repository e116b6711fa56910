"""The loop that ties watchers, traffic and commands to the policy: events in, actions out.

They put events on one queue; this loop alone reads it, asks the policy, and
carries out what it says. Nothing else changes the state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccr.background import Background
from synccr.clock import now
from synccr.config.profile import Role
from synccr.errors import SynccrError
from synccr.heal import Healed
from synccr.heal.advice import advice
from synccr.journal import Journal
from synccr.models.report import ModelRef, Report, Status
from synccr.models.shape import Shape
from synccr.policy import events as e
from synccr.policy.machine import IllegalTransition, Phase, PolicyState, decide
from synccr.supervisor.backend_lifecycle import Backends, SupervisorReplaced
from synccr.supervisor.context import Reporter
from synccr.supervisor.swaps import SwapLog, SwapResult

Shapes = Mapping[ModelRef, Shape]
Prober = Callable[[Sequence[ModelRef], Shapes], Awaitable[tuple[Report, ...]]]


@dataclass
class Loop:
    """Runs until stopped.

    Attributes:
        state: the policy's.
        backends: starts and ends CCR processes.
        probe: asks models.
        journal: hears of each step.
        tell: shows a line to a person.
        on_state: called after each decision, e.g. to keep records.
        swaps: those done, and who waits for one.
    """

    state: PolicyState
    backends: Backends
    probe: Prober
    journal: Journal
    tell: Reporter
    on_state: Callable[[PolicyState], None] = lambda _state: None
    swaps: SwapLog = field(default_factory=SwapLog)
    _queue: asyncio.Queue[e.PolicyEvent] = field(default_factory=asyncio.Queue)
    _tasks: Background = field(default_factory=Background)
    _alarm: asyncio.TimerHandle | None = None

    def post(self, event: e.PolicyEvent) -> None:
        """Something happened. Callable from any callback of the event loop."""
        self._queue.put_nowait(event)

    async def swap(self, role: Role, patience: float) -> SwapResult:
        """Move to a profile, as a person wants; what came of it within ``patience`` seconds."""
        asked = e.SwapAsked(role)
        self.post(asked)
        return await self.swaps.result(asked, patience)

    async def run(self) -> None:
        """Read events until ``StopAsked``. However it ends, nothing that it began goes on."""
        try:
            while self.state.phase is not Phase.STOPPING:
                self._take(await self._queue.get())
        finally:
            self.swaps.end(self.state)
            if self._alarm:
                self._alarm.cancel()
            await self._tasks.cancel()

    def _take(self, event: e.PolicyEvent) -> None:
        """One decision and its actions. No ``await`` in here: a decision is never interrupted."""
        try:
            self.state, actions = decide(self.state, event, now())
        except IllegalTransition as error:
            self.journal.write("error_seen", text=f"ignored: {error}")
            return
        for action in actions:
            self._carry_out(action)
        self.swaps.decided(event, self.state)
        self.on_state(self.state)

    def _carry_out(self, action: e.PolicyAction) -> None:
        match action:
            case e.Probe(refs, _, like):
                self._tasks.spawn(self._probe(refs, like))
            case e.Swap():
                self._tasks.spawn(self._swap(action))
            case e.Restart():
                self._tasks.spawn(self._restart(self.state.current))
            case e.WakeAt(mono):
                self._wake_at(mono)
            case e.Tell(kind, text, todo, notify, data):
                self.journal.write(kind, text=text, **({"todo": todo} if todo else {}), **data)
                self.tell(kind, text, todo, notify)
            case _:
                raise TypeError(f"nobody knows how to carry out {action!r}")

    def _wake_at(self, mono: float) -> None:
        if self._alarm:
            self._alarm.cancel()
        # At most a minute: a timer of the loop does not count the time a machine sleeps.
        delay = min(60.0, max(0.0, mono - now().mono))
        self._alarm = asyncio.get_running_loop().call_later(delay, self.post, e.WokeUp())

    async def _probe(self, refs: Sequence[ModelRef], like: Shapes) -> None:
        try:
            reports = await self.probe(refs, like)
        except Exception as error:  # noqa: BLE001  # the policy asks again when no answer comes
            text = f"The models could not be asked ({_what(error)})."
            self.journal.write("error_seen", text=text, models=[str(ref) for ref in refs])
            self.tell("error_seen", text, "See: synccr doctor", False)
        else:
            self.post(e.Probed(reports))

    async def _swap(self, action: e.Swap) -> None:
        begin = time.monotonic()
        source = self.state.current.profile.role
        target = action.to.profile.role
        because = str(action.because) if action.because else None
        story: dict[str, Any] = {
            "from": source,
            "to": target,
            "reason": action.reason,
            "model": because,
        }
        self.journal.write("swap_started", **story, why=action.explanation)
        try:
            await self.backends.start(action.to)
        except SupervisorReplaced:
            return  # this loop is about to be stopped
        except Exception as error:  # noqa: BLE001  # whatever it is, the policy must hear of it
            why = _what(error)
            self.swaps.failed(why)
            text = f"The {target} configuration did not come up ({why}); the old one stays."
            self.journal.write("swap_failed", **story, error=why, text=text)
            self.tell("swap_failed", text, "See: synccr logs", True)
            self.post(e.SwapFailed(why))
            return
        took = round((time.monotonic() - begin) * 1000)
        entry = self.journal.write(
            "swapped",
            **story,
            took_ms=took,
            routes={name: str(ref) for name, ref in action.to.routes.items()},
            why=action.explanation,
        )
        self.swaps.done({"at": entry["at"], **story, "took_ms": took})
        unasked = action.reason not in ("asked", "edited")
        self.tell("swapped", _swap_line(action, source, took), _todo(action), unasked)
        self.post(e.SwapDone())

    async def _restart(self, healed: Healed) -> None:
        try:
            backend = await self.backends.replace_dead(healed)
        except SupervisorReplaced:
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, the policy must hear of it
            self.post(e.BackendDied(_what(error)))
            return
        self.journal.write("restarted", pid=backend.pid, **self.backends.take_counters())
        self.tell("restarted", "CCR serves again.", "", False)
        self.post(e.BackendReady())


def _what(error: Exception) -> str:
    """What happened, to be put into a sentence."""
    return (error.what if isinstance(error, SynccrError) else str(error)).rstrip(".")


def _swap_line(action: e.Swap, source: str, took_ms: int) -> str:
    """What happened, why, how long it took, in one line."""
    model = action.to.scenario("default")
    cause = f"{action.because}: {action.reason}" if action.because else action.reason
    move = f"{source} -> {action.to.profile.role}"
    return f"{move} ({cause}); {model} serves now; took {took_ms / 1000:.1f} s."


def _todo(action: e.Swap) -> str:
    return " ".join(advice([Status(action.reason)])) if action.reason in set(Status) else ""
