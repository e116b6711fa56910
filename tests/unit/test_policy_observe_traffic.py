"""What the egress sees of traffic: what is believed, what is only asked, what is told twice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_kit import BODIES, DAWN, profiles, report, started

from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Status
from synccr.models.shape import Shape
from synccr.policy import events as e
from synccr.policy.breaker import Breaker, allows, breaker_of
from synccr.policy.events import Now
from synccr.policy.machine import Phase, decide
from synccr.policy.observe_traffic import wants
from synccr.settings import Settings

MAIN, SPARE, LONG, TWIN = (
    ModelRef(p, m) for p, m in (("a", "main"), ("a", "spare"), ("a", "long"), ("b", "twin"))
)


@dataclass
class Availability:
    """A policy and what it did."""

    mono: float = 0.0
    turns: int = 0
    done: list[e.PolicyAction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = started(Settings(), *profiles())
        self.post(e.BackendReady())

    @property
    def now(self) -> Now:
        return Now(self.mono, DAWN + timedelta(seconds=self.mono))

    def post(self, event: e.PolicyEvent) -> None:
        self.state, actions = decide(self.state, event, self.now)
        self.done += [one for one in actions if not isinstance(one, e.WakeAt)]

    def fails(
        self,
        ref: ModelRef = MAIN,
        trouble: Trouble = Trouble.STATUS,
        http: int = 500,
        body: str = "oops",
        *,
        elsewhere: bool | None = True,
        same_turn: bool = False,
        headers: dict[str, str] | None = None,
        passed: bool = False,
    ) -> None:
        self.turns += not same_turn
        words = BODIES.get(body, body)
        self.post(
            e.AttemptFailed(
                *(ref, trouble, http, words, headers or {}, self.now.wall, self.turns),
                elsewhere,
                Shape(stream=True, tokens=7),
                passed,
            )
        )

    def serves(self, ref: ModelRef = MAIN, sent: float | None = None) -> None:
        ago = 0.0 if sent is None else self.mono - sent
        self.post(e.AttemptServed(ref, self.now.wall - timedelta(seconds=ago), "s"))

    def probed(self, ref: ModelRef, status: Status = Status.OK, *, account: bool = False) -> None:
        self.post(e.Probed((report(ref, status, self.now.wall, account=account),)))

    def asked(self) -> list[ModelRef]:
        return [ref for one in self.done if isinstance(one, e.Probe) for ref in one.refs]

    def told(self) -> list[str]:
        return [one.kind for one in self.done if isinstance(one, e.Tell)]

    def swaps(self) -> list[ModelRef]:
        return [one.to.scenario("default") for one in self.done if isinstance(one, e.Swap)]


def test_one_models_402_takes_nothing_from_the_others() -> None:
    """In the words of a whole account: the model is left, the others are asked, and the first
    that answers is moved to. One that has just served is not even asked."""
    life = Availability()
    life.fails(http=402, body="credit")
    assert life.state.is_unavailable(MAIN)
    assert (life.asked(), life.swaps()) == ([SPARE, LONG], [])
    life.probed(SPARE)
    assert life.swaps() == [SPARE]
    other = Availability()
    other.serves(SPARE)
    other.fails(http=402, body="credit")
    assert (other.asked(), other.swaps()) == ([LONG], [SPARE])


def test_a_swap_does_not_wait_long_for_a_model_in_doubt() -> None:
    """Five seconds, however often the doubt is repeated."""
    life = Availability()
    for second in range(6):
        life.mono = float(second)
        life.fails(http=402, body="credit")
    assert life.swaps() == [SPARE]
    assert life.mono == 5.0


@pytest.mark.parametrize("http", [401, 402, 404, 410])
def test_a_dead_status_acts_at_once(http: int) -> None:
    """With whatever words, and before anybody was asked elsewhere."""
    life = Availability()
    life.fails(http=http, body="oops", elsewhere=None)
    assert life.state.is_unavailable(MAIN)


@pytest.mark.parametrize(
    ("trouble", "http", "turns"),
    [
        (Trouble.STATUS, 500, 5),
        (Trouble.STATUS, 429, 5),
        (Trouble.ERROR, 502, 5),
        (Trouble.PAGE, 502, 5),
        (Trouble.EMPTY, 502, 5),
        (Trouble.UNREACHABLE, 502, 5),
        (Trouble.CUT, 502, 3),
        (Trouble.SILENT, 504, 3),
    ],
)
def test_a_passing_trouble_that_persists(trouble: Trouble, http: int, turns: int) -> None:
    """So many turns in a row, minutes apart; told twice it counts once; fewer when each costs a
    person a long wait."""
    life = Availability()
    for _ in range(turns):
        assert not life.state.is_unavailable(MAIN)
        life.mono += 240.0
        life.fails(MAIN, trouble, http, elsewhere=None)
        life.fails(MAIN, trouble, http, same_turn=True)
    assert life.state.is_unavailable(MAIN)
    assert life.swaps() == [SPARE]
    life.mono += 400.0
    life.post(e.WokeUp())
    shapes = [one.like for one in life.done if isinstance(one, e.Probe) and one.why == "recovery"]
    assert shapes == [{MAIN: Shape(stream=True, tokens=7)}]


def test_half_of_the_requests() -> None:
    """Every second one fails: ten of twenty lead away; one of four does not."""
    for every, away in ((2, True), (4, False)):
        life = Availability()
        for n in range(40):
            life.mono += 10.0
            life.fails() if n % every else life.serves()
            if every == 4 and n % every:
                life.serves()
                life.serves()
        assert life.state.is_unavailable(MAIN) is away


def test_an_answer_that_broke_off() -> None:
    """The next request goes elsewhere, for 15 seconds; three in a row lead away, though nobody
    else could be asked."""
    life = Availability()
    life.fails(MAIN, Trouble.CUT, 502, elsewhere=None, passed=True)
    known = allows(life.state, MAIN, session="s", now=10.0)
    assert (known.refused, known.http_status) == (Trouble.KNOWN, 502)
    assert known.report is not None
    assert known.report.detail == "broke off in the middle of an answer"
    assert allows(life.state, MAIN, session="s", now=16.0).allowed
    assert life.swaps() == []
    for _ in range(2):
        life.fails(MAIN, Trouble.ERROR, 502, elsewhere=None, passed=True)
    assert life.swaps() == [SPARE]


def test_one_whose_answer_broke_off_is_asked_in_the_same_way() -> None:
    """At once, with a question like what failed: this may be how its streams end. When it
    answers well, later questions are ordinary ones."""
    life = Availability()
    life.fails(MAIN, Trouble.CUT, 502, elsewhere=None)
    assert life.asked() == []
    life.fails(MAIN, Trouble.CUT, 502, elsewhere=None, passed=True)
    like = [one.like for one in life.done if isinstance(one, e.Probe)]
    assert like == [{MAIN: Shape(stream=True, tokens=7)}]
    life.probed(MAIN)
    assert life.state.health[MAIN].shape is None
    assert not life.state.is_unavailable(MAIN)


def test_where_nobody_else_serves_a_broken_answer_refuses_nothing() -> None:
    """Nor where a person does not want to be moved."""
    life = Availability()
    for ref in (MAIN, SPARE, LONG, TWIN):
        life.fails(ref, Trouble.CUT, 502, elsewhere=None, passed=True)
    assert allows(life.state, MAIN, session="s", now=1.0).allowed
    stays = Availability()
    stays.fails(MAIN, Trouble.CUT, 502, elsewhere=None, passed=True)
    stopped = replace(stays.state, settings=Settings(on_trouble="stop"))
    assert allows(stopped, MAIN, session="s", now=1.0).allowed


def test_when_the_provider_wants_to_be_asked_again() -> None:
    """Its headers say so: a spent cap is not asked before."""
    life = Availability()
    life.fails(http=429, body="cap", headers={"Retry-After": "1800"}, elsewhere=None)
    assert life.state.health[MAIN].report.retry_at == DAWN + timedelta(seconds=1800)
    assert life.state.health[MAIN].probe_at == pytest.approx(1802.0)


def test_a_good_probe_does_not_clear_what_traffic_shows() -> None:
    """Four failures, a good probe, a fifth."""
    life = Availability()
    for _ in range(4):
        life.fails()
    life.probed(MAIN)
    life.fails()
    assert life.state.is_unavailable(MAIN)


def test_a_success_clears_it() -> None:
    """And an answer to a request sent before the trouble does not."""
    life = Availability()
    for _ in range(4):
        life.fails()
    life.serves()
    life.fails()
    assert not life.state.is_unavailable(MAIN)
    life.mono = 10.0
    life.fails(http=402)
    life.mono = 20.0
    life.serves(sent=5.0)
    assert breaker_of(life.state, MAIN) is Breaker.OPEN
    life.serves(sent=15.0)
    assert breaker_of(life.state, MAIN) is Breaker.HALF_OPEN


def tried(life: Availability) -> None:
    """MAIN fails its traffic, passes a probe, and one session begins to try it."""
    for _ in range(5):
        life.fails()
    life.post(e.SwapDone())
    life.mono = 310.0
    life.probed(MAIN)
    life.mono = 341.0
    life.serves(SPARE)  # there is traffic
    life.probed(MAIN)
    assert breaker_of(life.state, MAIN) is Breaker.HALF_OPEN
    life.post(e.TrialStarted(MAIN, "s"))


def test_a_trial_brings_it_back() -> None:
    """Two good probes do not; five served requests of one session do."""
    life = Availability()
    life.serves(SPARE)
    tried(life)
    life.done.clear()
    for _ in range(4):
        life.serves()
    assert breaker_of(life.state, MAIN) is Breaker.HALF_OPEN
    assert life.told() == []
    life.serves()
    assert life.told() == ["recovered"]
    assert breaker_of(life.state, MAIN) is Breaker.CLOSED
    assert life.swaps() == [MAIN]


def test_a_failed_trial_takes_a_longer_pause() -> None:
    """One failure, served elsewhere, is enough."""
    life = Availability()
    tried(life)
    life.serves()
    life.fails()
    assert breaker_of(life.state, MAIN) is Breaker.OPEN
    assert life.state.health[MAIN].probe_at == pytest.approx(341.0 + 600.0)
    assert life.swaps() == [SPARE]


def test_without_traffic_two_good_probes_are_enough() -> None:
    """Nobody is there to try it."""
    life = Availability()
    for _ in range(5):
        life.fails()
    life.mono = 1000.0
    life.probed(MAIN)
    life.mono = 1031.0
    life.probed(MAIN)
    assert breaker_of(life.state, MAIN) is Breaker.CLOSED


def test_the_log_tells_the_same_failure_again() -> None:
    """Within two minutes, of that model with that status, it counts nothing; nor does what the
    network's lines and a long silence say meanwhile; another status does."""
    life = Availability()
    life.fails()
    for _ in range(9):
        life.post(e.ProviderFailed("a", "main", 500, BODIES["oops"], life.now.wall))
        life.post(e.NetworkFailed("fetch failed"))
        life.post(e.UpstreamSilent())
    assert life.state.health[MAIN].failure_times == ()
    assert life.asked() == []
    for _ in range(5):
        life.post(e.ProviderFailed("a", "main", 503, BODIES["oops"], life.now.wall))
    assert life.state.is_unavailable(MAIN)


