"""Requests that are at fault themselves, models that are all in trouble, and ways out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from home import LONG, MAIN, SPARE, Home, Running, message
from load import said
from provider import FakeProvider, status
from ways import ServingThread, SocksProxy

pytestmark = [pytest.mark.integration, pytest.mark.ccr("2.0.0", "3.1.1")]

ALL = (MAIN, SPARE, LONG)


def ask(running: Running, nonce: str, *, stream: bool = False) -> httpx.Response:
    body = message(nonce, stream=stream)
    return httpx.post(f"{running.url}/v1/messages", json=body, timeout=60, trust_env=False)


def asked(provider: FakeProvider, nonce: str) -> list[str]:
    return [r.model for r in provider.requests() if f"echo:{nonce}".encode() in r.raw]


def everywhere(provider: FakeProvider, behaviour: Any) -> None:
    for model in ALL:
        provider.set(model, behaviour)


def test_a_request_at_fault_gets_the_first_models_words(home: Home, provider: FakeProvider) -> None:
    """One other model is asked, of a request that is too long none; no route moves."""
    home.use(provider)
    long = "This model's maximum context length is 32768 tokens. However, you requested 40000"
    with home.running() as running:
        for http, words, models in (
            (400, "Invalid value for 'temperature'", [MAIN, SPARE]),
            (422, "Unprocessable: messages[0].content", [MAIN, SPARE]),
            (413, "Request too large", [MAIN]),
            (400, long, [MAIN]),
        ):
            for model in ALL:
                provider.set(model, status(http, f"{words} ({model})"))
            for stream in (False, True):
                nonce = f"fault-{http}-{len(words)}-{stream}"
                answer = ask(running, nonce, stream=stream)
                assert answer.status_code == http
                assert answer.json()["type"] == "error"
                assert answer.json()["error"]["message"] == f"{words} ({MAIN})"
                assert asked(provider, nonce) == models
        everywhere(provider, "ok")
        assert ask(running, "well").headers["x-synccr-model"] == f"acme,{MAIN}"
        assert home.status()["swaps"] == 0


@pytest.mark.parametrize(
    ("behaviour", "http", "retry_after"),
    [
        (402, 402, None),
        (status(429, "slow down", headers={"retry-after": "7"}), 429, "7"),
        (503, 529, None),
        ("reset", 529, None),
    ],
)
def test_nothing_serves_and_then_the_next_request_is_served(
    home: Home, provider: FakeProvider, behaviour: Any, http: int, retry_after: str | None
) -> None:
    """The status ends the client's wait or says when to come back; what is over is seen by the
    next request of a person."""
    home.use(provider)
    with home.running() as running:
        everywhere(provider, behaviour)
        for number in range(4):
            answer = ask(running, f"down-{number}", stream=number % 2 == 1)
            assert answer.status_code == http, answer.text
            assert answer.headers.get("retry-after") == retry_after
            assert answer.json()["error"]["message"].startswith("No model answered. ")
        everywhere(provider, "ok")
        for stream in (True, False):
            nonce = f"up-again-{stream}"
            assert said(ask(running, nonce, stream=stream).content, stream=stream) == nonce


TAG = f"<CCR-SUBAGENT-MODEL>acme,{LONG}</CCR-SUBAGENT-MODEL>be brief"
WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "default": (MAIN, {}),
    "haiku": (SPARE, {"model": "claude-haiku-4-5-20251001"}),
    "long": (LONG, {"system": [{"type": "text", "text": "a long story. " * 2000}]}),
    "named": (SPARE, {"model": f"acme,{SPARE}"}),
    "subagent": (LONG, {"system": [{"type": "text", "text": t} for t in ("one", TAG)]}),
}
"""How a request comes to a model that is not the default one."""


def test_each_way_to_a_model_and_on_from_it(home: Home, provider: FakeProvider) -> None:
    """From the client to the provider; and to the next model, once, when that one fails."""
    router = {"default": MAIN, "background": SPARE, "longContext": LONG}
    routes: dict[str, Any] = {name: f"acme,{model}" for name, model in router.items()}
    home.use(provider, Router={**routes, "longContextThreshold": 3000})
    with home.running() as running:
        for way, (model, more) in WAYS.items():
            answer = ask_with(running, f"to-{way}", more)
            assert asked(provider, f"to-{way}") == [model]
            assert answer.headers["x-synccr-model"] == f"acme,{model}"
        for way in ("haiku", "subagent"):  # a model each, since one that failed rests
            model, more = WAYS[way]
            provider.set(model, 503, times=1)
            answer = ask_with(running, f"on-{way}", more)
            first, other = asked(provider, f"on-{way}")
            assert (first, other != model) == (model, True)
            assert answer.headers["x-synccr-model"] == f"acme,{other}"


def ask_with(running: Running, nonce: str, more: Mapping[str, Any]) -> httpx.Response:
    """A request that is answered with its own nonce."""
    body = {**message(nonce), **more}
    answer = httpx.post(f"{running.url}/v1/messages", json=body, timeout=60, trust_env=False)
    assert said(answer.content, stream=False) == nonce
    return answer


@pytest.mark.ccr("2.0.0", "1.0.73", "3.1.1")
def test_a_socks_proxy_of_the_profile(home: Home, provider: FakeProvider) -> None:
    """CCR's own agent refuses such a proxy, and every request with it; the egress uses it, and
    an edit of CCR's configuration leaves it in the profile."""
    proxy = SocksProxy()
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(ServingThread())
        address = f"socks5://me:word@127.0.0.1:{servers.open(proxy).port}"
        home.use(provider, PROXY_URL=address)
        running = stack.enter_context(home.running())
        before = len(proxy.asked)
        assert said(ask(running, "through-it").content, stream=False) == "through-it"
        assert len(proxy.asked) > before
        config = home.ccr / "config.json"
        document = json.loads(config.read_text())
        assert "PROXY_URL" not in document
        config.write_text(json.dumps({**document, "API_TIMEOUT_MS": 12345}))
        profile = home.config / "ccr-config.json"
        running.until(lambda: "12345" in profile.read_text())
        assert json.loads(profile.read_text())["PROXY_URL"] == address


def test_ccr_killed_with_a_request_held(home: Home, provider: FakeProvider) -> None:
    """Nothing of its answer had been passed on: the next CCR gets it."""
    home.use(provider)
    with home.running() as running, ThreadPoolExecutor(2) as pool:
        ccr = home.status()["ccr"]["pid"]
        provider.set(MAIN, {"delay": 50.0}, times=2)
        held = [pool.submit(ask, running, f"held-{n}", stream=bool(n)) for n in range(2)]
        running.until(lambda: all(asked(provider, f"held-{n}") for n in range(2)))
        os.kill(ccr, signal.SIGKILL)
        for number, answer in enumerate(held):
            content = answer.result().content
            assert said(content, stream=bool(number)) == f"held-{number}"


def test_sixty_clients_while_the_main_model_is_out_of_credit(
    home: Home, provider: FakeProvider
) -> None:
    """Each gets its own answer."""
    home.use(provider)
    with home.running() as running, ThreadPoolExecutor(60) as pool:
        provider.set(MAIN, 402)
        began = time.monotonic()
        answers = [pool.submit(ask, running, f"many-{n}", stream=n % 2 == 1) for n in range(120)]
        for number, answer in enumerate(answers):
            content = answer.result().content
            assert said(content, stream=number % 2 == 1) == f"many-{number}"
        assert time.monotonic() - began < 60
