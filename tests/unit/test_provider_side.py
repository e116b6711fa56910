"""The side towards providers, with a real provider: what probes and traffic tell each other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from provider import FakeProvider
from synccr.config.profile import Provider
from synccr.config.reader import understand
from synccr.egress.silence_limits import SilenceLimits
from synccr.journal import Journal
from synccr.models.report import ModelRef, Status
from synccr.models.shape import Shape
from synccr.probe.recorded_preflight import ask_models
from synccr.redact import Redactor
from synccr.settings import Settings
from synccr.supervisor.provider_side import ProviderSide
from synccr.supervisor.turn_dispatcher import TurnDispatcher
from synccr.turns.trace import TraceLog

KEY, REF = "sk-0123456789abcdef", ModelRef("acme", "m")
STREAMED = {REF: Shape(stream=True, tools=True)}
MARK_ALONE = {"preset": "mark_alone", "after": 5}
"""All that the model has to say, then ``[DONE]``."""
COMPLETION = {"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}]}
LIMITS = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "42"}


class Scene:
    """The side towards a provider, the provider, and who plays CCR."""

    def __init__(self, provider: FakeProvider, tmp_path: Path) -> None:
        self.provider, self.instance = provider, tmp_path
        entry = {
            "name": "acme",
            "api_base_url": provider.url("openai"),
            "api_key": KEY,
            "models": ["m"],
        }
        document = {"Providers": [entry], "Router": {"default": "acme,m"}}
        both = [understand(document, role, role, {}) for role in ("primary", "fallback")]
        self.profiles = SimpleNamespace(primary=both[0], fallback=both[1], proxy=None)
        self.quotas: list[tuple[str, Mapping[str, str]]] = []
        dispatcher = TurnDispatcher(Journal(tmp_path / "j"), TraceLog(), b"secret")
        self.provider_side = ProviderSide(
            *(dispatcher, cast("Any", self.profiles), {}, ()),
            *(Redactor([KEY]), SilenceLimits(90, 900), lambda *limits: self.quotas.append(limits)),
        )

    async def stream(self) -> bool:
        """Whether CCR gets a whole answer."""
        egress = self.provider_side.egress
        headers = {"x-synccr-secret": "secret", "x-synccr-to": self.provider.url("openai")}
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                answer = await client.post(
                    f"{egress.url}/",
                    json=body,
                    headers=headers | {"authorization": f"Bearer {KEY}"},
                )
            except httpx.HTTPError:
                return False
        return answer.status_code == 200

    async def probe(self, like: Mapping[ModelRef, Shape] = STREAMED) -> Status:
        provider: Provider = self.profiles.primary.providers[0]
        result = await ask_models(
            [(provider, "m")],
            settings=Settings(preflight_attempts=1),
            instance=self.instance,
            fresh=True,
            like=self.provider_side.like(like),
        )
        self.provider_side.probed(result.reports.values())
        return result.reports[REF].status


@contextlib.asynccontextmanager
async def stage(tmp_path: Path, behaviour: Any) -> AsyncIterator[Scene]:
    with FakeProvider({"m": behaviour}, key=KEY) as provider:
        scene = Scene(provider, tmp_path)
        await scene.provider_side.start()
        try:
            yield scene
        finally:
            await scene.provider_side.close()


async def test_a_model_that_always_ends_with_done_alone(tmp_path: Path) -> None:
    """Cut until a probe like that request ends so, too; then whole, also after further probes
    that are not streamed. Where it finishes after all, it is not excused any more."""
    async with stage(tmp_path, MARK_ALONE) as scene:
        assert await scene.probe({}) is Status.OK
        assert not await scene.stream()
        assert await scene.probe() is Status.OK
        assert await scene.stream()
        assert await scene.probe({}) is Status.OK
        assert await scene.stream()
        scene.provider.set("m", "ok")
        assert await scene.probe() is Status.OK
        scene.provider.set("m", MARK_ALONE)
        assert not await scene.stream()


@pytest.mark.parametrize("behaviour", ["mark_alone", "end_without_mark"])
async def test_a_broken_stream_is_never_a_models_own_end(tmp_path: Path, behaviour: str) -> None:
    """The probe fails as the traffic does, and changes nothing."""
    async with stage(tmp_path, behaviour) as scene:
        assert not await scene.stream()
        assert await scene.probe() is Status.OVERLOADED
        assert not await scene.stream()


async def test_traffic_shows_that_a_model_has_finish_reasons(tmp_path: Path) -> None:
    """One that served a stream well is not excused when it begins to break off."""
    async with stage(tmp_path, "ok") as scene:
        assert await scene.stream()
        scene.provider.set("m", MARK_ALONE)
        assert await scene.probe() is Status.OVERLOADED
        assert not await scene.stream()


@pytest.mark.parametrize("status", [200, 429])
async def test_rate_limits_of_traffic_are_handed_on(tmp_path: Path, status: int) -> None:
    """Of good answers and of refusals."""
    behaviour = {"kind": "reply", "status": status, "body": COMPLETION, "headers": LIMITS}
    async with stage(tmp_path, behaviour) as scene:
        assert await scene.stream() is (status == 200)
        assert scene.quotas == [("acme", LIMITS)]
