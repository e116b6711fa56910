"""One probe: what each answer makes of a model, and when it asks again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_kit import CUT, KEY, TOOL_CALL, WORDS, JumpingClock, Script, client_of, provider

from synccr.config.profile import Provider
from synccr.models.report import Status
from synccr.probe.model_probe import ProbeResult, examine, pause, probe
from synccr.redact import Redactor
from synccr.transport import Broken, CannotReach


async def look(
    script: Any, p: Provider | None = None, *, timeout: float = 30.0, attempts: int = 3
) -> tuple[ProbeResult, JumpingClock]:
    time = JumpingClock()
    async with client_of(script) as client:
        finding = await examine(
            p or provider(),
            "m",
            client,
            timeout=timeout,
            attempts=attempts,
            redact=Redactor([KEY]),
            clock=time.clock,
            jitter=lambda: 1.0,
        )
    return finding, time


async def test_a_good_model_costs_one_request() -> None:
    """A tool call is a completion too: one request tells both."""
    script = Script(TOOL_CALL)
    finding, _ = await look(script)
    assert (finding.report.status, finding.report.tools) == (Status.OK, True)
    assert finding.report.http_status == 200
    assert len(script.requests) == 1


@pytest.mark.parametrize(("document", "declined"), [(WORDS, True), (CUT, False)])
async def test_an_answer_without_a_call_proves_nothing(
    document: dict[str, Any], declined: bool
) -> None:
    """Words, or an answer cut off, leave open whether the model calls tools."""
    finding, _ = await look(Script(document))
    assert (finding.report.status, finding.report.tools) == (Status.OK, None)
    assert finding.declined is declined


@pytest.mark.parametrize(
    ("http", "body"),
    [
        (400, {"error": {"message": "stablelm2:latest does not support tools", "code": None}}),
        (404, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}),
        (500, {"error": {"code": 500, "message": "tools param requires --jinja flag"}}),
        (422, {"detail": [{"loc": ["body", "tools"], "msg": "Extra inputs are not permitted"}]}),
    ],
)
async def test_a_model_that_refuses_tools_is_told_from_a_dead_one(
    http: int, body: dict[str, Any]
) -> None:
    """When the plain request is answered, the model lives and takes no tools."""
    script = Script(httpx.Response(http, json=body), WORDS)
    finding, time = await look(script)
    assert (finding.report.status, finding.report.tools) == (Status.OK, False)
    assert not finding.report.serves
    assert finding.report.detail.startswith("takes no tools: ")
    assert ["tools" in sent for sent in script.bodies] == [True, False]
    assert time.slept == []


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(503, html="<html><title>Busy</title><a>Developer tools</a></html>"),
        httpx.Response(502, html="<html><title>Developer tools</title></html>"),
        httpx.Response(404, html="<html><title>Developer tools</title></html>"),
        httpx.Response(500, json={"error": {"message": "function call handler crashed"}}),
        httpx.Response(429, json={"error": {"message": "too many tool calls"}}),
    ],
)
async def test_what_is_no_refusal_of_tools_is_not_taken_for_one(trouble: httpx.Response) -> None:
    """A page, a server's own trouble and a limit are not about the tool, whatever they say:
    no request without the tool follows, which would brand a good model."""
    script = Script(trouble, TOOL_CALL)
    finding, _ = await look(script)
    assert all("tools" in sent for sent in script.bodies)
    assert finding.report.tools is not False


async def test_a_model_that_is_gone_is_missing_whatever_its_name_says_of_tools() -> None:
    """A 404 that mentions tools is looked at twice, and is still a 404."""
    script = Script(httpx.Response(404, json={"error": "model 'x-tool-use' not found"}))
    finding, _ = await look(script)
    assert (finding.report.status, finding.report.tools) == (Status.MISSING, None)
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("http", "status", "account"),
    [
        (401, Status.AUTH, True),
        (402, Status.BILLING, False),
        (403, Status.AUTH, True),
        (404, Status.MISSING, False),
    ],
)
async def test_final_answers_are_final(http: int, status: Status, account: bool) -> None:
    """402, 404, 401 and 403 are not asked about again."""
    script = Script(httpx.Response(http, text="no"))
    finding, _ = await look(script)
    assert finding.report.status is status
    assert finding.report.account is account
    assert finding.report.http_status == http
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (httpx.Response(500), Status.OVERLOADED),
        (httpx.Response(529), Status.OVERLOADED),
        (httpx.Response(429), Status.RATE_LIMITED),
        (httpx.Response(200, html="<html></html>"), Status.OVERLOADED),
        (httpx.Response(200, json={"type": "message", "content": []}), Status.OVERLOADED),
        (TimeoutError(), Status.TIMEOUT),
        (Broken("cut", began=True), Status.UNREACHABLE),
    ],
)
async def test_passing_troubles_are_asked_about_again(
    answer: httpx.Response | Exception | Broken, status: Status
) -> None:
    """Timeouts, cuts, 5xx, plain 429 and non-completions are tried as often as allowed."""
    script = Script(answer)
    finding, time = await look(script)
    assert finding.report.status is status
    assert len(script.requests) == 3
    assert time.slept == [0.5, 1.0]


async def test_an_error_in_the_place_of_a_completion_is_judged_by_its_own_code() -> None:
    """A 200 whose choice is an error (OpenRouter's) is that error, and no healthy model."""
    said = {"code": 402, "message": "Your account or API key has insufficient credits."}
    choice = {"message": {"content": ""}, "finish_reason": "error", "error": said}
    finding, _ = await look(Script({"choices": [choice]}))
    assert finding.report.status is Status.BILLING
    assert "insufficient credits" in finding.report.detail


async def test_a_trouble_that_passes_is_forgotten() -> None:
    """A model that serves on a later attempt is ok."""
    finding, _ = await look(Script(httpx.Response(503), TOOL_CALL))
    assert finding.report.status is Status.OK


async def test_retry_after_is_respected() -> None:
    """The pause is the one the provider names."""
    busy = httpx.Response(429, headers={"retry-after": "7"})
    finding, time = await look(Script(busy, TOOL_CALL))
    assert finding.report.status is Status.OK
    assert time.slept == [7.25]


async def test_a_retry_after_beyond_the_timeout_ends_the_probe() -> None:
    """There is no waiting for an answer that can only come too late."""
    script = Script(httpx.Response(429, headers={"retry-after": "31"}))
    finding, time = await look(script)
    assert finding.report.status is Status.RATE_LIMITED
    assert finding.report.retry_at is not None
    assert (len(script.requests), time.slept) == (1, [])


async def test_a_spent_cap_is_not_asked_about_again() -> None:
    """A 429 that is a spent cap is final."""
    script = Script(httpx.Response(429, json={"error": "exceeded your subscription rate limits"}))
    finding, _ = await look(script)
    assert finding.report.status is Status.QUOTA
    assert len(script.requests) == 1


async def test_a_refused_connection_is_final_and_said() -> None:
    """Nothing listens: one try, and the reason in words."""
    script = Script(CannotReach("refused", "refused: nothing listens there"))
    finding, _ = await look(script)
    assert finding.report.status is Status.UNREACHABLE
    assert finding.report.detail == "refused: nothing listens there"
    assert finding.report.http_status is None
    assert len(script.requests) == 1


async def test_a_redirect_is_reported_and_not_followed() -> None:
    """The target is named, and the key is not carried there."""
    script = Script(httpx.Response(307, headers={"location": "https://other.test/v1"}))
    finding, _ = await look(script)
    assert finding.report.status is Status.UNREACHABLE
    assert "https://other.test/v1" in finding.report.detail
    assert [request.url.host for request in script.requests] == ["provider.test"]


async def test_a_silent_provider_is_a_timeout() -> None:
    """The timeout holds for everything together, on the real clock."""

    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with client_of(never) as client:
        report = await asyncio.wait_for(
            probe(provider(), "m", client, timeout=0.2, attempts=3, redact=Redactor()), 5
        )
    assert report.status is Status.TIMEOUT


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"unset": ("MY_KEY",)}, "MY_KEY is not set"),
        ({"unset": ("A", "B")}, "not set: A, B"),
        ({"key": ""}, "no api_key"),
        ({"key": "sk-line\nbreak"}, "cannot be sent"),
        ({"key": "sk-blank "}, "cannot be sent"),
        ({"key": "schlüssel"}, "cannot be sent"),
    ],
)
async def test_without_a_usable_key_nothing_is_sent(changes: dict[str, Any], part: str) -> None:
    """A missing or impossible key is auth, the account's, without a request."""
    script = Script(TOOL_CALL)
    finding, _ = await look(script, provider(**changes))
    assert (finding.report.status, finding.report.account) == (Status.AUTH, True)
    assert part in finding.report.detail
    assert script.requests == []


