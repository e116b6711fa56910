"""The whole preflight against scripted providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from probe_kit import NOW, TOOL_CALL, WORDS, client_of, provider

from synccr.models.report import ModelRef, Report, Status
from synccr.probe import ModelRecord, preflight_run
from synccr.probe.preflight_run import PreflightResult, ask_quotas, preflight
from synccr.probe.transport import Clock
from synccr.settings import Settings

LOCAL = "http://127.0.0.1:9/v1/chat/completions"


class Provider:
    """A provider whose models answer with a document, a response, or a function of the body."""

    def __init__(self, answers: dict[str, Any], **paths: Any) -> None:
        self.answers = answers
        self.paths = paths
        self.asked: list[dict[str, Any]] = []
        self.lists = 0
        self.latency = 0.0
        self.at_once = self.most_at_once = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.lists += 1
            answer = self.paths.get(request.url.path.rpartition("/")[2])
            if callable(answer):
                answer = await answer()
            return httpx.Response(200, json=answer) if answer else httpx.Response(404)
        body = json.loads(request.content)
        self.asked.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.latency)
        self.at_once -= 1
        answer = self.answers[body["model"]]
        if callable(answer):
            answer = answer(body)
        return httpx.Response(200, json=answer) if isinstance(answer, dict) else answer


@pytest.fixture
def record(tmp_path: Path) -> ModelRecord:
    return ModelRecord(tmp_path / "record.json", max_age=600)


def clock() -> Clock:
    return Clock(now=lambda: NOW)


async def go(
    handler: Callable[[httpx.Request], Any],
    pairs: list[tuple[Any, str]],
    record: ModelRecord,
    **options: Any,
) -> PreflightResult:
    settings = Settings(**options.pop("settings", {"preflight_attempts": 1}))
    async with client_of(handler) as client:
        return await preflight(
            pairs, settings=settings, record=record, clock=clock(), client=client, **options
        )


async def test_every_model_gets_its_report(record: ModelRecord) -> None:
    """Each model asked for is in the result, in order, and was told on the way."""
    p = provider()
    server = Provider({"a": TOOL_CALL, "b": httpx.Response(402, json={"error": "x"})})
    told: list[Report] = []
    result = await go(server, [(p, "b"), (p, "a")], record, progress=told.append)
    assert [(str(r), x.status) for r, x in result.reports.items()] == [
        ("p,b", Status.BILLING),
        ("p,a", Status.OK),
    ]
    assert {r.ref for r in told} == set(result.reports)


async def test_a_model_that_profiles_share_is_asked_once(record: ModelRecord) -> None:
    """The same address, key and model under two names is one request and two reports."""
    server = Provider({"a": TOOL_CALL})
    pairs = [(provider(), "a"), (provider(), "a"), (provider(name="q"), "a")]
    result = await go(server, pairs, record)
    assert len(server.asked) == 1
    assert list(result.reports) == [ModelRef("p", "a"), ModelRef("q", "a")]
    assert result.reports[ModelRef("q", "a")].provider == "q"


async def test_of_two_providers_of_one_name_the_first_counts(record: ModelRecord) -> None:
    """A second address under the same name does not overwrite the first one's report."""
    server = Provider({"a": TOOL_CALL})
    pairs = [(provider(), "a"), (provider("https://other.test/v1/chat/completions"), "a")]
    result = await go(server, pairs, record)
    assert (len(server.asked), len(result.reports)) == (1, 1)


async def test_a_model_that_ccr_cannot_ask_is_missing(record: ModelRecord) -> None:
    """It is not asked, its namesake elsewhere is, and no record outlives the reason."""
    server = Provider({"a": TOOL_CALL, "b": TOOL_CALL})
    one, other = provider(), provider(name="other")
    pairs = [(one, "a"), (other, "a"), (one, "b")]
    refused = {ModelRef("p", "a"): "CCR cannot do that"}
    result = await go(server, pairs, record, unservable=refused)
    found = [(r.ref, r.status, r.detail) for r in result.reports.values()]
    assert found == [
        (ModelRef("p", "a"), Status.MISSING, "CCR cannot do that"),
        (ModelRef("other", "a"), Status.OK, ""),
        (ModelRef("p", "b"), Status.OK, ""),
    ]
    assert [body["model"] for body in server.asked] == ["a", "b"]
    again = await go(server, pairs, record)
    assert all(r.status is Status.OK for r in again.reports.values())


async def test_a_second_preflight_asks_nothing(record: ModelRecord) -> None:
    """Fresh final reports and hints come from the record; passing troubles are asked again."""
    p = provider()
    server = Provider(
        {"a": TOOL_CALL, "b": httpx.Response(404), "c": httpx.Response(503)},
        models={"data": [{"id": "a", "context_length": 7}]},
    )
    pairs = [(p, "a"), (p, "b"), (p, "c")]
    first = await go(server, pairs, record)
    asked, lists = len(server.asked), server.lists
    second = await go(server, pairs, record)
    for ref in (ModelRef("p", "a"), ModelRef("p", "b")):
        assert second.reports[ref] == first.reports[ref]
    assert second.offered == first.offered
    assert [body["model"] for body in server.asked[asked:]] == ["c"]
    assert server.lists == lists
    await go(server, pairs, record, fresh=True)
    assert len(server.asked) == asked + 1 + 3


