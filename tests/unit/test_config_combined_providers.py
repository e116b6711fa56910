"""The providers of both profiles in one configuration, and a person's edits of it."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from synccr.config.combined_providers import Added, tell_apart
from synccr.config.edit_merge import merge
from synccr.config.profile import Local, Profile, interpolate, owner_order, probe_targets
from synccr.config.reader import understand
from synccr.heal import Healed, heal, heal_supervised
from synccr.models.report import ModelRef

ENVIRON = strategies.ENVIRON
LOCAL = Local(3456)


def entry(name: str, *models: str, **more: Any) -> dict[str, Any]:
    """One provider."""
    return {"name": name, "api_base_url": "https://a.test/v1", "api_key": "key-1"} | {
        "models": list(models),
        **more,
    }


def document(*providers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A profile whose default is the first model of the first provider."""
    first = f"{providers[0]['name']},{providers[0]['models'][0]}"
    return {"Providers": list(providers), "Router": {"default": first}} | more


def both(primary: dict[str, Any], fallback: dict[str, Any]) -> tuple[Profile, Profile]:
    """The two profiles as they are loaded."""
    first = understand(primary, "primary", "primary", ENVIRON)
    return first, tell_apart(first, understand(fallback, "fallback", "fallback", ENVIRON))


def names(config: Any) -> list[str]:
    """Of its providers."""
    return [provider["name"] for provider in config["Providers"]]


OTHER = {"api_base_url": "https://b.test/v1"}


def test_the_other_profiles_providers_come_after_its_own() -> None:
    """Whole and unchanged, whichever profile runs; routes lead to the profile's own."""
    theirs = entry("b", "x", **OTHER, api_key="$KEY_TWO")
    primary, fallback = both(document(entry("a", "m")), document(theirs))
    one = heal_supervised(primary, fallback, {}, LOCAL)
    assert one.config["Providers"] == [entry("a", "m"), theirs]
    assert one.added == Added(("b",))
    assert one.routes == {"default": ModelRef("a", "m")}
    two = heal_supervised(fallback, primary, {}, LOCAL)
    assert names(two.config) == ["b", "a"]
    assert names(heal(primary, {}, LOCAL).config) == ["a"]


@pytest.mark.parametrize(
    "more", [{"api_key": "key-2"}, OTHER, {"transformer": {"use": ["openrouter"]}}]
)
def test_one_name_two_accounts(more: dict[str, Any]) -> None:
    """Both are carried and both are asked, the fallback profile's under a name of its own."""
    theirs = document(entry("a", "m", **more), fallback={"think": ["a,m"]})
    primary, fallback = both(document(entry("a", "m")), theirs)
    assert probe_targets(primary, fallback) == (
        (primary.providers[0], "m"),
        (fallback.providers[0], "m"),
    )
    assert owner_order(primary, fallback) == (ModelRef("a", "m"), ModelRef("a@fallback", "m"))
    assert [warning.place for warning in fallback.warnings] == ["Providers[0].name"]
    healed = heal_supervised(fallback, primary, {}, LOCAL)
    assert names(healed.config) == ["a@fallback", "a"]
    assert healed.config["Router"] == {"default": "a@fallback,m"}
    assert fallback.fallbacks == {"think": (ModelRef("a@fallback", "m"),)}
    assert names(heal_supervised(primary, fallback, {}, LOCAL).config) == ["a", "a@fallback"]


def test_the_made_up_name_is_free() -> None:
    """Of each name in both profiles, without regard to case, as CCR looks names up."""
    mine = document(entry("A", "m"), entry("a@Fallback", "m"))
    _, fallback = both(mine, document(entry("a", "m", **OTHER), entry("a@fallback2", "m", **OTHER)))
    assert [p.name for p in fallback.providers] == ["a@fallback3", "a@fallback2"]


def test_one_account_with_two_lists_of_models() -> None:
    """One provider that lists all, its own first; no name is made up."""
    primary, fallback = both(document(entry("a", "m", "n")), document(entry("a", "o", "m")))
    healed = heal_supervised(primary, fallback, {}, LOCAL)
    assert healed.config["Providers"] == [entry("a", "m", "n", "o")]
    assert healed.added == Added(models={"a": ("o",)})
    assert heal_supervised(fallback, primary, {}, LOCAL).config["Providers"] == [
        entry("a", "o", "m", "n")
    ]