def test_what_the_egress_answers_for_an_open_breaker_is_no_news() -> None:
    """CCR logs it like an error of the provider: the model may still return."""
    life = Availability()
    life.fails(http=402)
    life.mono = 310.0
    life.probed(MAIN)
    life.post(e.ProviderFailed("a", "main", 402, BODIES["on-demand"], life.now.wall))
    life.fails(MAIN, Trouble.KNOWN, 402)
    life.fails(MAIN, Trouble.TRIAL, 402)
    assert breaker_of(life.state, MAIN) is Breaker.HALF_OPEN


def test_what_is_news() -> None:
    """A healthy model is heard of every 20 seconds; one in trouble with each request."""
    life = Availability()
    assert wants(life.state, MAIN, 0.0)
    assert not wants(life.state, ModelRef("a", "elsewhere"), 0.0)
    life.serves()
    assert not wants(life.state, MAIN, 19.0)
    assert wants(life.state, MAIN, 20.0)
    life.fails()
    assert wants(life.state, MAIN, 1.0)
    for _ in range(20):
        life.serves()
    assert not wants(life.state, MAIN, 1.0)


def test_a_model_that_nobody_has_asked_yet_is_news_once() -> None:
    """After an edit a model may serve before it is probed; then it is known."""
    life = Availability()
    health = {ref: one for ref, one in life.state.health.items() if ref != MAIN}
    life.state = replace(life.state, health=health)
    assert wants(life.state, MAIN, 0.0) is True
    assert wants(life.state, ModelRef("a", "elsewhere"), 0.0) is False
    life.serves()
    assert not wants(life.state, MAIN, 1.0)
    assert life.state.health[MAIN].report.ref == MAIN