async def test_nothing_to_ask_needs_no_client(record: ModelRecord) -> None:
    """Models without a key are reported without any network."""
    p = provider(unset=("MY_KEY",), key="$MY_KEY")
    result = await preflight([(p, "a")], settings=Settings(), record=record, clock=clock())
    assert result.reports[ModelRef("p", "a")].status is Status.AUTH
    assert record.last(p, "a") is None


async def test_the_list_of_models_is_a_hint(record: ModelRecord) -> None:
    """Context lengths and tools are taken over; a list without the model condemns nobody."""
    server = Provider(
        {"a": WORDS, "b": WORDS},
        models={"data": [{"id": "a", "context_length": 9, "supported_features": ["tools"]}]},
    )
    result = await go(server, [(provider(), "a"), (provider(), "b")], record)
    a, b = result.reports.values()
    assert (a.context_length, a.tools, a.serves) == (9, True, True)
    assert (b.context_length, b.tools, b.serves) == (None, None, True)
    assert [row.id for row in result.offered["p"]] == ["a"]


async def test_a_list_that_hangs_does_not_hold_up_the_preflight(
    record: ModelRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every probe is done, hints have a short time of grace and no more."""
    monkeypatch.setattr(preflight_run, "_HINT_TIMEOUT", 600.0)
    monkeypatch.setattr(preflight_run, "_HINT_GRACE", 0.05)

    async def never() -> None:
        await asyncio.sleep(600)

    server = Provider({"a": TOOL_CALL}, models=never)
    result = await asyncio.wait_for(go(server, [(provider(), "a")], record), 20)
    assert result.reports[ModelRef("p", "a")].status is Status.OK
    assert result.offered == {}


async def test_a_429_of_a_spent_allowance_is_a_cap(record: ModelRecord) -> None:
    """The quota endpoint decides what a plain 429 is, and until when."""
    server = Provider(
        {"a": httpx.Response(429, json={"error": "slow down"}), "b": TOOL_CALL},
        quotas={"subscription": {"limit": 5, "requests": 5, "renewsAt": "2025-06-16T05:00:00Z"}},
    )
    result = await go(server, [(provider(LOCAL), "a"), (provider(LOCAL), "b")], record)
    a, b = result.reports.values()
    assert (a.status, a.account) == (Status.QUOTA, True)
    assert a.retry_at == NOW.replace(hour=5)
    assert b.status is Status.OK
    assert [(q.provider, q.spent) for q in result.quotas] == [("p", True)]


def reluctant(body: dict[str, Any]) -> dict[str, Any]:
    return TOOL_CALL if "tool_choice" in body else WORDS


def no_choice(body: dict[str, Any]) -> Any:
    return httpx.Response(400, json={"error": "tool_choice"}) if "tool_choice" in body else WORDS


async def test_a_model_that_only_talks_is_pressed_where_others_call(record: ModelRecord) -> None:
    """Beside a model that calls tools, words are followed by one forced request."""
    models = {"calls": TOOL_CALL, "talks": WORDS, "shy": reluctant, "odd": no_choice}
    server = Provider(models)
    result = await go(server, [(provider(), name) for name in models], record)
    tools = {ref.model: report.tools for ref, report in result.reports.items()}
    assert tools == {"calls": True, "talks": False, "shy": True, "odd": None}
    assert not result.reports[ModelRef("p", "talks")].serves


async def test_a_server_that_ignores_tools_loses_no_model(record: ModelRecord) -> None:
    """Where no model calls tools, words prove nothing, and nobody is asked twice."""
    server = Provider({"a": WORDS, "b": WORDS})
    result = await go(server, [(provider(), "a"), (provider(), "b")], record)
    assert [(r.tools, r.serves) for r in result.reports.values()] == [(None, True)] * 2
    assert len(server.asked) == 2


async def test_all_at_once_and_not_more_than_allowed(record: ModelRecord) -> None:
    """Twelve good models are asked in one moment, once each; the bound on probes holds."""
    names = [f"m{i}" for i in range(12)]
    server = Provider(dict.fromkeys(names, TOOL_CALL), models={"data": []})
    server.latency = 0.2
    await go(server, [(provider(), name) for name in names], record)
    assert (server.most_at_once, len(server.asked)) == (12, 12)
    server.most_at_once = 0
    settings = {"preflight_concurrency": 3, "preflight_attempts": 1}
    server.latency = 0.01
    pairs = [(provider(), name) for name in names]
    await go(server, pairs, record, fresh=True, settings=settings)
    assert server.most_at_once == 3


async def test_the_keys_of_all_providers_are_masked(record: ModelRecord) -> None:
    """One provider's error may repeat another's key, of whatever shape."""
    one, other = "plain.secret.number.one", "plain.secret.number.two"
    server = Provider({"a": httpx.Response(401, text=f"bad key {one}, not {other}"), "b": WORDS})
    pairs = [(provider(key=one), "a"), (provider(LOCAL, name="q", key=other), "b")]
    result = await go(server, pairs, record)
    detail = result.reports[ModelRef("p", "a")].detail
    assert "bad key" in detail
    assert "secret" not in detail


async def test_allowances_alone() -> None:
    """Allowances can be asked for without a probe; hosts that tell none are not asked."""
    server = Provider({}, quotas={"subscription": {"limit": 5, "requests": 1}})
    async with client_of(server) as client:
        quotas = await ask_quotas([provider(LOCAL), provider(name="q")], client=client)
    assert [(q.provider, q.remaining) for q in quotas] == [("p", 4)]
    assert server.lists == 1
    assert await ask_quotas([provider()]) == ()