def test_a_provider_that_is_renamed_keeps_its_own_models() -> None:
    """Those of the other profile do not come along with the new name."""
    mine = document(entry("a", "m"))
    primary, fallback = both(mine, document(entry("a", "o")))
    healed = heal_supervised(primary, fallback, {}, LOCAL)
    edited = healed.config | document(entry("z", "m", "o"))
    found = merge(healed.config, edited, mine, {}, healed.added).document
    assert found == document(entry("z", "m"))


def test_where_synccr_sends_again_ccr_does_not() -> None:
    """No lists in the running configuration; the profile's are still the person's."""
    mine = document(entry("a", "m", "n"), fallback={"default": ["a,n"]}, LOG_LEVEL="error")
    primary, fallback = both(mine, document(entry("b", "x", **OTHER)))
    healed = heal_supervised(primary, fallback, {}, LOCAL)
    assert "fallback" not in healed.config
    assert [c.path for c in healed.changes] == ["Providers", "fallback"]
    written = healed.config
    assert merge(written, deepcopy(written), mine, {}, healed.added).document == mine
    edited = written | {"LOG_LEVEL": "warn"}
    assert merge(written, edited, mine, {}, healed.added).document == mine | {"LOG_LEVEL": "warn"}


accounts = st.fixed_dictionaries(
    {
        "api_base_url": st.sampled_from(["https://a.test/v1", "https://b.test/v1"]),
        "api_key": st.sampled_from(["$KEY_ONE", "${KEY_TWO}", "$UNSET_KEY", "sk-plain"]),
        "models": st.lists(st.sampled_from(strategies.MODELS), min_size=1, unique=True),
    },
    optional={"transformer": st.just({"use": ["openrouter"]}), "x": st.just([1])},
)


@st.composite
def documents(draw: st.DrawFn, *more: str) -> dict[str, Any]:
    """Profiles whose providers have few names, so that they clash; ``more`` providers come last."""
    known = draw(st.lists(st.sampled_from(["a", "A", "b c"]), min_size=1, unique=True))
    providers = [{"name": name, **draw(accounts)} for name in (*known, *more)]
    routes = st.sampled_from([f"{p['name']},{m}" for p in providers for m in p["models"]])
    router = draw(st.dictionaries(st.sampled_from(["default", "think", "codex"]), routes))
    lists = st.dictionaries(st.sampled_from(["default", "think"]), st.lists(routes | st.just("z")))
    return {"Providers": providers, "Router": router} | draw(
        st.sampled_from([{}, {"PORT": 4000}]) | st.builds(lambda f: {"fallback": f}, lists)
    )


@st.composite
def running(draw: st.DrawFn) -> tuple[dict[str, Any], Healed]:
    """The document of a profile, and what runs of it beside another one, which has one provider
    more."""
    at = draw(st.sampled_from([0, 1]))
    pair = [draw(documents()), draw(documents("more"))]
    profiles = both(*deepcopy(pair if at == 0 else pair[::-1]))
    healed = heal_supervised(profiles[at], profiles[1 - at], {}, LOCAL)
    return pair[0], healed


def as_the_page_saves(config: dict[str, Any]) -> dict[str, Any]:
    """A copy with the variables of providers replaced."""
    return config | {"Providers": json.loads(interpolate(json.dumps(config["Providers"]), ENVIRON))}


def merged(healed: Healed, edited: dict[str, Any], mine: dict[str, Any]) -> Any:
    """What the person's profile becomes; nothing that goes in is changed."""
    before = deepcopy((healed.config, edited, mine))
    record = Added.read(json.loads(json.dumps(asdict(healed.added))))
    assert record == healed.added
    found = merge(healed.config, edited, mine, ENVIRON, record).document
    assert (healed.config, edited, mine) == before
    return found


@given(running())
def test_what_nobody_edited_is_the_profile(found: tuple[dict[str, Any], Healed]) -> None:
    """Nothing that was added, renamed or left out is taken for an edit."""
    mine, healed = found
    assert merged(healed, deepcopy(healed.config), mine) == mine
    saved = as_the_page_saves(healed.config)
    assert merged(healed, saved, mine) == mine
    assert merge(healed.config, saved, mine, ENVIRON, healed.added).left_out == ()


