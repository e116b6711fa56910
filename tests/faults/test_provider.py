"""A provider that is slow, silent, lying, cutting or away."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger, Traffic
from home import LONG, MAIN, SPARE, Home, message
from provider import FakeProvider

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]

LIES: dict[str, Any] = {
    "slow": {"preset": "ok", "delay": 3.0},
    "silent": {"kind": "never"},
    "200 with an error body": {
        "kind": "reply",
        "status": 200,
        "body": {"error": {"message": "insufficient credit balance", "code": 402}},
    },
    "200 with a page": {"kind": "reply", "status": 200, "body": "<html>busy</html>"},
    "cutting": {"kind": "cut"},
    "resetting": {"kind": "reset"},
    "an error in the stream": {"kind": "stream_error"},
    "slow to the end": {"preset": "ok", "chunk_delay": 1.0},
    "200 with nothing": {"kind": "reply", "status": 200, "body": ""},
    "teapot": 418,
    "broken": 500,
    "overloaded": 529,
}


@kit.cases(
    "name",
    list(LIES)[: None if FULL else 7],
    ["silent", "an error in the stream"],
)
def test_a_bad_provider(home: Home, provider: FakeProvider, ledger: Ledger, name: str) -> None:
    """Whatever the main model's provider does: the router lives, other routes are answered,
    nothing is broken, and as soon as the provider is well again so is every answer."""
    home.env |= {
        "SYNCCR_SILENCE_TIMEOUT": "2",
        "SYNCCR_RECOVERY_INTERVAL": "1",
        "SYNCCR_RECOVERY_INTERVAL_MAX": "1",
        "SYNCCR_SWAP_COOLDOWN": "0.5",
        "SYNCCR_PREFLIGHT_TIMEOUT": "5",
    }
    home.use(provider)
    supervisor = kit.start(home)
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    try:
        with ledger.fault(f"provider: {name}"):
            provider.set(MAIN, LIES[name])
            with httpx.Client(timeout=6) as http:
                for turn in range(6):
                    try:
                        http.post(url, json=message(f"t{turn}", stream=bool(turn % 2)))
                    except httpx.HTTPError:
                        ledger.requests["cut"] += 1
                for model in (SPARE, LONG):
                    answer = http.post(url, json=message("x", model=f"acme,{model}"))
                    assert (answer.status_code, kit.whole(answer)) == (200, "x")
            assert kit.status(home)["state"] in ("running", "degraded", "swapping")
            kit.assert_whole(home, ended=False)
            provider.set(MAIN, "ok")
            kit.until(lambda: kit.status(home)["state"] == "running", 40, "all is well")
            with Traffic(home) as traffic:
                kit.until(lambda: traffic.outcomes.total() > 10, 60, "traffic")
            ledger.requests += traffic.outcomes
            assert traffic.outcomes["lost"] == 0, traffic.wrong
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)
