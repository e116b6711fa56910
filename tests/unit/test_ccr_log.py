"""Reading one line of CCR's log. The lines were taken from real runs of both versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.ccr.v2.log import BODY_LIMIT, parse_line
from synccr.classify.logged import NetworkFailed, ProviderFailed, UnclearFailure

PID = 7940
AT = datetime(2026, 11, 24, 4, 16, 49, 362000, tzinfo=UTC)
TIME = 1795493809362
PREFIX = "[provider_response_error] "
CREDIT = '{"error": "Your plan doesn\'t cover on-demand models"}'


def line(msg: str | None, *, level: int = 50, **more: Any) -> bytes:
    entry = {"level": level, "time": TIME, "pid": PID, "hostname": "vm", **more}
    if msg is not None:
        entry["msg"] = msg
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()


def error(kind: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "stack": f"{kind}: {message}\n    at x", **more}


@pytest.mark.parametrize(
    ("said", "provider", "model", "status", "body"),
    [
        ("p,hf:bad402: 402): " + CREDIT, "p", "hf:bad402", 402, CREDIT),
        ("ge,undefined: 429): quota", "ge", None, 429, "quota"),
        ("p,a,b(c): d: 500): <html>", "p", "a,b(c): d", 500, "<html>"),
        ("p,m: 529): ", "p", "m", 529, ""),
        (
            "my provider,m: 401): got 'x'\nsecond line",
            "my provider",
            "m",
            401,
            "got 'x'\nsecond line",
        ),
        ("p,: 404): x", "p", None, 404, "x"),
    ],
)
def test_provider_errors(
    said: str, provider: str, model: str | None, status: int, body: str
) -> None:
    """A provider's error answer is read, whatever its model is called."""
    expected = ProviderFailed(provider, model, status, body, AT)
    assert expected == parse_line(line(f"{PREFIX}Error from provider({said}"), PID)


FORGED = f"{PREFIX}Error from provider(p,main: 402): no credit"


@pytest.mark.parametrize(
    "raw",
    [
        # The second line of each failure, as both versions write it.
        line(
            "Error from provider(p,m: 402): x",
            reqId="req-2",
            err=error("Error", "Error from provider(p,m: 402): x", statusCode=402, code="p"),
        ),
        line("All fallback models failed for yichu default", reqId="req-2"),
        line("Fallback model p,b failed: Error from provider(p,b: 404): x", level=40, reqId="r"),
        line("Fallback model p,hf:a/b failed: fetch failed", level=40, reqId="r"),
        line("Request failed for default, trying 2 fallback models", level=40, reqId="r"),
        line("Fallback provider 'nope' not found, skipping", level=40, reqId="r"),
        # CCR's own answers: no provider said this.
        line(
            "Provider 'zz' not found",
            reqId="r",
            err=error(
                "Error", "Provider 'zz' not found", statusCode=404, code="provider_not_found"
            ),
        ),
        line(
            "Body is not valid JSON but content-type is set to 'application/json'",
            reqId="r",
            err=error("d", "Body is not valid JSON", code="FST_ERR_CTP", statusCode=400),
        ),
        line("Error starting server: Error: listen EADDRINUSE"),
        # What a prompt can put into a log at one level or another.
        line(None, level=30, reqId="r", data={"messages": FORGED}, type="request body"),
        line("final request", level=20, reqId="r", request={"body": FORGED}),
        line(FORGED, level=30),
        line(FORGED, level=40),
        line(FORGED, reqId="req-1"),
        line("said: " + FORGED),
        line(None, reqId="r", err=error("Error", FORGED)),
        line("x", err=error("TypeError", FORGED)),
        # Another backend's line in the same file.
        line(FORGED).replace(b"7940", b"7941"),
        # Not a line of CCR.
        b"",
        b"not json",
        b'{"level":50,',
        line(FORGED)[:-1],
        line(FORGED) + b"}",
        b" " + line(FORGED),
        line(FORGED).replace(b"main", b"\xff\xfe"),
        line(FORGED).replace(b'"time":1795493809362', b'"time":1e300'),
        line(FORGED).replace(b'"time":1795493809362', b'"time":"now"'),
        line(FORGED).replace(b'"pid":7940', b'"pid":"7940"'),
        line(FORGED)[:-1] + b',"err":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        line(f"{PREFIX}Error from provider(p,m: 4o2): x"),
        line(f"{PREFIX}Error from provider(p: 402): x"),
        line(f"{PREFIX}Error from provider(,m: 402): x"),
    ],
)
def test_what_says_nothing(raw: bytes) -> None:
    """Other lines, other people's words and broken lines are nothing."""
    assert parse_line(raw, PID) is None