async def test_a_form_that_cannot_be_told_is_unverified() -> None:
    """Behind a plugin's transformer nothing is guessed."""
    script = Script(TOOL_CALL)
    finding, _ = await look(script, provider(transformer={"use": ["my-plugin"]}))
    assert finding.report.status is Status.UNVERIFIED
    assert finding.report.serves
    assert script.requests == []


async def test_a_request_that_is_refused_in_both_ways_is_unverified() -> None:
    """When the provider finds fault with the request itself, the model is not condemned."""
    refusal = {
        "error": {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        }
    }
    finding, _ = await look(Script(httpx.Response(400, json=refusal)))
    assert finding.report.status is Status.UNVERIFIED
    assert '"maxcompletiontokens"' in finding.report.detail


async def test_a_404_at_an_address_without_its_path_names_the_right_one() -> None:
    """The nearest right address stands in the detail."""
    script = Script(httpx.Response(404, text="page not found"))
    finding, _ = await look(script, provider("https://a.test/v1"))
    assert "https://a.test/v1/chat/completions" in finding.report.detail


async def test_a_key_in_an_answer_is_masked() -> None:
    """A provider that repeats the key does not bring it into the detail."""
    body = {"error": {"message": f"invalid API key: got '{KEY}'"}}
    finding, _ = await look(Script(httpx.Response(401, text=json.dumps(body))))
    assert KEY not in finding.report.detail
    assert "invalid API key" in finding.report.detail


