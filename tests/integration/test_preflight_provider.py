"""Preflight against the embedded provider, over real sockets, in all forms."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from provider import MODELS_LIST, Behaviour, FakeProvider, ListedModel
from synccr.config.profile import Provider as Configured
from synccr.models.report import ModelRef, Status
from synccr.probe import ModelRecord
from synccr.probe.preflight_run import PreflightResult, preflight
from synccr.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.long]

KEY = "sk-embedded-0123456789abcdef"
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "openai": {},
    "anthropic": {"use": ["Anthropic"]},
    "gemini": {"use": ["gemini"]},
}
EXPECTED = {
    "ok": (Status.OK, True),
    "no_tools": (Status.OK, False),
    "ignores_tools": (Status.OK, False),
    "billing": (Status.BILLING, None),
    "no_quota": (Status.BILLING, None),
    "spent_cap": (Status.QUOTA, None),
    "rate_limited": (Status.RATE_LIMITED, None),
    "missing": (Status.MISSING, None),
    "unavailable": (Status.MISSING, None),
    "bad_request": (Status.UNVERIFIED, None),
    "auth": (Status.AUTH, None),
    "echo_key": (Status.AUTH, None),
    "forbidden": (Status.AUTH, None),
    "server_error": (Status.OVERLOADED, None),
    "down": (Status.OVERLOADED, None),
    "overloaded": (Status.OVERLOADED, None),
    "html": (Status.OVERLOADED, None),
    "bad_gateway": (Status.OVERLOADED, None),
    "garbage": (Status.OVERLOADED, None),
    "json_error": (Status.OVERLOADED, None),
    "never": (Status.TIMEOUT, None),
    "cut": (Status.UNREACHABLE, None),
    "reset": (Status.UNREACHABLE, None),
}


def configured(server: FakeProvider, dialect: str, name: str = "p", key: str = KEY) -> Configured:
    return Configured(
        name=name,
        url=server.url(dialect),
        key=key,
        models=(),
        transformer=TRANSFORMERS[dialect],
    )


async def look(
    tmp_path: Path, pairs: list[tuple[Configured, str]], **settings: Any
) -> PreflightResult:
    values = {"preflight_attempts": 1, "preflight_timeout": 10} | settings
    record = ModelRecord(tmp_path / "record.json", max_age=600)
    return await preflight(pairs, settings=Settings(**values), record=record)


@pytest.mark.parametrize("dialect", TRANSFORMERS)
async def test_every_behaviour_is_recognised(tmp_path: Path, dialect: str) -> None:
    """Each behaviour of the embedded provider gets its status, in each form."""
    async with FakeProvider({name: name for name in EXPECTED}, key=KEY) as server:
        p = configured(server, dialect)
        result = await look(tmp_path, [(p, name) for name in EXPECTED], preflight_timeout=2)
    found = {ref.model: (r.status, r.tools) for ref, r in result.reports.items()}
    assert found == EXPECTED
    assert all(KEY not in report.detail for report in result.reports.values())


@pytest.mark.parametrize("dialect", TRANSFORMERS)
async def test_the_request_is_the_one_a_provider_of_the_form_expects(
    tmp_path: Path, dialect: str
) -> None:
    """The key is where the form has it, and a good model costs one request."""
    async with FakeProvider({"m": "ok"}, key=KEY) as server:
        result = await look(tmp_path, [(configured(server, dialect), "m")])
        (record,) = server.requests("m")
    assert record.key_ok
    assert not record.stream
    assert result.reports[ModelRef("p", "m")].status is Status.OK


async def test_a_wrong_key_is_auth_and_the_accounts(tmp_path: Path) -> None:
    """With a key that the provider does not know every model is auth."""
    async with FakeProvider({"a": "ok", "b": "ok"}, key=KEY) as server:
        p = configured(server, "openai", key="sk-wrong-0123456789")
        result = await look(tmp_path, [(p, "a"), (p, "b")])
    assert {(r.status, r.account) for r in result.reports.values()} == {(Status.AUTH, True)}


async def test_hints_of_the_list_and_the_allowance(tmp_path: Path) -> None:
    """Context lengths come from the list; a spent allowance explains a 429."""
    quotas = {"subscription": {"limit": 1, "requests": 1, "renewsAt": "2099-01-01T00:00:00Z"}}
    async with FakeProvider(
        {"a": "ok", "b": "rate_limited"},
        key=KEY,
        listed=[ListedModel(id="a", context_length=262_144)],
        quotas=quotas,
    ) as server:
        p = configured(server, "openai")
        result = await look(tmp_path, [(p, "a"), (p, "b")])
    a, b = result.reports.values()
    assert a.context_length == 262_144
    assert b.status is Status.QUOTA
    assert b.retry_at is not None
    assert b.retry_at.year == 2099
    assert [q.spent for q in result.quotas] == [True]


async def test_a_provider_that_is_gone(tmp_path: Path) -> None:
    """Nothing listens: unreachable, and told so."""
    server = FakeProvider({"a": "ok"})
    await server.start()
    await server.stop()
    result = await look(tmp_path, [(configured(server, "openai"), "a")])
    report = result.reports[ModelRef("p", "a")]
    assert report.status is Status.UNREACHABLE
    assert report.detail == "refused: nothing listens there"


async def test_a_trouble_that_passes(tmp_path: Path) -> None:
    """A 503 followed by an answer is ok on the second attempt."""
    async with FakeProvider({"a": ["down", "ok"]}, key=KEY) as server:
        result = await look(tmp_path, [(configured(server, "openai"), "a")], preflight_attempts=2)
        assert len(server.requests("a")) == 2
    assert result.reports[ModelRef("p", "a")].status is Status.OK


async def test_twelve_models_take_as_long_as_the_slowest(tmp_path: Path) -> None:
    """All models of two providers are asked side by side, also when the list is slow."""
    slow = Behaviour(delay=1.0)
    names = [f"m{i}" for i in range(6)]
    async with FakeProvider(
        dict.fromkeys(names, slow) | {MODELS_LIST: Behaviour(delay=0.8)}
    ) as server:
        pairs = [
            (configured(server, form, name=form), name)
            for form in ("openai", "anthropic")
            for name in names
        ]
        started = time.monotonic()
        result = await look(tmp_path, pairs)
        took = time.monotonic() - started
    assert [r.status for r in result.reports.values()] == [Status.OK] * 12
    slowest = max(r.latency_ms or 0 for r in result.reports.values()) / 1000
    assert took < 2 * slowest


async def test_cancelling_ends_it(tmp_path: Path) -> None:
    """Ctrl-C while providers are silent does not wait for them."""
    async with FakeProvider({"a": "never"}) as server:
        task = asyncio.create_task(look(tmp_path, [(configured(server, "openai"), "a")]))
        while not server.requests("a"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
