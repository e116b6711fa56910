"""Days of traffic on a main model that is in trouble while its small probes pass.

Each request goes where CCR would send it, the egress asks the breaker and tells the policy how
it went, and what fails is sent again where the plan says. The bodies, sockets and CCR are left
out; what decides is the real thing.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from policy_kit import DAWN, profiles, report, started

from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Report, Status
from synccr.models.shape import Shape
from synccr.policy import events as e
from synccr.policy.breaker import Breaker, allows, breaker_of, trial_for
from synccr.policy.events import Now
from synccr.policy.machine import Phase, decide
from synccr.policy.observe_traffic import wants
from synccr.policy.route_plan import Need, Tried, next_try
from synccr.settings import Settings

MAIN, SPARE = ModelRef("a", "main"), ModelRef("a", "spare")
DAY = 86_400.0
ENDS = 20 * 3600.0
"""When the trouble ends, seconds."""
EVERY = 60.0
"""Seconds between requests; 2 in the slow variant, which is 43,200 a day."""

Fails = Callable[[float, "Request"], bool]


@dataclass(frozen=True)
class Request:
    """One request: its number, whose, and what kind."""

    turn: int
    session: str
    shape: Shape
    chance: float


@dataclass
class Day:
    """One day.

    Attributes:
        fails: whether a request fails on the main model at a time.
        trouble, http: how it fails then.
        shown: whether probes show the trouble, too.
    """

    fails: Fails
    trouble: Trouble = Trouble.STATUS
    http: int = 500
    shown: bool = False
    everybody: bool = False
    mono: float = 0.0
    swaps: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    served: dict[ModelRef, int] = field(default_factory=dict)
    asked_in_vain: int = 0
    failed: int = 0
    events: int = 0
    _queue: list[tuple[float, int, e.PolicyEvent]] = field(default_factory=list)
    _alarm: float = float("inf")

    def __post_init__(self) -> None:
        self.state = started(Settings(), *profiles())
        self.post(e.BackendReady())

    @property
    def now(self) -> Now:
        return Now(self.mono, DAWN + timedelta(seconds=self.mono))

    def post(self, event: e.PolicyEvent) -> None:
        self.events += 1
        self.state, actions = decide(self.state, event, self.now)
        for action in actions:
            match action:
                case e.WakeAt(mono):
                    self._alarm = mono
                case e.Swap():
                    self.swaps.append(self.mono)
                    self.later(1.0, e.SwapDone())
                case e.Probe(refs):
                    self.probes += [self.mono] * (MAIN in refs)
                    self.later(0.5, e.Probed(tuple(map(self.probe, refs))))

    def probe(self, ref: ModelRef) -> Report:
        request = Request(0, "", Shape(), 0.0)
        bad = self.shown and self._bad(ref, request)
        return report(ref, Status.OVERLOADED if bad else Status.OK, self.now.wall)

    def later(self, seconds: float, event: e.PolicyEvent) -> None:
        heapq.heappush(self._queue, (self.mono + seconds, self.events, event))

    def let_pass(self, until: float) -> None:
        while min(self._alarm, self._queue[0][0] if self._queue else until) < until:
            if self._queue and self._queue[0][0] <= self._alarm:
                self.mono, _, event = heapq.heappop(self._queue)
                self.post(event)
            else:
                self.mono, self._alarm = max(self._alarm, self.mono), float("inf")
                self.post(e.WokeUp())
        self.mono = until

    def live(self, until: float, every: float = EVERY) -> None:
        """Requests of four sessions at equal distances."""
        chance = random.Random(int(until))  # no secret
        turn = 0
        while self.mono < until:
            turn += 1
            shape = Shape(turn % 2 == 0, turn % 3 == 0, 100 + 50_000 * (turn % 5 == 0))
            number = int(self.mono * 1000) + turn
            self.send(Request(number, f"s{turn % 4}", shape, chance.random()))
            self.let_pass(self.mono + every)

    def send(self, request: Request) -> None:
        """One request, wherever it goes."""
        state, now = self.state, self.mono
        asked = state.current.scenario("default")
        target = trial_for(state, asked, request.session, now) or asked
        tries: list[Tried] = []
        while True:
            if self._attempt(target, request, tries):
                self.served[target] = self.served.get(target, 0) + 1
                self._tell(tries, request, elsewhere=True)
                return
            found = next_try(self.state.route_plan, asked, tries, Need())
            assert found.candidate is None or found.candidate.ref not in {t.ref for t in tries}
            if found.candidate is None:
                self.failed += 1
                if len([one for one in tries if one.sent]) > 1:
                    self._tell(tries, request, elsewhere=False)
                return
            target = found.candidate.ref

    def _attempt(self, ref: ModelRef, request: Request, tries: list[Tried]) -> bool:
        permit = allows(self.state, ref, session=request.session, now=self.mono)
        if not permit.allowed:
            assert permit.refused
            tries.append(Tried(ref, permit.refused, permit.http_status))
            return False
        if permit.trial:
            self.post(e.TrialStarted(ref, request.session))
        if self._bad(ref, request):
            tries.append(Tried(ref, self.trouble, self.http))
            self.asked_in_vain += 1
            self._tell(tries[-1:], request, elsewhere=None)
            return False
        if wants(self.state, ref, self.mono):
            self.post(e.AttemptServed(ref, self.now.wall, request.session))
        return True

    def _bad(self, ref: ModelRef, request: Request) -> bool:
        return (ref == MAIN or self.everybody) and self.fails(self.mono, request)

    def _tell(self, tries: list[Tried], request: Request, *, elsewhere: bool | None) -> None:
        for one in tries:
            if one.sent:
                self.post(
                    e.AttemptFailed(
                        *(one.ref, one.trouble, one.http_status, "oops", {}, self.now.wall),
                        *(request.turn, elsewhere, request.shape),
                    )
                )


KINDS: dict[str, Fails] = {
    "constant": lambda _t, _r: True,
    "alternating": lambda t, _r: t % 1200 < 600,
    "half": lambda _t, r: r.chance < 0.5,
    "large": lambda _t, r: r.shape.tokens > 10_000,
    "streamed": lambda _t, r: r.shape.stream,
    "tools": lambda _t, r: r.shape.tools,
}


def a_day(kind: str, trouble: Trouble, http: int, every: float) -> None:
    """Served, few swaps, and back soon after the trouble ends."""
    day = Day(lambda t, r: t < ENDS and KINDS[kind](t, r), trouble, http)
    day.live(ENDS, every)
    probes = len(day.probes)
    day.live(DAY, every)
    assert day.failed <= 0.001 * DAY / every
    assert len(day.swaps) <= 6
    assert breaker_of(day.state, MAIN) is Breaker.CLOSED
    assert len(day.probes) - probes <= 2 or kind == "half"
    if len(day.swaps) < 5:
        assert day.state.current.scenario("default") == MAIN
    else:
        assert "put the return off" in day.state.why
    if kind == "constant":
        assert day.asked_in_vain < 100
        # A fatal status needs no trial: two good probes bring the model back, and it leaves again.
        assert len(day.swaps) == 2 or trouble is Trouble.STATUS


@pytest.mark.parametrize(
    "kind",
    ["half", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "half")],
)
def test_a_day_of_errors(kind: str) -> None:
    """Small probes pass all day."""
    a_day(kind, Trouble.STATUS, 500, EVERY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "http"), [(Trouble.STATUS, 402), (Trouble.SILENT, 504)], ids=str
)
def test_a_day_of_other_trouble(trouble: Trouble, http: int) -> None:
    """A fatal status that only traffic meets, and silence."""
    a_day("constant", trouble, http, EVERY)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("trouble", "http"),
    [
        (Trouble.STATUS, 402),
        (Trouble.STATUS, 429),
        (Trouble.SILENT, 504),
        (Trouble.CUT, 502),
        (Trouble.EMPTY, 502),
        (Trouble.UNREACHABLE, 502),
    ],
    ids=str,
)
def test_a_day_of_every_trouble(kind: str, trouble: Trouble, http: int) -> None:
    """Each trouble in each pattern."""
    a_day(kind, trouble, http, 20.0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_day(kind: str) -> None:
    """All 43,200 requests."""
    a_day(kind, Trouble.STATUS, 500, 2.0)


def test_a_healthy_day() -> None:
    """Nothing is moved, nothing is asked, and few requests are news."""
    day = Day(lambda _t, _r: False)
    day.live(6 * 3600.0, 10.0)
    assert (day.swaps, day.probes, day.failed) == ([], [], 0)
    assert day.events <= 2 + 6 * 3600 / 20


@pytest.mark.slow
def test_a_prompt_that_fails_everywhere_moves_nothing() -> None:
    """One session's requests fail on every model: each is asked, and no route is moved."""
    day = Day(lambda _t, r: r.session == "s1", everybody=True)
    day.live(6 * 3600.0, 30.0)
    assert day.swaps == []
    assert day.served == {MAIN: 540}
    assert breaker_of(day.state, MAIN) is Breaker.CLOSED


def test_a_network_that_returns_is_seen_by_the_next_request() -> None:
    """All fails, and probes show it: no model can serve. The first request after it does."""
    day = Day(lambda t, _r: t < 1000.0, Trouble.UNREACHABLE, 502, shown=True, everybody=True)
    day.live(1000.0, 10.0)
    assert day.state.phase is Phase.EXHAUSTED
    day.live(1030.0, 10.0)
    assert day.state.phase is not Phase.EXHAUSTED
    assert day.served == {day.state.current.scenario("default"): 3}