@given(documents(), documents("more"))
def test_every_model_of_both_has_its_name(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Whichever profile runs; a name is one account, and the profile's own come first."""
    profiles = both(one, two)
    providers = {(p.name, p.url, p.key) for profile in profiles for p in profile.providers}
    assert len({name for name, _, _ in providers}) == len(providers)
    for profile, other in (profiles, profiles[::-1]):
        config = heal_supervised(profile, other, {}, LOCAL).config
        running = understand(config, "running", "primary", ENVIRON)
        assert {(p.name, p.url, p.key) for p in running.providers} == providers
        assert {*profile.models(), *other.models()} <= set(running.models())
        assert [p.name for p in running.providers[: len(profile.providers)]] == [
            p.name for p in profile.providers
        ]


@given(running(), st.data())
def test_an_edit_reaches_its_provider_only(
    found: tuple[dict[str, Any], Healed], data: st.DataObject
) -> None:
    """A model more or less, wherever the page puts the provider."""
    mine, healed = found
    edited = as_the_page_saves(deepcopy(healed.config))
    at = data.draw(st.integers(0, len(mine["Providers"]) - 1))
    edited["Providers"][at]["models"].insert(0, "new")
    edited["Providers"] = data.draw(st.permutations(edited["Providers"]))
    result = {p["name"]: p for p in merged(healed, edited, mine)["Providers"]}
    wanted = {p["name"]: p for p in deepcopy(mine["Providers"])}
    wanted[names(mine)[at]]["models"].insert(0, "new")
    assert result == wanted


@given(running(), st.data())
def test_order_insertion_and_deletion_are_kept(
    found: tuple[dict[str, Any], Healed], data: st.DataObject
) -> None:
    """As the person left their own providers, so they stand in the profile."""
    mine, healed = found
    edited = deepcopy(healed.config)
    own = edited["Providers"][: len(mine["Providers"])]
    kept = data.draw(st.lists(st.sampled_from(own), unique_by=lambda p: p["name"]))
    kept.insert(data.draw(st.integers(0, len(kept))), entry("new", "m"))
    edited["Providers"] = kept + edited["Providers"][len(own) :]
    by_name = dict(zip((p["name"] for p in own), mine["Providers"], strict=True))
    wanted = [by_name.get(p["name"], p) for p in kept]
    assert merged(healed, edited, mine)["Providers"] == wanted


@given(running(), st.data())
def test_what_was_added_is_never_adopted(
    found: tuple[dict[str, Any], Healed], data: st.DataObject
) -> None:
    """Edited, deleted or routed to: the profile stays, and the place is named."""
    mine, healed = found
    name = data.draw(st.sampled_from(healed.added.providers))
    edited = deepcopy(healed.config)
    at = names(edited).index(name)
    match data.draw(st.sampled_from(["edit", "delete", "route"])):
        case "edit":
            edited["Providers"][at]["api_key"] = "sk-new"
            place = f"Providers.{name}"
        case "delete":
            del edited["Providers"][at]
            place = f"Providers.{name}"
        case _:
            edited["Router"]["background"] = f"{name},x"
            place = "Router.background"
    assert merged(healed, edited, mine) == mine
    assert merge(healed.config, edited, mine, ENVIRON, healed.added).left_out == (place,)


def test_an_edit_beside_a_profile_that_changed_meanwhile() -> None:
    """Providers of the profile that are not written yet stay where they are."""
    written = document(entry("a", "m"), entry("b", "x"))
    edited = document(entry("a", "m"), entry("c", "z"), entry("b", "x", "y"))
    mine = document(entry("a", "m"), entry("d", "w"), entry("b", "x"))
    found = merge(written, edited, mine, {}).document
    assert found["Providers"] == [
        entry("a", "m"),
        entry("c", "z"),
        entry("d", "w"),
        entry("b", "x", "y"),
    ]


def test_two_entries_of_one_name_are_matched_by_place() -> None:
    """CCR would use the last; which one a person means cannot be told by the name."""
    written = document(entry("a", "m"), entry("a", "n"))
    edited = document(entry("a", "m"), entry("a", "o"))
    assert merge(written, edited, written, {}).document == edited


@pytest.mark.parametrize(
    "value", [None, [], "x", {"providers": 5, "models": [], "names": {"a": 1}}]
)
def test_a_record_of_an_earlier_version(value: object) -> None:
    """Nothing is known to have been added."""
    assert Added.read(value) == Added()