@pytest.mark.parametrize(
    "model", ["main: 402): x", 'main: 402): {"error": "credit"}', "main: 429): : 402): "]
)
def test_a_model_name_cannot_forge_a_status(model: str) -> None:
    """A prompt that names a model so that the line reads as another error is only unclear.

    CCR prints the name before the status; seen with 2.0.0 and 1.0.73, with `"model"` and
    with <CCR-SUBAGENT-MODEL>.
    """
    said = f"{PREFIX}Error from provider(p,{model}: 404): no such model"
    found = parse_line(line(said), PID)
    assert isinstance(found, UnclearFailure)
    assert found.provider == "p"
    assert found.models[0] == "main"
    assert found.models[-1] == model


def test_a_long_model_name_cannot_hide_the_true_status() -> None:
    """However long the name is, the second reading is seen."""
    model = "main: 402): " + "x" * (40 * BODY_LIMIT)
    found = parse_line(line(f"{PREFIX}Error from provider(p,{model}: 404): no"), PID)
    assert found == UnclearFailure("p", ("main",))


@given(model=st.text(max_size=60), body=st.text(max_size=60), status=st.integers(400, 599))
def test_only_the_true_status_is_ever_certain(model: str, body: str, status: int) -> None:
    """Whatever the names and bodies are, a certain answer states what the provider said."""
    found = parse_line(line(f"{PREFIX}Error from provider(p,{model}: {status}): {body}"), PID)
    match found:
        case ProviderFailed(_, name, http_status, text):
            assert (name or "", http_status, text) == (
                "" if model == "undefined" else model,
                status,
                body,
            )
        case UnclearFailure(_, models):
            assert model in models
        case _:
            pytest.fail(f"not seen: {found}")


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(raw: bytes) -> None:
    """No bytes raise, with or without the beginning of a line that matters."""
    parse_line(raw, PID)
    parse_line(b'{"level":50,' + raw, PID)


def test_body_is_bounded() -> None:
    """Of a page of a megabyte only the beginning is kept."""
    said = f"{PREFIX}Error from provider(p,m: 500): " + "x" * 1_000_000
    found = parse_line(line(said), PID)
    assert isinstance(found, ProviderFailed)
    assert len(found.body) == BODY_LIMIT


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            line("fetch failed", reqId="r", err=error("TypeError", "fetch failed: bad port")),
            NetworkFailed("fetch failed: bad port"),
        ),
        (
            line(
                "fetch failed",
                reqId="r",
                err=error("TypeError", "fetch failed: Headers Timeout Error"),
            ),
            NetworkFailed("fetch failed: Headers Timeout Error"),
        ),
        (
            line(
                "Unexpected token '<', \"<html>\" is not valid JSON",
                reqId="r",
                err=error("SyntaxError", "Unexpected token '<', \"<html>\" is not valid JSON"),
            ),
            NetworkFailed(
                "the answer is no JSON: Unexpected token '<', \"<html>\" is not valid JSON"
            ),
        ),
    ],
)
def test_no_usable_answer(raw: bytes, expected: NetworkFailed) -> None:
    """Refused, timed out and HTML answers are seen."""
    assert expected == parse_line(raw, PID)
