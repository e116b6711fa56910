"""How many models are asked at one time."""

from __future__ import annotations

from dataclasses import replace

from policy_kit import DAWN, LOCAL, report

from synccr.config.profile import Profile
from synccr.config.reader import understand
from synccr.heal import heal
from synccr.models.report import ModelRef, Status
from synccr.policy import events as e
from synccr.policy.events import Now
from synccr.policy.machine import decide, start
from synccr.policy.plan import MAX_PROBES
from synccr.policy.state import PolicyState
from synccr.settings import Settings

MODELS = [f"m{number}" for number in range(2 * MAX_PROBES + 5)]


def wide() -> Profile:
    """A profile with many models."""
    provider = {"name": "a", "api_base_url": "https://a.test/v1", "api_key": "k" * 9}
    document = {
        "Providers": [{**provider, "models": MODELS}],
        "Router": {"default": f"a,{MODELS[0]}"},
    }
    return understand(document, "primary", "primary", {})


def suspicious() -> PolicyState:
    """Every model is to be asked."""
    profile, now = wide(), Now(0.0, DAWN)
    found = [report(ref, Status.OK, DAWN) for ref in profile.models()]
    known = {one.ref: one for one in found}
    healed = heal(profile, known, LOCAL)
    state = start(Settings(), profile, profile, healed, found, LOCAL, now)
    state, _ = decide(state, e.BackendReady(), now)
    return replace(state, suspects=frozenset(state.models))


def test_so_many_are_under_way_and_the_others_wait() -> None:
    """Each answer lets the next one be asked, until all were, each once."""
    state = suspicious()
    asked: list[ModelRef] = []
    event: e.PolicyEvent = e.WokeUp()
    for second in range(len(MODELS) + 2):
        now = Now(float(second), DAWN)
        state, actions = decide(state, event, now)
        asked += [ref for one in actions if isinstance(one, e.Probe) for ref in one.refs]
        assert len(state.probing) == min(MAX_PROBES, len(MODELS) - second)
        if not state.probing:
            break
        event = e.Probed((report(next(iter(state.probing)), Status.OK, DAWN),))
    assert sorted(asked) == sorted(state.models)


def test_an_answer_that_never_comes_lets_others_be_asked() -> None:
    """After twice the time of a probe and some seconds."""
    state, _ = decide(suspicious(), e.WokeUp(), Now(0.0, DAWN))
    first = set(state.probing)
    late = max(state.probing.values())
    state, _ = decide(state, e.WokeUp(), Now(late - 1, DAWN))
    assert set(state.probing) == first
    state, _ = decide(state, e.WokeUp(), Now(late, DAWN))
    assert len(state.probing) == MAX_PROBES
    assert not first & set(state.probing)
