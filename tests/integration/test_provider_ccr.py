"""The embedded provider behind the real Claude Code Router 2.0.0, in all three dialects."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ports import free_port
from provider import FakeProvider
from synccr.ccr.node import find_node

pytestmark = [pytest.mark.integration, pytest.mark.long]

PACKAGE = "@musistudio/claude-code-router"
VERSION = "2.0.0"
KEY = "provider-key-0123456789"
LOCAL_KEY = "local-key-0123456789"
MODEL = "model-1"
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "openai": {},
    "anthropic": {"transformer": {"use": ["Anthropic"]}},
    "gemini": {"transformer": {"use": ["gemini"]}},
}
SAMPLING = {
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
    "repetition_penalty": 1.05,
    "max_tokens": 65536,
}
WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}


@pytest.fixture(scope="session")
def ccr_entry(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Path:
    """CCR's entry script: ``SYNCCR_TEST_CCR``, or one that npm installs for this session."""
    if entry := os.environ.get("SYNCCR_TEST_CCR"):
        return Path(entry)
    node = find_node(os.environ)
    prefix = tmp_path_factory.mktemp("ccr")
    options = ("--no-fund", "--no-audit", "--cache", npm_cache, "--prefix", prefix)
    subprocess.run(
        [*node.npm, "install", *options, f"{PACKAGE}@{VERSION}"],
        env=node.environ(os.environ),
        check=True,
        capture_output=True,
        timeout=240,
    )
    return prefix / "node_modules" / PACKAGE / "dist" / "cli.js"


