"""The loop that ties the edges to the policy: events in, actions out.

Edges put events on one queue; this loop alone reads it, asks the policy, and
carries out what it says. Nothing else changes the state.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synccr.errors import SynccrError
from synccr.heal import Healed
from synccr.journal import Journal, utc_now
from synccr.models.report import ModelRef, Report
from synccr.policy import events as e
from synccr.policy.machine import IllegalTransition, Phase, PolicyState, decide
from synccr.supervisor.backends import Backends, SupervisorReplaced

Shapes = Mapping[ModelRef, e.Shape]
Prober = Callable[[Sequence[ModelRef], Shapes], Awaitable[tuple[Report, ...]]]
Teller = Callable[[str, str, str, bool], None]


def now() -> e.Now:
    """Both clocks. Boot time goes on while a machine sleeps, where there is such a clock."""
    if sys.platform == "linux":
        return e.Now(time.clock_gettime(time.CLOCK_BOOTTIME), utc_now())
    else:
        return e.Now(time.monotonic(), utc_now())


@dataclass
class Loop:
    """Runs until stopped.

    Attributes:
        state: the policy's.
        fleet: starts and ends backends.
        probe: asks models.
        journal: hears of each step.
        tell: shows a line to a person: kind, text, todo, worth a notification.
        on_state: called after each decision, e.g. to keep records.
        swaps: swaps done.
        last_swap: the latest, as the contract's ``status --json`` has it.
        last_failure: why the latest swap did not come up; None when it did.
    """

    state: PolicyState
    backends: Backends
    probe: Prober
    journal: Journal
    tell: Teller
    on_state: Callable[[PolicyState], None] = lambda _state: None
    swaps: int = 0
    last_swap: dict[str, Any] | None = None
    last_failure: str | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _queue: asyncio.Queue[e.PolicyEvent] = field(default_factory=asyncio.Queue)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _alarm: asyncio.TimerHandle | None = None

    def post(self, event: e.PolicyEvent) -> None:
        """Something happened. Callable from any callback of the event loop."""
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """Read events until ``StopAsked``."""
        while self.state.phase is not Phase.STOPPING:
            self._take(await self._queue.get())
        if self.state.asked:  # who waits for it is answered, not kept until the end
            self.last_failure = "this supervisor ends"
            self.state = replace(self.state, asked=None)
        if self._alarm:
            self._alarm.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.stopped.set()

    def _take(self, event: e.PolicyEvent) -> None:
        """One decision and its actions. No ``await`` in here: a decision is never interrupted."""
        try:
            self.state, actions = decide(self.state, event, now())
        except IllegalTransition as error:
            self.journal.write("error_seen", text=f"ignored: {error}")
            return
        for action in actions:
            self._carry_out(action)
        self.on_state(self.state)

    def _carry_out(self, action: e.PolicyAction) -> None:
        match action:
            case e.Probe(refs, _, like):
                self._spawn(self._probe(refs, like))
            case e.Swap():
                self._spawn(self._swap(action))
            case e.Restart():
                self._spawn(self._restart(self.state.current))
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
            why = self.last_failure = _what(error)
            text = f"The {target} configuration did not come up ({why}); the old one stays."
            self.journal.write("swap_failed", **story, error=why, text=text)
            self.tell("swap_failed", text, "See: synccr logs", True)
            self.post(e.SwapFailed(why))
            return
        took = round((time.monotonic() - begin) * 1000)
        self.swaps += 1
        self.last_failure = None
        entry = self.journal.write(
            "swapped",
            **story,
            took_ms=took,
            routes={name: str(ref) for name, ref in action.to.routes.items()},
            why=action.explanation,
        )
        self.last_swap = {"at": entry["at"], **story, "took_ms": took}
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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
    from synccr.heal.advice import advice
    from synccr.models.report import Status

    return " ".join(advice([Status(action.reason)])) if action.reason in set(Status) else ""
