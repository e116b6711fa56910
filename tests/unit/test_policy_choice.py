"""Where to go, and the words that explain it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from policy_kit import DAWN, LOCAL, Player, profile, profiles, report

from synccr.heal import Healed
from synccr.models.report import ModelRef, Report, Status
from synccr.policy import events as e
from synccr.policy.choice import Choice, choose
from synccr.policy.machine import decide


def known(**states: str) -> dict[ModelRef, Report]:
    """``a_main="quota+7200"`` is a report on ``a,main``."""
    reports = {}
    for name, found in states.items():
        ref = ModelRef(*name.split("_"))
        status, _, seconds = found.partition("+")
        until = DAWN + timedelta(seconds=float(seconds)) if seconds else None
        reports[ref] = report(ref, Status(status), DAWN, retry_at=until)
    return reports


def chosen(current: Healed | None = None, **states: str) -> Choice:
    """The choice, all models not named being well."""
    choice = choose(*profiles(), known(**states), LOCAL, current)
    assert choice is not None
    return choice


def running() -> Healed:
    """What runs when all is well."""
    return chosen().healed


@pytest.mark.parametrize(
    ("states", "why"),
    [
        (
            {},
            (
                "primary serves a,main, its owner's first choice; "
                "fallback would serve a,spare for default, which its owner prefers less"
            ),
        ),
        (
            {"a_main": "billing"},
            (
                "fallback serves a,spare; a,main is away (billing); "
                "primary would serve a,long for longContext, which its owner prefers less"
            ),
        ),
        (
            {"a_long": "missing"},
            (
                "primary serves a,main, its owner's first choice; "
                "route longContext leads to a,main, because a,long is away (missing); "
                "fallback would serve a,spare for default, which its owner prefers less"
            ),
        ),
        (
            {"a_main": "quota+7200", "a_spare": "auth", "a_long": "auth"},
            (
                "fallback serves b,twin; a,main is away (quota until 2026-01-01 02:00 UTC); "
                "a,spare is away (auth); "
                "route longContext leads to b,twin, because a,spare is away (auth); "
                "primary has no model that can serve"
            ),
        ),
    ],
    ids=["all well", "main away", "long context away", "account away"],
)
def test_a_choice_names_all_that_was_passed_over(states: dict[str, str], why: str) -> None:
    """Each model that its owner prefers, each route that moved, the other profile; and why."""
    assert chosen(running(), **states).why == why


def test_between_equals_what_serves_stays() -> None:
    """Two profiles that would serve the same: at the start the primary, then whatever runs."""
    one, two = profile("primary", default="a,main"), profile("fallback", default="a,main")
    first = choose(one, two, {}, LOCAL, None)
    assert first is not None
    assert first.healed.profile.role == "primary"
    assert first.why.endswith("fallback would serve the same models")
    runs = choose(two, two, {}, LOCAL, None)
    assert runs is not None
    second = choose(one, two, {}, LOCAL, runs.healed)
    assert second is not None
    assert second.healed.profile.role == "fallback"


def test_between_equals_trouble_while_running_leads_to_the_fallback() -> None:
    """Its owner wrote it for this."""
    one = profile("primary", default="a,main", fallback="a,spare")
    two = profile("fallback", default="a,spare")
    start = choose(one, two, {}, LOCAL, None)
    assert start is not None
    found = choose(one, two, known(a_main="billing"), LOCAL, start.healed)
    assert found is not None
    assert (found.healed.profile.role, str(found.healed.routes["default"])) == (
        "fallback",
        "a,spare",
    )


def test_a_configuration_that_did_not_come_up_is_named() -> None:
    """What is avoided says so."""
    from synccr.policy.choice import digest

    best = chosen()
    other = choose(*profiles(), {}, LOCAL, best.healed, {digest(best.healed)})
    assert other is not None
    assert other.why.endswith("primary did not come up just now")


def test_exhausted_says_once_what_to_do() -> None:
    """Which models are in which trouble, the key to check, and until when to wait."""
    player = Player()
    spent = "10.5 > probed a.main=quota!+7200 a.spare=quota! a.long=quota!"
    player.play(f"0 > ready\n10 > a.main 429 cap\n{spent}\n12 > swapped")
    failed = e.ProviderFailed("b", "twin", 401, "wrong key", player.now.wall)
    state, actions = decide(player.state, failed, player.now)
    tells = [action for action in actions if isinstance(action, e.Tell)]
    assert [tell.kind for tell in tells] == ["error_seen", "exhausted"]
    assert tells[1].text == (
        "No model can serve now (a,main quota; a,spare quota; b,twin auth; a,long quota); "
        "CCR stays up and synccr keeps probing."
    )
    assert tells[1].todo == (
        "Check the provider's key. "
        "Wait until 2026-01-01 02:00 UTC, when the quota renews, or upgrade."
    )
    assert state.why.startswith("no model can serve: a,main quota")


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (
            "10 > pin fallback",
            "fallback was asked for; fallback serves a,spare, its owner's first choice",
        ),
        (
            (
                "10 > pin fallback\n11 > swapped\n20 > b.twin 401 key\n21 > swapped\n"
                "60 > a.? 401 key\n61 > probed a.main=auth! a.spare=auth! a.long=auth!"
            ),
            "no model can serve: ",
        ),
    ],
)
def test_a_persons_wish_is_part_of_the_reason(history: str, why: str) -> None:
    """``status`` says that a profile runs because it was asked for."""
    player = Player()
    player.play(f"0 > ready\n{history}")
    assert player.state.why.startswith(why)