@contextmanager
def running_ccr(entry: Path, home: Path, config: dict[str, Any]) -> Iterator[httpx.Client]:
    """CCR with this configuration and a home of its own; a client of it.

    The provider's key comes from the environment, as with the shipped profiles.
    """
    directory = home / ".claude-code-router"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    port = free_port()
    process = subprocess.Popen(
        [find_node(os.environ).path, entry, "start"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "SERVICE_PORT": str(port),
            "PROVIDER_KEY": KEY,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    headers = {"x-api-key": LOCAL_KEY}
    url = f"http://127.0.0.1:{port}"
    with process, httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        try:
            wait_until_healthy(client, process)
            yield client
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # a request whose upstream is silent holds it
                process.kill()


def wait_until_healthy(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Until ``/health`` answers 200, at most 30 seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"CCR ended with {process.returncode}: {process.stderr.read()!r}")
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail("CCR does not answer")


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ccr(ccr_entry: Path, provider: FakeProvider, home: Path) -> Iterator[httpx.Client]:
    """CCR with one provider for each dialect, and one with a misspelt transformer."""
    providers = [
        {
            "name": form,
            "api_base_url": provider.url(form),
            "api_key": "$PROVIDER_KEY",
            "models": [MODEL, "tuned"],
            **transformer,
        }
        for form, transformer in TRANSFORMERS.items()
    ]
    providers[0]["transformer"] = {"tuned": {"use": [["sampling", SAMPLING]]}}
    providers.append(providers[1] | {"name": "lower", "transformer": {"use": ["anthropic"]}})
    config = {
        "LOG": True,
        "LOG_LEVEL": "error",
        "APIKEY": LOCAL_KEY,
        "Providers": providers,
        "Router": {"default": f"openai,{MODEL}"},
        "fallback": {"default": ["openai,spare"]},
    }
    with running_ccr(ccr_entry, home, config) as client:
        yield client


class Router:
    """Sends messages through CCR to one of the providers."""

    def __init__(self, client: httpx.Client, provider: FakeProvider, form: str) -> None:
        self.client, self.provider, self.form = client, provider, form

    def body(self, text: str, *, model: str = MODEL, **extra: Any) -> dict[str, Any]:
        message = {"role": "user", "content": text}
        target = f"{self.form},{model}"
        return {"model": target, "max_tokens": 100, "messages": [message]} | extra

    def send(self, text: str, **extra: Any) -> httpx.Response:
        return self.client.post("/v1/messages", json=self.body(text, **extra))

    def events(self, text: str, **extra: Any) -> list[dict[str, Any]]:
        """The data of all events of a streamed answer."""
        response = self.send(text, stream=True, **extra)
        assert response.status_code == 200, response.text
        lines = [line for line in response.text.split("\n") if line.startswith("data: ")]
        return [json.loads(line[6:]) for line in lines]


@pytest.fixture(params=TRANSFORMERS)
def router(
    request: pytest.FixtureRequest, ccr: httpx.Client, provider: FakeProvider
) -> Iterator[Router]:
    provider.forget()
    provider.set(MODEL, None)
    provider.set("spare", "missing")
    yield Router(ccr, provider, request.param)
    provider.set("spare", None)


@pytest.mark.parametrize("nonce", ["nonce-1", "long-" * 4000])
def test_a_message_comes_through(router: Router, nonce: str) -> None:
    """The provider's text is the client's text, in every dialect, with the provider's key."""
    response = router.send(f"echo:{nonce}")
    assert response.status_code == 200, response.text
    body = response.json()
    assert [part["text"] for part in body["content"]] == [nonce]
    assert (body["type"], body["stop_reason"]) == ("message", "end_turn")
    assert body["usage"]["output_tokens"] > 0
    (record,) = router.provider.requests()
    assert (record.model, record.key_ok, record.behaviour) == (MODEL, True, "ok")


@pytest.mark.parametrize("chunk_delay", [0, 0.02])
def test_a_stream_comes_through(router: Router, chunk_delay: float) -> None:
    """All pieces arrive in order between one start and one stop."""
    router.provider.set(MODEL, {"chunks": 5, "chunk_delay": chunk_delay})
    events = router.events("echo:nonce-in-a-stream")
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert len(deltas) == 5
    assert "".join(delta["text"] for delta in deltas) == "nonce-in-a-stream"
    (record,) = router.provider.requests()
    assert record.stream


TOOL_CHOICES = [{"type": "tool", "name": "get_weather"}, None]


@pytest.mark.parametrize("choice", TOOL_CHOICES)
def test_a_tool_call_comes_through(router: Router, choice: dict[str, str] | None) -> None:
    """A call, forced or asked for in words, arrives as tool_use with its arguments."""
    extra = {"tools": [WEATHER]} | ({"tool_choice": choice} if choice else {})
    response = router.send("use the tool echo:nonce-2", **extra)
    assert response.status_code == 200, response.text
    (call,) = response.json()["content"]
    assert (call["type"], call["name"]) == ("tool_use", "get_weather")
    assert call["input"] == {"city": "nonce-2", "days": 1}


@pytest.mark.parametrize("choice", TOOL_CHOICES)
def test_a_streamed_tool_call_comes_through(router: Router, choice: dict[str, str] | None) -> None:
    """The fragments of the arguments join to the same call."""
    extra = {"tools": [WEATHER]} | ({"tool_choice": choice} if choice else {})
    events = router.events("use the tool echo:nonce-3", **extra)
    (start,) = [event for event in events if event["type"] == "content_block_start"]
    assert (start["content_block"]["type"], start["content_block"]["name"]) == (
        "tool_use",
        "get_weather",
    )
    fragments = [
        event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"
    ]
    assert json.loads("".join(fragments)) == {"city": "nonce-3", "days": 1}


def test_the_turn_after_a_tool_call_is_answered_in_words(router: Router) -> None:
    """With the tool's result in the conversation the answer is text."""
    conversation = [
        {"role": "user", "content": "use the tool echo:nonce-4"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}],
        },
    ]
    response = router.send("", messages=conversation, tools=[WEATHER])
    assert response.status_code == 200, response.text
    assert [part["type"] for part in response.json()["content"]] == ["text"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("billing", 402, "insufficient credit balance"),
        ("missing", 404, f"The model `{MODEL}` does not exist"),
        ("auth", 401, "Invalid API key"),
        ("forbidden", 403, "Your account may not use"),
        ("unavailable", 400, "Model is unavailable"),
        ("spent_cap", 429, "exceeded your subscription rate limits"),
        ("rate_limited", 429, "Too many requests"),
        ("server_error", 500, "Internal server error"),
        ("down", 503, "Service temporarily unavailable"),
        ("overloaded", 529, "Overloaded"),
        ("bad_gateway", 502, "<h1>502 Bad Gateway</h1>"),
        ("echo_key", 401, KEY),
    ],
)
def test_an_error_keeps_its_status(
    router: Router, name: str, status: int, words: str, stream: bool
) -> None:
    """Status and body reach the client inside CCR's own error; Retry-After is lost."""
    router.provider.set(MODEL, name)
    response = router.send("hi", stream=stream)
    assert response.status_code == status
    error = response.json()["error"]
    model = "undefined" if router.form == "gemini" else MODEL
    assert error["code"] == "provider_response_error"
    assert error["message"].startswith(f"Error from provider({router.form},{model}: {status}): ")
    assert words in error["message"]
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("name", ["html", "garbage", "reset", "cut"])
def test_what_is_no_answer_becomes_a_500(router: Router, name: str) -> None:
    """HTML, broken JSON, a reset and a cut body are 500, and CCR asks no other model."""
    router.provider.set("spare", None)
    router.provider.set(MODEL, name)
    response = router.send("hi")
    assert response.status_code == 500, response.text
    assert response.json()["error"]["code"] == "internal_error"
    assert router.provider.requests("spare") == []
    assert router.provider.requests(MODEL)[0].behaviour == name


