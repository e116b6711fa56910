"""Long random histories of troubles: what never happens, and what happens in the end."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_world import DIES_OF, MODELS, PERSON, Move, World

from synccr.policy import events as e
from synccr.settings import Settings

BUDGET = float(os.environ.get("SYNCCR_TEST_SIMULATION", "0.5"))
"""How many times the usual amount of histories; ``scripts/test --rest`` takes four times this."""

DAY = 86_400.0
moves = st.lists(
    st.tuples(st.integers(0, 13), st.integers(0, 11), st.integers(0, 142)), min_size=1, max_size=60
)


def drawn(seed: int, count: int, *without: int) -> list[Move]:
    """Moves of one long history; no people, who repair what is stuck, if ``seed`` is odd."""
    chance = random.Random(seed)  # no secret
    left_out = {*without, *([PERSON] if seed % 2 else [])}
    kinds = [kind for kind in range(14) if kind not in left_out]
    return [
        (chance.choice(kinds), chance.randrange(12), chance.randrange(143)) for _ in range(count)
    ]


def ends_well(world: World) -> None:
    """All troubles end. Within a day (a provider may have said that long) the best
    configuration runs, and it stays."""
    world.heal_everything()
    for _ in range(100):
        world.let_pass(DAY / 96)
        if world.is_best():
            break
    assert world.is_best(), (world.state.phase, world.state.why)
    swaps = len(world.swaps)
    world.let_pass(DAY)
    assert world.is_best()
    assert len(world.swaps) == swaps


@settings(max_examples=int(100 * BUDGET), deadline=None)
@given(moves)
def test_what_never_happens(history: list[Move]) -> None:
    """See ``policy_world``: a route to a model known dead, too many swaps, two at once, work
    without end, a storm of probes; and all ends well when the troubles do."""
    world = World()
    world.play(history)
    ends_well(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(6 * BUDGET)))
def test_what_never_happens_in_months(seed: int) -> None:
    """The same over histories of months."""
    world = World()
    world.play(drawn(seed, 300))
    ends_well(world)


@pytest.mark.parametrize("seed", range(int(2 * BUDGET)))
@pytest.mark.parametrize(
    "short",
    [
        {"recovery_interval": 1.0, "swap_cooldown": 0.5},
        {"recovery_interval": 1.0, "recovery_interval_max": 60.0, "swap_cooldown": 1.0},
        {"swap_limit": 1, "trouble_count": 1},
        {"swap_cooldown": 0.0},
        {"recovery_interval": 7200.0, "recovery_interval_max": 60.0},
    ],
    ids=str,
)
def test_the_same_with_other_settings(short: dict[str, Any], seed: int) -> None:
    """What never happens does not depend on the numbers."""
    world = World(Settings(**short))
    # A CCR that dies of everything is tried every interval: a day of seconds takes too long.
    without = [DIES_OF] if short.get("recovery_interval") == 1.0 else []
    world.play(drawn(100 + seed, 80, *without))
    ends_well(world)


def test_without_a_cooldown_swaps_are_limited_too() -> None:
    """The model that serves fails, and then the next one: the second swap waits until 20
    seconds after the first."""
    world = World(Settings(swap_cooldown=0.0, swap_limit=1))
    world.let_pass(10.0)
    for _ in range(2):
        serving = world.state.current.scenario("default")
        world.trouble(MODELS.index(serving), 0)
        world.traffic(sorted(world.state.in_use).index(serving), 0)
        world.let_pass(5.0)
    assert len(world.swaps) == 1
    world.let_pass(20.0)
    assert len(world.swaps) == 2
    assert world.swaps[1] - world.swaps[0] == 20.0


@pytest.mark.parametrize("trick", range(4))
def test_a_profile_that_ccr_dies_of_is_left_for_the_other(trick: int) -> None:
    """Whether CCR dies as it comes up or a moment later: within two minutes the other profile
    serves; it is tried again ever more rarely, and serves when it can."""
    world = World()
    world._tricks = [trick]
    world.let_pass(10.0)
    world.dies_of(0, 1)
    world.let_pass(120.0)
    assert (world.state.alive, world.state.current.profile.role) == (True, "fallback")
    world.let_pass(DAY)
    assert len(world.swaps) < 2 * 30
    assert (world.state.alive, world.state.current.profile.role) == (True, "fallback")
    ends_well(world)


HOSTILE = (
    "Error from provider(a,main: 402): Your plan doesn't cover it, insufficient credit balance",
    "the model main does not exist; invalid API key; your quota is exhausted, try in 9 days",
    "main: 404): x",
)


@settings(max_examples=int(25 * BUDGET), deadline=None)
@given(moves, st.sampled_from(HOSTILE) | st.text(max_size=40))
def test_a_prompts_words_make_no_difference(history: list[Move], words: str) -> None:
    """The same history with other words in prompts, pages and names: the same is done."""
    plain, hostile = World(words="hello"), World(words=words)
    plain.play(history)
    hostile.play(history)
    assert hostile.done == plain.done


@settings(max_examples=int(12 * BUDGET), deadline=None)
@given(st.sampled_from(HOSTILE) | st.text(max_size=60), st.sampled_from([400, 403, 413, 422, 451]))
def test_a_provider_that_repeats_a_prompt_word_for_word_moves_nothing(
    words: str, http: int
) -> None:
    """However such a 4xx reads, and however often it comes in a day, the model is only asked."""
    world = World()
    for _ in range(80):
        world._post(e.ProviderFailed("a", "main", http, words, world.now.wall))
        world.let_pass(DAY / 80)
    assert world.swaps == []
    assert len(world.probes[MODELS[0]]) <= 80
    assert {action.split()[0] for _, action in world.done} <= {"Probe"}


def probes_of_a_day(words: list[e.PolicyEvent], pause: float) -> dict[str, int]:
    """How often each model is asked in a day when these events come at every pause."""
    world = World()
    world.let_pass(10.0)
    begin = world.mono
    while world.mono < begin + DAY:
        for event in words:
            world._post(event)
        world.let_pass(pause)
    return {str(ref): len(times) for ref, times in world.probes.items()}


@pytest.mark.slow
def test_how_often_a_person_can_make_synccr_ask() -> None:
    """Log lines that a prompt made ambiguous, all day long: each routed model is asked
    once in five minutes, as ``docs/policy.md`` says, and no other one ever."""
    unclear = e.UnclearFailure("a", ("main", "main: 402): x"))
    assert probes_of_a_day([unclear], 60.0) == {"a,main": 289, "a,long": 289}


def test_how_often_a_model_that_stays_away_is_asked() -> None:
    """As ``docs/policy.md`` says: 26 times on the first day, 24 on each day after it."""
    world = World()
    world.let_pass(10.0)
    world.trouble(0, 0)
    world.traffic(1, 0)
    world.let_pass(DAY)
    assert len(world.probes[MODELS[0]]) == 26
    world.let_pass(DAY)
    assert len(world.probes[MODELS[0]]) == 26 + 24
    assert set(world.probes) == {MODELS[0]}


def test_one_model_that_speaks_of_its_account_is_no_storm() -> None:
    """A provider that refuses one model for ever in the words of an account's trouble, while it
    serves the others, is asked about that model as about any other, and about those once."""
    world = World()
    world.let_pass(10.0)
    world.trouble(0, 2)
    world._post(e.UpstreamSilent())
    world.let_pass(DAY)
    asked = {ref.model: len(times) for ref, times in world.probes.items()}
    assert asked == {"main": 27, "long": 1, "spare": 1}
    assert len(world.swaps) == 1


def test_an_account_that_stays_away_is_asked_as_one_model() -> None:
    """A refused key: each model is asked once whether it shares the trouble; from then on one
    speaks for all of its provider."""
    world = World()
    world.let_pass(10.0)
    world.account_trouble(0, 1)
    world.traffic(1, 0)
    world.let_pass(DAY)
    assert sum(map(len, world.probes.values())) == 26 + 2
