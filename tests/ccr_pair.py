"""One configuration on CCR 2.0.0 and on CCR 3, asked the same, and what providers then see."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote

import httpx
import pytest

from provider import FakeProvider
from synccr.ccr.backend import Backend
from synccr.ccr.generations import V3
from synccr.ccr.launch_context import EgressAddress, LaunchContext
from synccr.ccr.package import Package
from synccr.ccr.package_source import PackageSource
from synccr.ccr.v2.launch import Launcher
from synccr.ccr.v3.launch import Launcher3
from synccr.config.profile import interpolate
from synccr.config.reader import understand
from synccr.egress.addressed import with_limit_renamed
from synccr.paths import Paths
from synccr.probe.dialects import renames_limit

CCR2, CCR3 = "2.0.0", "3.1.1"
ENDINGS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/",
}
_SECRET = "secret-of-this-run"
_PROVIDER = re.compile(r"/of/([^/]+)/")


class Seen(NamedTuple):
    """What the provider was asked first for one request; without values when it was not."""

    provider: str = ""
    model: str = ""
    body: Mapping[str, Any] = {}

    @property
    def target(self) -> str:
        return f"{self.provider},{self.model}" if self.provider else ""


class Answered(NamedTuple):
    """What came of one request."""

    status: int
    text: str
    seen: Seen


async def package(version: str, cache: Path) -> Package:
    """A real CCR: from npm, or the command that ``SYNCCR_TEST_CCR3`` has for CCR 3."""
    if version == CCR3 and (words := shlex.split(os.environ.get("SYNCCR_TEST_CCR3", ""))):
        return Package(version, (*words, "serve", "--no-open"), Path(words[-1]), V3)
    return await PackageSource(version, os.environ, cache).now()


def provider_entry(
    fake: FakeProvider, name: str, models: list[str], form: str = "openai", **more: Any
) -> dict[str, Any]:
    """An entry of ``Providers``, by whose path the provider knows itself again."""
    url = f"{fake.base_url}/of/{quote(name, safe='')}{ENDINGS[form]}"
    return {"name": name, "api_base_url": url, "api_key": "key", "models": models, **more}


@dataclass
class Pair:
    """Both CCRs, in a home of their own.

    Attributes:
        home: for both.
        fake: the provider, which also stands where the egress would be.
        packages: both CCRs.
        variables: of their environment.
    """

    home: Path
    fake: FakeProvider
    packages: tuple[Package, Package]
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        environ |= self.variables
        own = self.home / "own"
        self.paths = Paths(self.home / ".claude-code-router", own, own, own, own)
        self._environ = environ
        self._names: tuple[str, ...] = ()
        self.config: Mapping[str, Any] = {}
        context = LaunchContext(self.paths, environ, self._egress, lambda *_: None)
        self._starters = Launcher(self.paths, environ), Launcher3(context)
        self._client = httpx.AsyncClient(trust_env=False, timeout=60)
        self._third: Backend | None = None
        self._second: Backend | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        for backend in (self._second, self._third):
            if backend:
                await backend.stop(5)

    async def use(self, config: Mapping[str, Any]) -> None:
        """Both go over to a configuration; CCR 3 as it runs, where it can."""
        self.config = config
        listed = config.get("Providers") or config["providers"]
        self._names = tuple(entry["name"] for entry in listed)
        self.paths.ccr.mkdir(parents=True, exist_ok=True)
        (self.paths.ccr / "config.json").write_text(json.dumps({"LOG": False, **config}))
        if self._second:
            await self._second.stop(5)
        self._second = await self._starters[0].launch(self.packages[0])
        if self._third and self._third.applies(config):
            self._third.apply(config)
            return
        if self._third:
            await self._third.stop(5)
        self._third = await self._starters[1].launch(self.packages[1], config)

    async def ask(self, body: Mapping[str, Any]) -> tuple[Answered, Answered]:
        """The same request to both."""
        assert self._second
        assert self._third
        second = await self._asked(self._second, body, {})
        third = await self._asked(self._third, body, {"authorization": f"Bearer {_SECRET}"})
        return second, third._replace(seen=self._sent_on(third.seen))

    def _sent_on(self, seen: Seen) -> Seen:
        """What the egress would make of it."""
        providers = understand(dict(self.config), "test", "primary", {}).providers
        asked = next((p for p in providers if p.name == seen.provider), None)
        if asked is None or not renames_limit(asked, seen.model):
            return seen
        body = with_limit_renamed(json.dumps(seen.body).encode())
        return seen._replace(body=json.loads(body))

    async def _asked(
        self, backend: Backend, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Answered:
        self.fake.forget()
        url = f"http://127.0.0.1:{backend.port}/v1/messages"
        reply = await self._client.post(url, json=body, headers=headers)
        return Answered(reply.status_code, reply.text, self._seen())

    def _seen(self) -> Seen:
        for record in self.fake.requests():
            if found := _PROVIDER.search(record.path):
                return Seen(unquote(found[1]), record.model, record.body)
        return Seen()

    def _egress(self) -> EgressAddress:
        places = {interpolate(n, self.variables): f"of/{quote(n, safe='')}" for n in self._names}
        # The launcher writes /to/PLACE; the provider looks for /of/NAME only.
        return EgressAddress(self.fake.base_url, _SECRET, (), places, self._environ)


@contextlib.asynccontextmanager
async def running_pair(
    factory: pytest.TempPathFactory, npm_cache: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Pair]:
    """Both CCRs on a provider, for a module."""
    home, cache = factory.mktemp("pair"), factory.mktemp("cache")
    os.environ.setdefault("npm_config_cache", str(npm_cache))
    packages = await package(CCR2, cache), await package(CCR3, cache)
    with FakeProvider() as fake:
        async with Pair(home, fake, packages, variables or {}) as running:
            yield running
