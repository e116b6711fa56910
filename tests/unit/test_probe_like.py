"""Probes that resemble what failed: streamed and judged as traffic is, and about as large."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from egress_kit import STREAM, delta, piece, sse
from probe_kit import KEY, NOW, TOOL_CALL, JumpingClock, Script, client_of, provider
from proxy_kit import read_message

from synccr.models.report import ModelRef, Report, Status
from synccr.models.shape import Shape
from synccr.probe import ModelRecord
from synccr.probe.dialects import CHAT, GEMINI, LARGE, MESSAGES, RESPONSES, ProbeDialect
from synccr.probe.model_probe import ProbeResult, examine
from synccr.probe.preflight_run import preflight
from synccr.probe.transport import Clock
from synccr.redact import Redactor
from synccr.settings import Settings
from synccr.transport import Transport

STREAMED = Shape(stream=True)
DONE = b"data: [DONE]\n\n"
WORDS = sse(delta("I am"), delta(" ready."))
CUT_WORDS = sse(delta("I am"), delta(" rea"))
WHOLE = {"choices": [{"message": {"content": "I am ready."}, "finish_reason": "stop"}]}
FINISH = sse(delta("", "stop"))


def called(*arguments: str) -> list[bytes]:
    parts = [{"index": 0, "function": {"name": "ready", "arguments": a}} for a in arguments]
    return sse(*({"choices": [{"index": 0, "delta": {"tool_calls": [p]}}]} for p in parts))


def events(*parts: list[bytes] | bytes) -> httpx.Response:
    content = b"".join(p if isinstance(p, bytes) else b"".join(p) for p in parts)
    return httpx.Response(200, content=content, headers={"content-type": "text/event-stream"})


async def look(answer: Any, like: Shape = STREAMED, *, finishes: bool = False) -> ProbeResult:
    async with client_of(answer) as client:
        return await examine(
            provider(),
            "m",
            client,
            timeout=30.0,
            attempts=1,
            redact=Redactor([KEY]),
            clock=JumpingClock().clock,
            like=like,
            finishes=finishes,
        )


@pytest.mark.parametrize(
    ("answer", "status", "done_alone"),
    [
        (events(WORDS, FINISH, DONE), Status.OK, False),
        (events(called("{", "}"), FINISH), Status.OK, False),
        (httpx.Response(200, json=WHOLE), Status.OK, None),
        (events(WORDS), Status.OVERLOADED, None),
        (events(FINISH, DONE), Status.OVERLOADED, None),
        (events(DONE), Status.OVERLOADED, None),
        (events(WORDS, b'data: {"error": {"message": "broke"}}\n\n'), Status.OVERLOADED, None),
        (events(b'data: {"error": {"message": "x", "code": 402}}\n\n'), Status.BILLING, None),
        (httpx.Response(200, text="<html>"), Status.OVERLOADED, None),
        (httpx.Response(402, json={"error": "pay"}), Status.BILLING, None),
        (events(WORDS, DONE), Status.OK, True),
        (events(called('{"ok":', "true}"), DONE), Status.OK, True),
        (events(CUT_WORDS, DONE), Status.OVERLOADED, None),
        (events(called('{"ok":', "tr"), DONE), Status.OVERLOADED, None),
    ],
)
async def test_a_streamed_probe_is_judged_as_traffic_is(
    answer: httpx.Response, status: Status, done_alone: bool | None
) -> None:
    """An end without its mark, emptiness, an error inside; ``[DONE]`` alone only where the
    answer is visibly complete."""
    script = Script(answer)
    report = (await look(script)).report
    assert (report.status, report.done_alone) == (status, done_alone)
    assert report.detail or status is Status.OK
    (body,) = script.bodies
    assert body["stream"] is True
    assert body["tools"]


async def test_one_that_has_finish_reasons_is_not_excused() -> None:
    """``[DONE]`` alone is a broken answer there."""
    report = (await look(Script(events(WORDS, DONE)), finishes=True)).report
    assert report.status is Status.OVERLOADED
    assert "[DONE]" in report.detail


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES, GEMINI, RESPONSES], ids=lambda d: d.name)
def test_each_dialect_asks_for_a_stream(dialect: ProbeDialect) -> None:
    """In its own way; what is not like anything stays as it is."""
    url = f"https://provider.test/v1{dialect.ending}"
    plain = dialect.ask(provider(url), "m", tools=True, like=Shape(tools=True, tokens=LARGE - 1))
    assert plain == dialect.ask(provider(url), "m", tools=True)
    assert plain.events is None
    asked = dialect.ask(provider(url), "m", tools=True, like=STREAMED)
    assert asked.events == dialect.name
    if dialect is GEMINI:
        assert asked.url == "https://provider.test/v1/models/m:streamGenerateContent?alt=sse"
        assert asked.json == plain.json
    else:
        assert (asked.url, asked.json) == (plain.url, {**(plain.json or {}), "stream": True})


@pytest.mark.parametrize(
    ("tokens", "least", "most"),
    [(0, 0, 1000), (40_000, 150_000, 162_000), (10**9, 190_000, 202_000)],
)
async def test_a_prompt_is_as_large_as_what_failed(tokens: int, least: int, most: int) -> None:
    """Where that was large, and never beyond 200 KB."""
    script = Script(TOOL_CALL)
    await look(script, Shape(tokens=tokens))
    assert least <= len(script.requests[0].content) <= most
    assert script.bodies[0]["messages"][0]["content"].endswith("Call the tool ready.")


async def test_only_the_model_that_failed_is_asked_so(tmp_path: Path) -> None:
    """What its stream has shown outlives later probes, on disk and in reports; one that ends
    well is not excused any more."""
    path = tmp_path / "models.json"
    pairs, like = [(provider(), "a"), (provider(), "b")], {ModelRef("p", "a"): STREAMED}
    answers = {True: events(WORDS, DONE), False: httpx.Response(200, json=TOOL_CALL)}

    def answer(request: httpx.Request) -> httpx.Response:
        return answers[b'"stream":true' in request.content]

    async def ask(like: dict[ModelRef, Shape]) -> list[Report]:
        record = ModelRecord(path, max_age=600)
        async with client_of(answer) as c:
            result = await preflight(
                pairs,
                settings=Settings(preflight_attempts=1),
                record=record,
                fresh=True,
                clock=Clock(now=lambda: NOW),
                client=c,
                like=like,
            )
        record.save(NOW)
        return list(result.reports.values())

    assert [r.done_alone for r in await ask(like)] == [True, None]
    assert [r.done_alone for r in await ask({})] == [True, None]
    answers[True] = events(WORDS, FINISH, DONE)
    assert [r.done_alone for r in await ask(like)] == [False, None]
    answers[True] = events(WORDS, DONE)
    assert [r.status for r in await ask(like)] == [Status.OVERLOADED, Status.OK]


def test_a_record_keeps_it_beside_what_traffic_tells(tmp_path: Path) -> None:
    """Written by one who had read the record before it was known."""
    first, second = (ModelRecord(tmp_path / "models.json", max_age=600) for _ in range(2))
    told = Report(provider="p", model="m", status=Status.OK, checked_at=NOW, done_alone=True)
    first.update(provider(), told)
    first.save(NOW)
    second.update(
        provider(), Report(provider="p", model="m", status=Status.BILLING, checked_at=NOW)
    )
    second.save(NOW)
    last = ModelRecord(tmp_path / "models.json", max_age=600).last(provider(), "m")
    assert last is not None
    assert (last.status, last.done_alone) == (Status.BILLING, True)


@pytest.mark.parametrize("end", ["open", "broken"])
async def test_nothing_is_waited_for_after_the_end_mark(end: str) -> None:
    """A connection that stays open after it, or breaks, spoils nothing, as for traffic."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(STREAM + b"".join(map(piece, [*WORDS, *FINISH])))
        if end == "open":
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"
    async with server, Transport() as client:
        finding = await examine(
            provider(url), "m", client, timeout=5, attempts=1, redact=Redactor(), like=STREAMED
        )
    assert (finding.report.status, finding.report.done_alone) == (Status.OK, False)
