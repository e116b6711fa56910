"""What a supervisor answers while it starts, and what it refuses in every stage."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from synccr.ccr.generations import V3
from synccr.ccr.loss import Loss
from synccr.ccr.package import Package
from synccr.config.profile import Local
from synccr.errors import RuntimeMissing, SynccrError, UsageError
from synccr.models.report import ModelRef
from synccr.proxy.framing import Head
from synccr.settings import Settings
from synccr.supervisor.starting import Starting
from synccr.turns.trace import TraceLog

Answer = Callable[[], Awaitable[object]]
KEY = "sk-canary-0123456789abcdef"


@pytest.fixture
def stage() -> Starting:
    """One that starts, on port 3456, with a key for clients."""
    source = SimpleNamespace(source="x.json")
    profiles = SimpleNamespace(primary=source, fallback=source, local=Local(3456, "$LOCAL_KEY"))
    return Starting(
        cast(
            "Any",
            SimpleNamespace(
                context=SimpleNamespace(
                    environ={"LOCAL_KEY": KEY}, given={"config": None}, started_at="then"
                ),
                config=SimpleNamespace(settings=Settings(), profiles=profiles),
                tracing=SimpleNamespace(log=TraceLog()),
                endpoint="http://127.0.0.1:3456",
                packages=lambda settings: SimpleNamespace(named=settings.ccr_version),
            ),
        )
    )


def asked(**headers: str) -> Any:
    """A request of CCR's page."""
    head = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return SimpleNamespace(head=cast("Head", head))


async def test_status_from_the_first_moment(stage: Starting) -> None:
    """With the contract's keys."""
    found = await stage.answer("status", {})
    assert (found["state"], found["endpoint"]) == ("starting", "http://127.0.0.1:3456")
    assert found["supervisor"] == {"pid": os.getpid(), "started_at": "then"}
    assert found["ccr"]["version"] == Settings().ccr_version
    assert found["options"] == {"config": None, "port": 3456, "log_level": None}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_ccr_does_otherwise_is_said_in_one_line(stage: Starting, count: int) -> None:
    """And where more of it is."""
    told: list[tuple[Any, ...]] = []
    parts = cast("Any", stage.parts)
    parts.tell = lambda *words: told.append(words)
    package = Package("3.1.1", ("node",), None, V3)
    losses = [Loss("place", f"what {n}", "so") for n in range(count)]
    stage.report_losses(package, losses)
    things = {1: "1 thing", 2: "2 things"}
    wanted = f"Claude Code Router 3.1.1 does {things.get(count)} of the profiles otherwise."
    todo = "See: synccr doctor ccr.translation"
    assert told == ([("translation", wanted, todo, False)] if count else [])


async def test_a_client_gets_the_key_of_the_port(stage: Starting) -> None:
    """Not the name that stands for it."""
    assert (await stage.answer("client", {}))["token"] == KEY


@pytest.mark.parametrize("verb", ["swap", "restart"])
async def test_too_early(stage: Starting, verb: str) -> None:
    """There is nothing to swap and nothing to restart yet."""
    with pytest.raises(SynccrError, match="still starting"):
        await stage.answer(verb, {"profile": "fallback"})


async def test_what_makes_no_sense(stage: Starting) -> None:
    """Unknown verbs and profiles."""
    with pytest.raises(UsageError, match="does not know 'dance'"):
        await stage.answer("dance", {})
    for profile in ("third", None, 1, ["primary"]):
        with pytest.raises(UsageError, match="primary or to fallback"):
            await stage.answer("swap", {"profile": profile})


async def test_a_stop_is_a_signal(stage: Starting, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no loop yet is cancelled."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    assert await stage.answer("stop", {}) == {"pid": os.getpid()}
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert stage.forward(signal.SIGTERM) is False


async def test_a_restart_from_the_page(stage: Starting) -> None:
    """Refused as CCR would refuse it; else it is too early."""
    assert (await stage.restart_from_page(asked())).status == 401
    assert (await stage.restart_from_page(asked(x_api_key="wrong"))).status == 401
    assert (await stage.restart_from_page(asked(x_api_key=KEY))).status == 503


async def test_the_models_that_clients_can_choose_from(stage: Starting) -> None:
    """By the names that routes have for them, in Anthropic's form; the key is asked for."""
    listed = [ModelRef("a", "m"), ModelRef("b", "n")]
    one = SimpleNamespace(models=lambda: listed)
    cast("Any", stage.parts).config.profiles.primary = one
    cast("Any", stage.parts).config.profiles.fallback = one
    assert (await stage.list_models(asked())).status == 401
    answer = await stage.list_models(asked(x_api_key=KEY))
    assert answer.status == 200
    found = json.loads(answer.body)
    names = [row["id"] for row in found["data"]]
    assert names == ["a,m", "b,n"] == [found["first_id"], found["last_id"]]
    assert {row["type"] for row in found["data"]} == {"model"}


class Packages:
    """Where CCR comes from: each of its answers is a coroutine function."""

    def __init__(self, now: Answer, check: Answer | None = None) -> None:
        self.now, self.check = now, check
        self.pinned = check is not None


async def refuse() -> None:
    raise RuntimeMissing("CCR cannot be run.", "Set another.")


async def agree() -> None:
    """It can be run."""


class ChosenError(Exception):
    """The models were asked, and CCR is there."""


def begin(
    stage: Starting, monkeypatch: pytest.MonkeyPatch, packages: Packages, preflight: Answer
) -> Coroutine[Any, Any, object]:
    """Start until a configuration is to be chosen."""
    parts = cast("Any", stage.parts)
    parts.packages, parts.predecessor, parts.quotas = lambda _: packages, None, None
    parts.context.paths, parts.context.skip_preflight = SimpleNamespace(instance=None), False
    prober = SimpleNamespace(preflight=lambda *_, **__: preflight())
    parts.context.on_probe, parts.progress = None, lambda _: None
    parts.journal = SimpleNamespace(write=lambda *_, **__: None)
    monkeypatch.setattr("synccr.supervisor.starting.Prober", lambda *_: prober)
    monkeypatch.setattr(stage, "_choose", Mock(side_effect=ChosenError))
    return stage.start(cast("Any", SimpleNamespace(provider_side=None)))


@pytest.mark.parametrize("packages", [Packages(agree, refuse), Packages(refuse)])
async def test_ccr_that_cannot_be_run_is_told_before_a_model_is_asked(
    stage: Starting, monkeypatch: pytest.MonkeyPatch, packages: Packages
) -> None:
    """A question costs money and half a minute. What npm may not have is fetched first."""
    preflight = Mock()
    with pytest.raises(RuntimeMissing, match="cannot be run"):
        await begin(stage, monkeypatch, packages, preflight)
    preflight.assert_not_called()


async def test_ccr_is_fetched_while_the_models_are_asked(
    stage: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes seconds: neither waits for the other one's end."""
    both = asyncio.Barrier(2)

    async def meet() -> tuple[()]:
        await both.wait()
        return ()

    async with asyncio.timeout(30):
        with pytest.raises(ChosenError):
            await begin(stage, monkeypatch, Packages(meet, agree), meet)


async def test_no_model_is_waited_for_when_ccr_cannot_be_had(
    stage: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being asked is ended."""
    ended = asyncio.Event()

    async def ask() -> tuple[()]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ()

    async with asyncio.timeout(30):
        with pytest.raises(RuntimeMissing):
            await begin(stage, monkeypatch, Packages(refuse, agree), ask)
        await ended.wait()