def test_a_page_instead_of_a_stream(router: Router) -> None:
    """HTML for a streamed request is a 500, or the page itself where CCR only hands through."""
    router.provider.set(MODEL, "html")
    response = router.send("hi", stream=True)
    if router.form == "anthropic":
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.text.startswith("<!DOCTYPE html>")
    else:
        assert response.status_code == 500


def test_a_json_error_with_status_200(router: Router) -> None:
    """It is a 500, or comes as it is with its 200 where CCR only hands through."""
    router.provider.set(MODEL, "json_error")
    response = router.send("hi")
    assert response.status_code == (200 if router.form == "anthropic" else 500)
    assert "error" in response.json()


def test_a_cut_stream_breaks_the_clients_stream(router: Router) -> None:
    """The client sees the connection break."""
    router.provider.set(MODEL, {"preset": "cut", "chunk_delay": 0.02})
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        router.send("echo:abcdefgh", stream=True)


def test_an_error_inside_a_stream_looks_like_an_end(router: Router) -> None:
    """A translated stream ends normally after the beginning of the text; Anthropic's own error
    event is handed through.
    """
    router.provider.set(MODEL, {"preset": "stream_error", "chunks": 8})
    events = router.events("echo:abcdefgh")
    text = "".join(
        event["delta"]["text"] for event in events if event["type"] == "content_block_delta"
    )
    assert text != "abcdefgh"
    assert "abcdefgh".startswith(text)
    assert events[-1]["type"] == ("error" if router.form == "anthropic" else "message_stop")


def test_without_tool_support_the_request_fails_with_the_reason(router: Router) -> None:
    """The 400 for tools comes through like any other."""
    router.provider.set(MODEL, "no_tools")
    assert router.send("hi").status_code == 200
    response = router.send("hi", tools=[WEATHER])
    assert response.status_code == 400
    assert "does not support tools" in response.text


def test_credit_runs_out_and_the_spare_model_answers(router: Router) -> None:
    """After the paid answers comes 402, and CCR's own fallback asks the next model."""
    router.provider.set("spare", None)
    router.provider.credit(MODEL, 1)
    try:
        answers = [router.send(f"echo:nonce-{number}") for number in range(2)]
    finally:
        router.provider.credit(MODEL, None)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["content"][0]["text"] for answer in answers] == ["nonce-0", "nonce-1"]
    seen = [(record.model, record.status) for record in router.provider.requests()]
    assert seen == [(MODEL, 200), (MODEL, 402), ("spare", 200)]


def test_sampling_parameters_arrive(ccr: httpx.Client, provider: FakeProvider) -> None:
    """CCR's sampling transformer puts all five parameters into the request."""
    Router(ccr, provider, "openai").send("hi", model="tuned", max_tokens=100_000)
    (record,) = provider.requests("tuned")
    assert record.sampling == SAMPLING


def test_the_transformers_name_decides_how_the_key_is_sent(
    ccr: httpx.Client, provider: FakeProvider
) -> None:
    """``Anthropic`` sends the key twice, also as x-api-key; ``anthropic`` only as a bearer key, and
    then the answer is not understood.
    """
    provider.set(MODEL, None)
    names = []
    for form, status in (("anthropic", 200), ("lower", 500)):
        assert Router(ccr, provider, form).send("hi").status_code == status
        headers = provider.requests(MODEL)[-1].headers
        names.append([name for name in ("x-api-key", "authorization") if name in headers])
    assert names == [["x-api-key", "authorization"], ["authorization"]]


def test_ccr_writes_its_log_where_it_has_its_home(ccr: httpx.Client, home: Path) -> None:
    """The temporary home is really the one in use."""
    assert ccr.get("/health").status_code == 200
    assert list((home / ".claude-code-router" / "logs").glob("ccr-*.log"))