@pytest.mark.parametrize("http", [400, 401, 402, 500])
@pytest.mark.parametrize("before", [185, 190, 4085])
async def test_a_key_is_masked_where_a_sentence_is_cut(http: int, before: int) -> None:
    """Not even a part of a key that lies across the end of what is shown gets through."""
    body = {"error": {"message": "x" * before + f" {KEY}", "param": None}}
    finding, _ = await look(Script(httpx.Response(http, json=body)), attempts=1)
    assert KEY[:5] not in finding.report.detail


async def test_a_key_is_masked_in_what_refuses_tools() -> None:
    """The words of a refusal that is kept are masked before they are cut, too."""
    said = " ".join(["x" * 150, f"takes no tools {KEY}"])
    finding, _ = await look(Script(httpx.Response(400, json={"error": said}), WORDS))
    assert finding.report.tools is False
    assert KEY[:5] not in finding.report.detail


@given(
    attempt=st.integers(1, 10**6),
    named=st.none() | st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_pauses_are_bounded(attempt: int, named: float | None, jitter: float) -> None:
    """A pause never overflows, never undercuts what a provider named, and ends at 8 s else."""
    wait = pause(attempt, named, jitter)
    if named is None:
        assert 0.25 <= wait <= 8
    else:
        assert named <= wait <= named + 0.25