def test_a_prompt_is_in_no_repr() -> None:
    """What a provider answered may repeat a prompt, or a key."""
    line = e.ProviderFailed("a", "main", 500, "the prompt", DAWN)
    tried = e.AttemptFailed(MAIN, Trouble.STATUS, 500, "the prompt", {}, DAWN, 1)
    assert "the prompt" not in f"{line}{tried}"


def test_who_has_just_served_is_suspected_no_more() -> None:
    """A wish waits for the answers of suspects, and this one has answered."""
    life = Availability()
    life.state = replace(life.state, suspects=frozenset({SPARE, LONG}))
    life.serves(SPARE)
    assert life.state.suspects == {LONG}


def test_a_request_served_ends_that_no_model_can_serve() -> None:
    """A passing trouble that probes showed: it is back at once. A dead one is half-open."""
    for status, after in (
        (Status.UNREACHABLE, Breaker.CLOSED),
        (Status.BILLING, Breaker.HALF_OPEN),
    ):
        life = Availability()
        for ref in (MAIN, SPARE, LONG, TWIN):
            life.probed(ref, status)
        before = life.state.phase
        life.post(e.SwapFailed("no"))
        assert (before, life.state.phase) == (Phase.SWAPPING, Phase.EXHAUSTED)
        life.mono = 50.0
        life.serves(MAIN)
        assert breaker_of(life.state, MAIN) is after
        assert life.state.phase is not Phase.EXHAUSTED


