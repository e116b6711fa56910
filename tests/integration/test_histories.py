"""Random histories of provider troubles, played against the installed program on the real CCR.

Time is compressed by the program's own settings. ``SYNCCR_TEST_EPISODES`` sets how many troubles
a history has (6: about a minute), ``SYNCCR_TEST_SEEDS`` which histories are played ("1,2,3").
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from home import KEY, LONG, MAIN, SPARE, Home, Running, message
from provider import FakeProvider

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.ccr("2.0.0", "3.1.1"),
]

EPISODES = int(os.environ.get("SYNCCR_TEST_EPISODES", "6"))
SEEDS = [int(seed) for seed in os.environ.get("SYNCCR_TEST_SEEDS", "1").split(",")]

TWIN = "vendor/twin-70b"
COOLDOWN, SWAP_LIMIT = 0.5, 6
SETTINGS = {
    "SYNCCR_RECOVERY_INTERVAL": "0.5",
    "SYNCCR_RECOVERY_INTERVAL_MAX": "2",
    "SYNCCR_SWAP_COOLDOWN": str(COOLDOWN),
    "SYNCCR_SWAP_LIMIT": str(SWAP_LIMIT),
    "SYNCCR_SILENCE_TIMEOUT": "2",
    "SYNCCR_PREFLIGHT_TIMEOUT": "3",
}
CARRIED = (
    *("billing", "no_quota", "missing", "unavailable", "auth", "spent_cap"),
    *("rate_limited", "server_error", "down", "overloaded", "bad_gateway"),
)
"""Troubles that CCR's in-flight fallback hides from a client, first request included."""
SEEN = ("html", "garbage", "reset", "never")
"""Troubles that a client may see until the model is left: it tries again, as Claude Code does."""
PATIENCE = 45.0
"""Seconds until the best configuration has to run after a trouble ended."""


@dataclass
class Clients:
    """Three clients that talk without a pause, one of them in long contexts."""

    url: str
    answered: int = 0
    again: int = 0
    lost: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def talking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._talk, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.done.set()
            for thread in threads:
                thread.join()

    def _talk(self, number: int) -> None:
        turn = 0
        with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=1)) as http:
            while not self.done.wait(0.05):
                turn += 1
                self._ask(http, f"n{number}x{turn}", long=number == 2)

    def _ask(self, http: httpx.Client, nonce: str, *, long: bool) -> None:
        body = message(nonce)
        if long:
            body["system"] = [{"type": "text", "text": "a long story. " * 2000}]
        said = ""
        for _ in range(60):
            try:
                answer = http.post(f"{self.url}/v1/messages", json=body)
                said = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code == 200 and _text(answer) == nonce:
                    self.answered += 1
                    return
            except httpx.HTTPError as error:
                self.lost.append(f"{nonce}: {error!r}")
                return
            self.again += 1
            time.sleep(0.5)
        self.lost.append(f"{nonce}: {said}")


def _text(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["content"][0]["text"])
    except (ValueError, LookupError):
        return answer.text


@dataclass
class History:
    """One drawn history."""

    home: Home
    running: Running
    acme: FakeProvider
    other: FakeProvider
    chance: random.Random
    hopeless: bool = False
    """There was a time when no model at all served."""

    def until_best(self) -> dict[str, Any]:
        """Wait until its owner's first choices serve again, and all others stand by."""

        def best() -> bool:
            status = self.home.status()
            routes = status.get("routes", {})
            return (
                (status.get("state"), status.get("profile")) == ("running", "primary")
                and routes["default"] == f"acme,{MAIN}"
                and routes["longContext"] == f"acme,{LONG}"
                and all(model["status"] == "ok" for model in status["models"])
            )

        self.running.until(best, PATIENCE)
        return self.home.status()

    def episode(self, troubles: tuple[str, ...]) -> None:
        """One or two troubles, perhaps one after the other; then all is well again."""
        down = set()
        for _ in range(self.chance.choice((1, 1, 2))):
            trouble = self.chance.choice(troubles)
            where = self.chance.choice((MAIN, MAIN, LONG, SPARE, "acme", TWIN))
            if where == "acme":
                for model in (MAIN, SPARE, LONG):
                    self.acme.set(model, trouble)
            elif where == TWIN:
                self.other.set(TWIN, trouble)
            else:
                self.acme.set(where, trouble)
            down |= {MAIN, SPARE, LONG} if where == "acme" else {where}
            self.hopeless |= down == {MAIN, SPARE, LONG, TWIN}
            time.sleep(self.chance.uniform(0.5, 4.0))
        for model in (MAIN, SPARE, LONG):
            self.acme.set(model, "ok")
        self.other.set(TWIN, "ok")


@contextmanager
def playing(home: Home, seed: int) -> Iterator[tuple[History, Clients]]:
    """The program on two providers, with clients that talk through it."""
    home.env |= SETTINGS
    acme = FakeProvider({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=KEY)
    with acme, FakeProvider({TWIN: "ok"}, key=KEY) as other:
        document = home.use(acme)
        row = {"name": "other", "api_base_url": other.url("openai"), "api_key": "$ACME_KEY"}
        document["Providers"].append(row | {"models": [TWIN]})
        document["Router"]["longContextThreshold"] = 3000
        home.write("ccr-config.json", document)
        chance = random.Random(seed)  # no secret
        with home.running() as running:
            clients = Clients(running.url)
            with clients.talking():
                yield History(home, running, acme, other, chance), clients


def never_flapped(home: Home, episodes: int) -> None:
    """Within the limits always, and in all no more moves than troubles explain."""
    swaps = [datetime.fromisoformat(entry["at"]).timestamp() for entry in home.events("swapped")]
    for swap in swaps:
        window = [t for t in swaps if swap <= t < swap + 20 * COOLDOWN]
        assert len(window) <= SWAP_LIMIT, json.dumps(home.events(), indent=1)
    assert len(swaps) <= 4 * episodes, json.dumps(home.events(), indent=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_troubles_that_no_client_sees(home: Home, seed: int) -> None:
    """Errors with a status: while one model serves, every request is answered rightly at the
    first try; after each trouble the best configuration returns by itself and stays."""
    episodes = max(1, EPISODES * 2 // 3)
    with playing(home, seed) as (history, clients):
        for number in range(episodes):
            history.episode(CARRIED)
            history.until_best()
            assert clients.lost == [], f"episode {number}"
            assert clients.again == 0 or history.hopeless, f"episode {number}"
        swaps = history.home.status()["swaps"]
        time.sleep(5 * COOLDOWN)
        assert history.until_best()["swaps"] == swaps
    assert clients.lost == []
    assert clients.answered > 20 * episodes
    never_flapped(home, episodes)


@pytest.mark.parametrize("seed", SEEDS)
def test_troubles_that_have_no_status(home: Home, seed: int) -> None:
    """Pages, garbage, resets and silence: a client that tries again gets its answer, no
    connection is cut, and the best configuration returns."""
    episodes = max(1, EPISODES // 3)
    with playing(home, seed) as (history, clients):
        for _ in range(episodes):
            history.episode((*SEEN, "billing"))
            history.until_best()
    assert clients.lost == []
    never_flapped(home, episodes)
