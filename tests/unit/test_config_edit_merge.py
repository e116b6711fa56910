"""A person's edits of the written configuration, carried over to the profile."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from synccr.config.edit_merge import merge

PROFILE: dict[str, Any] = {
    "Providers": [{"name": "a", "api_key": "$KEY", "models": ["m", "n"]}],
    "Router": {"default": "a,m"},
}
WRITTEN: dict[str, Any] = {
    "Providers": [{"name": "a", "api_key": "$KEY", "models": ["m", "n"]}],
    "Router": {"default": "a,n"},
    "LOG_LEVEL": "error",
    "fallback": {"default": ["a,m"]},
}


def edited(**changes: Any) -> dict[str, Any]:
    return deepcopy(WRITTEN) | changes


def test_nothing_edited_changes_nothing() -> None:
    """What healing wrote does not become the profile's."""
    assert merge(WRITTEN, deepcopy(WRITTEN), PROFILE, {}).document == PROFILE


def test_an_added_route_is_taken_and_a_healed_one_is_not() -> None:
    """Only the difference is the person's: the moved default stays the owner's."""
    router = {"default": "a,n", "background": "a,n"}
    merged = merge(WRITTEN, edited(Router=router), PROFILE, {}).document
    assert merged == PROFILE | {"Router": {"default": "a,m", "background": "a,n"}}


def test_a_changed_value_and_a_removed_key() -> None:
    """A person may overrule what healing wrote, and take away what it added."""
    after = edited(LOG_LEVEL="info")
    del after["fallback"]
    assert merge(WRITTEN, after, PROFILE, {}).document == PROFILE | {"LOG_LEVEL": "info"}


def test_a_key_that_the_page_replaced_goes_back_to_its_name() -> None:
    """CCR's page saves the value of ``$KEY``; it never reaches a profile."""
    providers = [
        {"name": "a", "api_key": "secret-value", "models": ["m", "n"]},
        {"name": "b", "api_key": "secret-value", "models": ["o"]},
    ]
    merged = merge(WRITTEN, edited(Providers=providers), PROFILE, {"KEY": "secret-value"}).document
    assert [p["api_key"] for p in merged["Providers"]] == ["$KEY", "$KEY"]


def placeholder(name: str) -> str:
    """One of some process that is no more."""
    return f"synccr.{name}.0123456789abcdef01234567"


def test_a_placeholder_goes_back_to_its_name() -> None:
    """A page that saved placeholders edited nothing by that, whoever made them."""
    providers = [{"name": "a", "api_key": placeholder("KEY"), "models": ["m", "n"]}]
    assert merge(WRITTEN, edited(Providers=providers), PROFILE, {"KEY": "v"}).document == PROFILE
    providers = [*providers, {"name": "b", "api_key": placeholder("NEW"), "models": ["o"]}]
    merged = merge(WRITTEN, edited(Providers=providers), PROFILE, {}).document
    assert [p["api_key"] for p in merged["Providers"]] == ["$KEY", "$NEW"]


def test_a_placeholder_goes_back_to_how_it_was_written() -> None:
    """Braces, words around it, values beside it, and another name for the same key are kept."""
    environ = {"HOST": "http://h", "A": "same", "B": "same"}
    texts = ["Bearer ${A}", "$B", "$HOST/v1?key=${B}x", "plain"]
    saved = [
        f"Bearer {placeholder('A')}",
        placeholder("B"),
        f"http://h/v1?key={placeholder('B')}x",
        "plain",
    ]
    document = {"Providers": texts, "PORT": 1}
    assert merge(document, {"Providers": saved, "PORT": 2}, document, environ).document == {
        "Providers": texts,
        "PORT": 2,
    }