faults = st.sampled_from(
    [(400, "too-long"), (413, "oops"), (422, "oops"), (400, "dead-400"), (403, "key"), (400, "key")]
)
everywhere = st.sampled_from([(500, "oops"), (502, "page"), (429, "slow"), (408, "oops")])


@settings(max_examples=40)
@given(st.lists(st.tuples(faults, st.sampled_from([True, False, None])), max_size=60))
def test_a_requests_own_fault_moves_no_route(history: list[tuple[tuple[int, str], bool]]) -> None:
    """However often, on whichever model, whoever served it then."""
    life = Availability()
    for n, ((http, body), elsewhere) in enumerate(history):
        life.mono += 3.0
        life.fails((MAIN, SPARE)[n % 2], http=http, body=body, elsewhere=elsewhere)
    assert life.swaps() == []
    assert not any(life.state.is_unavailable(ref) for ref in (MAIN, SPARE, LONG, TWIN))


@settings(max_examples=40)
@given(st.lists(everywhere, max_size=60))
def test_what_fails_on_every_model_moves_no_route(history: list[tuple[int, str]]) -> None:
    """It is evidence against nobody: they are asked."""
    life = Availability()
    for http, body in history:
        life.mono += 3.0
        for elsewhere in (None, False):
            life.fails(MAIN, http=http, body=body, elsewhere=elsewhere)
            life.fails(SPARE, http=http, body=body, elsewhere=elsewhere, same_turn=True)
    assert life.swaps() == []
