"""Profiles on two providers, both called ``acme``: one running CCR knows both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from home import KEY, MAIN, SPARE, Home, message, profile
from load import said
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]

OTHER_KEY = "canary-of-another-account-51c0"


@pytest.fixture
def other() -> Iterator[FakeProvider]:
    """Another account, with another address and key; it has the spare model only."""
    with FakeProvider({SPARE: "ok"}, key=OTHER_KEY) as provider:
        yield provider


@pytest.fixture
def fallback(home: Home, provider: FakeProvider, other: FakeProvider) -> dict[str, Any]:
    """The fallback profile; the primary has the main model of the first account only."""
    document = home.use(provider, Router={"default": f"acme,{MAIN}"})
    document["Providers"][0]["models"] = [MAIN]
    home.write("ccr-config.json", document)
    home.env |= {"OTHER_KEY": OTHER_KEY}
    wish = profile(other.url("openai"), home.port, Router={"default": f"acme,{SPARE}"})
    wish["Providers"][0] |= {"api_key": "$OTHER_KEY", "models": [SPARE]}
    home.write("ccr-config-fallback.json", wish)
    return wish


def ask(url: str, nonce: str, model: str = "claude-sonnet-4") -> str | None:
    """The answer's text."""
    answer = httpx.post(f"{url}/v1/messages", json=message(nonce, model=model), timeout=60)
    assert answer.status_code == 200, answer.text
    return said(answer.content, stream=False)


def written(home: Home) -> dict[str, Any]:
    """What runs."""
    found: dict[str, Any] = json.loads((home.ccr / "config.json").read_bytes())
    return found


def owned(home: Home, name: str) -> dict[str, Any]:
    """A profile of the person's."""
    found: dict[str, Any] = json.loads((home.config / name).read_bytes())
    return found


def edit(home: Home, **router: str) -> None:
    """As CCR's page saves: keys in clear, a model more at the first provider, routes."""
    config = written(home)
    own, added = config["Providers"]
    own["models"].append("vendor/new")
    for entry in (own, added):
        entry["api_key"] = {"$ACME_KEY": KEY, "$OTHER_KEY": OTHER_KEY}[entry["api_key"]]
    config["Router"] |= router
    (home.ccr / "config.json").write_text(json.dumps(config))


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_both_accounts_are_there_whichever_profile_runs(
    home: Home, provider: FakeProvider, other: FakeProvider, fallback: dict[str, Any]
) -> None:
    """Status knows the models of both; a request may name either; an edit of what runs lands in
    its profile, where the other account and its made-up name never come."""
    primary = owned(home, "ccr-config.json")
    with home.running() as running:
        models = {(row["provider"], row["model"]) for row in home.status()["models"]}
        assert models == {("acme", MAIN), ("acme@fallback", SPARE)}
        assert [p["name"] for p in written(home)["Providers"]] == ["acme", "acme@fallback"]
        assert ask(running.url, "first") == "first"
        assert ask(running.url, "named", f"acme@fallback,{SPARE}") == "named"
        assert other.requests(model=SPARE)[-1].key_ok

        edit(home, background=f"acme,{MAIN}")
        running.until(lambda: "background" in home.status()["routes"])
        primary["Providers"][0]["models"].append("vendor/new")
        primary["Router"]["background"] = f"acme,{MAIN}"
        assert owned(home, "ccr-config.json") == primary
        assert owned(home, "ccr-config-fallback.json") == fallback

        provider.set(MAIN, "billing")
        assert ask(running.url, "meanwhile") == "meanwhile"
        running.until_profile("fallback")
        provider.set(MAIN, "ok")
        home.run("swap", "fallback")
        assert home.status()["routes"]["default"] == f"acme@fallback,{SPARE}"
        assert [p["name"] for p in written(home)["Providers"]] == ["acme@fallback", "acme"]
        assert ask(running.url, "elsewhere") == "elsewhere"
        assert ask(running.url, "back", f"acme,{MAIN}") == "back"

        edit(home, think=f"acme@fallback,{SPARE}")
        running.until(lambda: "think" in home.status()["routes"])
        fallback["Providers"][0]["models"].append("vendor/new")
        fallback["Router"]["think"] = f"acme,{SPARE}"
        assert owned(home, "ccr-config-fallback.json") == fallback
        assert owned(home, "ccr-config.json") == primary


@pytest.mark.ccr("1.0.73")
def test_version_1_takes_the_made_up_name(
    home: Home, other: FakeProvider, fallback: dict[str, Any]
) -> None:
    """CCR 1.0.73 finds both accounts by their names. An edit of what belongs to the other profile
    is said not to be taken, and no file of the person's is changed."""
    before = owned(home, "ccr-config.json")
    with home.running() as running:
        assert ask(running.url, "own", f"acme,{MAIN}") == "own"
        assert ask(running.url, "named", f"acme@fallback,{SPARE}") == "named"
        config = written(home)
        config["Providers"][1]["models"].append("vendor/new")
        (home.ccr / "config.json").write_text(json.dumps(config))
        running.until(lambda: any("Not taken" in entry["text"] for entry in home.events("edited")))
    assert (owned(home, "ccr-config.json"), owned(home, "ccr-config-fallback.json")) == (
        before,
        fallback,
    )
    assert other.requests(model=SPARE)[-1].key_ok
