"""A world for the policy to live in: models whose troubles come and go, answers that come late,
wrongly or never, swaps that fail, crashes, people, prompts and clocks. It is driven by moves
(small numbers, so that Hypothesis can draw and shrink them) and checks after every event what
must never happen.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from policy_kit import BODIES, DAWN, LOCAL, profile, profiles, report, started

from synccr.heal import Healed
from synccr.models.report import FATAL, SERVING, ModelRef, Status
from synccr.policy import events as e
from synccr.policy.choice import choose, serves
from synccr.policy.events import Now
from synccr.policy.machine import Phase, decide
from synccr.policy.state import PolicyState
from synccr.settings import Settings

MODELS = tuple(
    ModelRef(p, m) for p, m in (("a", "main"), ("a", "spare"), ("a", "long"), ("b", "twin"))
)

TROUBLES: Sequence[tuple[int, str, Status, bool]] = (
    (402, "on-demand", Status.BILLING, False),
    (404, "gone", Status.MISSING, False),
    (402, "no-quota", Status.BILLING, True),
    (401, "key", Status.AUTH, True),
    (429, "cap", Status.QUOTA, True),
    (429, "cap-2h", Status.QUOTA, True),
    (400, "dead-400", Status.MISSING, False),
    (429, "slow", Status.RATE_LIMITED, False),
    (429, "slow-2h", Status.RATE_LIMITED, False),
    (500, "oops", Status.OVERLOADED, False),
    (502, "page", Status.OVERLOADED, False),
    (0, "fetch failed", Status.UNREACHABLE, False),
)
"""HTTP status (0: no answer), body, what a probe finds, whether it is the account's."""

PAUSES = (0.0, 0.2, 1.0, 5.0, 20.0, 61.0, 301.0, 1900.0, 3700.0)
"""Seconds between moves."""

Move = tuple[int, int, int]
"""What, and two numbers that say which one and how."""


class Never(AssertionError):
    """Something happened that must not."""


