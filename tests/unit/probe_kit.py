"""What the preflight tests share: a provider, a clock that jumps, and scripted answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx

from synccr.config.profile import Provider
from synccr.probe.transport import Clock
from synccr.transport import Answer as Whole
from synccr.transport import Broken, CannotReach, Outgoing

NOW = datetime(2025, 6, 16, tzinfo=UTC)
URL = "https://provider.test/v1/chat/completions"
KEY = "sk-test-0123456789abcdef"

TOOL_CALL = {"choices": [{"message": {"tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}]}
WORDS = {"choices": [{"message": {"content": "ready"}, "finish_reason": "stop"}]}
CUT = {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}

Failure = CannotReach | Broken
Answer = httpx.Response | Exception | Failure | dict[str, Any]


def provider(url: str = URL, **changes: Any) -> Provider:
    values = {"name": "p", "url": url, "key": KEY, "models": ("m",), "transformer": {}} | changes
    return Provider(**values)


class JumpingClock:
    """A clock on which time passes only by sleeping."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(
            now=lambda: NOW + timedelta(seconds=self.seconds),
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
        )


class Script:
    """A provider that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response | Failure:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer) if isinstance(answer, dict) else answer

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


class ScriptedTransport:
    """A transport whose answers come from a function; requests and answers are httpx's."""

    def __init__(self, handler: Callable[[httpx.Request], Any]) -> None:
        self.handler = handler

    async def fetch(
        self, request: Outgoing, *, timeout: float, limit: int, enough: Any = None
    ) -> Whole | CannotReach | Broken:
        seen = httpx.Request(
            request.method, request.url, headers=list(request.headers), content=request.body
        )
        answer = self.handler(seen)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, CannotReach | Broken):
            return answer
        headers = tuple((name.lower(), value) for name, value in answer.headers.raw)
        return Whole(answer.status_code, headers, answer.content[:limit])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def client_of(handler: Callable[[httpx.Request], Any]) -> ScriptedTransport:
    return ScriptedTransport(handler)