@dataclass
class World:
    """One life.

    Attributes:
        words: what prompts and pages say; must make no difference.
        done: every action with its time, without words for people.
        fatal: profiles of which CCR dies, at once or a moment after it came up.
    """

    settings: Settings = field(default_factory=Settings)
    words: str = "hello"
    mono: float = 0.0
    wall_offset: float = 0.0
    troubles: dict[ModelRef, int] = field(default_factory=dict)
    accounts: dict[str, int] = field(default_factory=dict)
    done: list[tuple[float, str]] = field(default_factory=list)
    fatal: set[str] = field(default_factory=set)
    probes: dict[ModelRef, list[float]] = field(default_factory=lambda: defaultdict(list))
    swaps: list[float] = field(default_factory=list)
    people: list[float] = field(default_factory=list)
    steps: int = 0
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _alarm: float | None = None
    _numbers: int = 0
    _last_swap: float | None = None
    _swapping: Healed | None = None
    _restarting: bool = False
    _asked: dict[ModelRef, float] = field(default_factory=dict)
    _evidence: dict[ModelRef, tuple[float, bool]] = field(default_factory=dict)
    _guilty: set[ModelRef] = field(default_factory=set)
    _edited: dict[ModelRef, float] = field(default_factory=dict)
    _tricks: list[int] = field(default_factory=list)
    _exhausted_told: bool = False
    _sent: Healed | None = None

    def __post_init__(self) -> None:
        primary, fallback = profiles()
        self.state: PolicyState = started(self.settings, primary, fallback)
        self._post(e.BackendReady())

    # ------------------------------------------------------------- time

    @property
    def now(self) -> Now:
        return Now(self.mono, DAWN + timedelta(seconds=self.mono + self.wall_offset))

    def let_pass(self, seconds: float) -> None:
        """Time passes; what is due happens in its order."""
        until = self.mono + seconds
        while True:
            due = self._queue[0][0] if self._queue else float("inf")
            if min(due, self._alarm if self._alarm is not None else due) > until:
                break
            if self._alarm is not None and self._alarm <= due:
                self.mono, self._alarm = max(self.mono, self._alarm), None
                self._post(e.WokeUp())
            else:
                at, _, work = heapq.heappop(self._queue)
                self.mono = max(self.mono, at)
                work()
        self.mono = until

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: afterwards everything is due at once."""
        self.mono += seconds
        self.let_pass(0.0)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._queue, (self.mono + seconds, self._numbers, work))

    # ------------------------------------------------------------ moves

    def play(self, moves: Sequence[Move]) -> None:
        """A whole history; the tricks of answers come from the moves too."""
        for what, which, how in moves:
            self._tricks.append(how)
            self.let_pass(PAUSES[how % len(PAUSES)])
            _MOVES[what % len(_MOVES)](self, which, how)

    def heal_everything(self) -> None:
        """From now on every model serves, probes are answered rightly, swaps come up."""
        self.troubles.clear()
        self.accounts.clear()
        self.fatal.clear()
        self._tricks = [0]

    def trouble(self, which: int, how: int) -> None:
        self.troubles[MODELS[which % 4]] = how % len(TROUBLES)

    def account_trouble(self, which: int, how: int) -> None:
        self.accounts["ab"[which % 2]] = 2 + how % 4

    def good_again(self, which: int, how: int) -> None:
        ref = MODELS[which % 4]
        self.troubles.pop(ref, None)
        if how % 2:
            self.accounts.pop(ref.provider, None)

    def traffic(self, which: int, how: int) -> None:
        """Requests that routes lead on; a model in trouble is met by some of them."""
        routes = sorted(self.state.in_use)
        self._request(routes[which % len(routes)], times=1 + how % 7, ago=(how % 3) * 2.0)

    def named(self, which: int, how: int) -> None:
        """Requests whose prompt names the model itself, perhaps one that no profile has."""
        ref = (*MODELS, ModelRef("a", "elsewhere"), ModelRef("b", self.words))[which % 6]
        self._request(ref, times=1 + how % 7, ago=0.0)

    def _request(self, ref: ModelRef, times: int, ago: float) -> None:
        kind = 2 if ref.model == "elsewhere" else self._trouble_of(ref)  # not paid for, it says
        if kind is None or not self.state.alive:
            return
        http, body, status, _ = TROUBLES[kind]
        for _ in range(times):
            if http == 0:
                self._post(e.NetworkFailed(self.words))
                continue
            at = self.now.wall - timedelta(seconds=ago)
            model = None if ref.model == "twin" and times % 2 else ref.model  # as Gemini's form
            if status in FATAL and http in (401, 402, 404, 429):
                self._learned(ref, self.mono - ago, dead=True)
            self._post(e.ProviderFailed(ref.provider, model, http, BODIES[body], at))

    def prompt(self, which: int, how: int) -> None:
        """Lines of the log in which a prompt's words are repeated."""
        ref = MODELS[which % 4]
        words = self.words.replace('"', "'")
        bodies = (
            f'{{"detail": [{{"loc": ["messages"], "msg": "No", "input": "{words}"}}]}}',
            f'{{"error": {{"message": "messages.3: {words}", "param": "messages"}}}}',
            f"<html><title>Bad Request</title><body>{words}</body></html>",
        )
        http = (400, 422, 413)[how % 3]
        event = e.ProviderFailed(ref.provider, ref.model, http, bodies[how % 3], self.now.wall)
        for _ in range(1 + how % 9):
            self._post(event)
            self._post(e.UnclearFailure(ref.provider, (ref.model, self.words)))

    def silence(self, _which: int, how: int) -> None:
        for _ in range(1 + how % 3):
            self._post(e.UpstreamSilent())

    def crash(self, _which: int, _how: int) -> None:
        if self.state.alive:
            self._post(e.BackendDied("exit code 1"))

    def dies_of(self, which: int, how: int) -> None:
        """CCR dies of a profile from now on, as of a broken transformer; or no longer."""
        role = ("primary", "fallback")[which % 2]
        if how % 3:
            self.fatal.add(role)
            self._dies()
        else:
            self.fatal.discard(role)

    def _dies(self) -> None:
        if self.state.alive and self.state.current.profile.role in self.fatal:
            self._post(e.BackendDied("exit code 1"))

    def person(self, which: int, how: int) -> None:
        self.people.append(self.mono)
        if how % 3 == 0:
            self._post(e.SwapAsked(("primary", "fallback")[which % 2]))
            return
        default = ("a,main", "a,long", "b,twin", "a,main")[which % 4]
        default = default if how % 2 else "a,main"
        primary = profiles()[0]
        if default != "a,main":
            primary = profile("primary" if default[0] == "a" else "fallback", default=default)
            primary = type(primary)(**{**vars(primary), "role": "primary"})
        before = set(self.state.probing)
        self._post(e.ProfilesRead(primary, self.state.fallback))
        for ref in before - set(self.state.probing):
            self._edited[ref] = self.mono

    def clock(self, which: int, how: int) -> None:
        """The wall clock is set."""
        self.wall_offset += (86_400.0, -86_400.0, 3600.0, -200.0)[which % 4] * (1 + how % 2)

    def nap(self, which: int, _how: int) -> None:
        self.sleep((30.0, 4000.0, 40_000.0)[which % 3])

    # ---------------------------------------------------- what is asked

    def _post(self, event: e.PolicyEvent) -> None:
        before = self.state
        self.state, actions = decide(before, event, self.now)
        self.steps += 1
        if len(actions) > 40:
            raise Never(f"{len(actions)} actions for one event")
        for action in actions:
            self._carry_out(action)
        self._look()

    def _carry_out(self, action: e.PolicyAction) -> None:
        match action:
            case e.WakeAt(mono):
                if mono <= self.mono:
                    raise Never("woken without end")
                self._alarm = mono
                return
            case e.Probe(refs):
                self._probe(refs)
                said = " ".join(map(str, refs))
            case e.Swap(to, reason, because):
                self._justified(reason, because)
                self._swap(to, reason)
                said = f"{to.profile.role} {sorted(to.routes.items())} {reason}"
            case e.Restart():
                self._restart()
                said = ""
            case e.Tell(kind, _, _, notify):
                self._told(kind, notify=notify)
                said = f"{kind} {notify}"
            case _:
                raise Never(f"nobody knows {action!r}")
        self.done.append((round(self.mono, 6), f"{type(action).__name__} {said}"))

    def _trick(self) -> int:
        """How the next answer goes wrong, if it does."""
        return self._tricks[-1] if self._tricks else 0

    def _probe(self, refs: Sequence[ModelRef]) -> None:
        for ref in refs:
            stale = self.mono - self._edited.get(ref, -100.0) < 70.0  # an answer of before an edit
            if self.mono - self._asked.get(ref, -100.0) < 69.9 and not stale:  # 70, and rounding
                raise Never(f"{ref} is asked twice at once")
            self._asked[ref] = self.mono
            self.probes[ref].append(self.mono)
            self._no_storm(ref, self.probes[ref])
        trick = self._trick() % 11
        if trick == 7:  # never answered
            return
        wrong = trick == 5
        found = [self._found(ref, wrong=wrong) for ref in refs]
        delay = {3: 25.0, 4: 69.0, 8: 0.0}.get(trick, 1.0)
        self._later(delay, lambda: self._answer(found))

    def _found(self, ref: ModelRef, *, wrong: bool) -> Any:
        kind = self._trouble_of(ref)
        if wrong:
            kind = 9 if kind is None else None
        if kind is None:
            return report(ref, Status.OK, self.now.wall), self.mono
        http, body, status, account = TROUBLES[kind]
        wait = {"cap": 9000.0, "cap-2h": 7200.0, "slow-2h": 7200.0}.get(body)
        retry_at = None if wait is None else self.now.wall + timedelta(seconds=wait)
        more = {"http_status": http, "account": account, "retry_at": retry_at}
        return report(ref, status, self.now.wall, **more), self.mono

    def _answer(self, found: list[Any]) -> None:
        for answer, at in found:
            self._asked.pop(answer.ref, None)
            self._learned(answer.ref, at, dead=answer.status not in SERVING)
        self._post(e.Probed(tuple(answer for answer, _ in found)))

    def _swap(self, to: Healed, reason: str) -> None:
        if self._swapping or self._restarting:
            raise Never("two backends are started at once")
        for name, ref in to.routes.items():
            health = self.state.health.get(ref)
            if health and health.unavailable and not health.confirmed:
                raise Never(f"{name} would lead to {ref}, which is away")
            if self._evidence.get(ref, (0.0, False))[1]:
                raise Never(f"{name} would lead to {ref}, last seen dead")
        if not self.state.edited and reason != "asked":
            self.swaps.append(self.mono)
            window = 20 * max(1.0, self.settings.swap_cooldown)
            recent = [t for t in self.swaps if t > self.mono - window]
            if len(recent) > self.settings.swap_limit:
                raise Never("more swaps than allowed")
        last, self._last_swap = self._last_swap, self.mono
        cool = last is None or self.mono - last >= self.settings.swap_cooldown
        if (
            not cool
            and reason not in ("asked", "edited")
            and self.state.alive
            and serves(self.state.current, self.state.reports())
        ):
            raise Never("a configuration that serves is left within the cooldown")
        self._swapping = to
        failed = self._trick() % 13 == 6 or self._dies_of(to, at_once=0)
        done = e.SwapFailed("it did not come up") if failed else e.SwapDone()
        self._later(2.0 + self._trick() % 3, lambda: self._swapped(done))

    def _justified(self, reason: str, because: ModelRef | None) -> None:
        """A model is left for a fatal status only when it, or its whole account, had it."""
        if reason in set(FATAL) and because not in self._guilty:
            raise Never(f"{because} is left for a trouble that it never had")

    def _swapped(self, done: e.PolicyEvent) -> None:
        if isinstance(done, e.SwapDone):
            self._sent = self._swapping
        self._swapping = None
        self._post(done)
        self._later(1.0, self._dies)

    def _dies_of(self, healed: Healed, *, at_once: int) -> bool:
        return healed.profile.role in self.fatal and self._trick() % 2 == at_once

    def _restart(self) -> None:
        if self._swapping or self._restarting:
            raise Never("two backends are started at once")
        self._restarting = True
        failed = self._trick() % 5 == 4 or self._dies_of(self.state.current, at_once=1)
        self._later(1.0, lambda: self._restarted(failed=failed))

    def _restarted(self, *, failed: bool) -> None:
        self._restarting = False
        self._post(e.BackendDied("no health") if failed else e.BackendReady())
        self._later(1.0, self._dies)

    def _told(self, kind: str, *, notify: bool) -> None:
        if kind == "exhausted":
            if self._exhausted_told:
                raise Never("told twice that nothing serves")
            self._exhausted_told = True
        elif kind == "recovered" and notify:
            self._exhausted_told = False

    # ------------------------------------------------------------- looks

    def _trouble_of(self, ref: ModelRef) -> int | None:
        return self.troubles.get(ref, self.accounts.get(ref.provider))

    def _learned(self, ref: ModelRef, at: float, *, dead: bool) -> None:
        if dead:
            self._guilty.add(ref)
        if at >= self._evidence.get(ref, (-1.0, False))[0]:
            self._evidence[ref] = (at, dead)

    def _look(self) -> None:
        """What holds at every moment."""
        state = self.state
        if state.phase in (Phase.SERVING, Phase.EXHAUSTED) and not state.alive:
            raise Never("it is said to serve, and no backend lives")
        if state.phase is Phase.SWAPPING and state.pending_swap is None:
            raise Never("a swap without a target")
        if self._sent and not self._swapping and state.current is not self._sent:
            raise Never("another configuration is thought to run than the one that came up")

    def _no_storm(self, ref: ModelRef, times: list[float]) -> None:
        """Few probes of one model: in five minutes, and in a day."""
        often = min(self.settings.recovery_interval, self.settings.recovery_interval_max)
        for window, most in ((often, 6), (86_400.0, 1.15 * 86_400 / often)):
            since = self.mono - window
            count = sum(1 for t in times if t > since)
            allowed = most + 2 * sum(1 for t in self.people if t > since)
            if count > allowed:
                raise Never(f"{count} probes of {ref} within {window:.0f} s")

    def is_best(self) -> bool:
        """Whether what runs is what its owner wants most when every model serves."""
        state = self.state
        best = choose(state.primary, state.fallback, {}, LOCAL, state.current, only=state.pinned)
        if best is None:
            raise Never("there is no best configuration")
        return (
            state.phase is Phase.SERVING
            and not state.degraded
            and best.healed.profile == state.current.profile
            and dict(best.healed.routes) == dict(state.current.routes)
        )


_MOVES: Sequence[Callable[[World, int, int], None]] = (
    World.traffic,
    World.trouble,
    World.account_trouble,
    World.good_again,
    World.named,
    World.prompt,
    World.silence,
    World.crash,
    World.person,
    World.clock,
    World.nap,
    World.traffic,
    World.good_again,
    World.dies_of,
)
PERSON = _MOVES.index(World.person)
"""The move that people make."""
DIES_OF = _MOVES.index(World.dies_of)
"""The move after which CCR dies of a profile."""
