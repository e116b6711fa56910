"""The provider that ``synccr demo`` runs on."""

import json
from collections.abc import Iterator

import httpx
import pytest
from probe_kit import provider as configured

from synccr.demo.provider import CHAT_PATH, NO_CREDIT, DemoProvider
from synccr.probe.dialects import TOOL, ChatProbe

KEY = "demo-key-0123456789"
ASKED = {"model": "main", "messages": [{"role": "user", "content": "echo:two"}]}


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(["main", "spare"], key=KEY) as running:
        yield running


@pytest.fixture
def client(provider: DemoProvider) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=provider.base_url, headers=headers, trust_env=False) as made:
        yield made


def test_it_lists_its_models(client: httpx.Client) -> None:
    """The list names them, and nothing else is there."""
    rows = client.get("/openai/v1/models").json()["data"]
    assert [row["id"] for row in rows] == ["main", "spare"]
    assert client.get("/v2/quotas").status_code == 404
    assert client.get(CHAT_PATH).status_code == 404


def test_it_wants_its_key(client: httpx.Client) -> None:
    """Another key, and none, is 401."""
    for headers in ({"authorization": "Bearer other"}, {"authorization": ""}):
        assert client.post(CHAT_PATH, json=ASKED, headers=headers).status_code == 401


def test_an_echo_whole_and_streamed(client: httpx.Client) -> None:
    """The nonce comes back alone; a stream ends with its mark."""
    whole = client.post(CHAT_PATH, json=ASKED)
    assert whole.json()["choices"][0]["message"]["content"] == "two"
    *chunks, mark = client.post(CHAT_PATH, json=ASKED | {"stream": True}).text.split("\n\n")[:-1]
    deltas = [json.loads(chunk[6:])["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "two"
    assert mark == "data: [DONE]"


def test_a_model_that_is_unpaid_answers_402(provider: DemoProvider, client: httpx.Client) -> None:
    """It alone, and until it is paid for."""
    provider.unpaid.add("main")
    refused = client.post(CHAT_PATH, json=ASKED)
    assert (refused.status_code, refused.json()) == (402, {"error": NO_CREDIT})
    assert client.post(CHAT_PATH, json=ASKED | {"model": "spare"}).status_code == 200
    provider.unpaid.remove("main")
    assert client.post(CHAT_PATH, json=ASKED).status_code == 200


def test_a_body_that_cannot_be_read_is_refused(client: httpx.Client) -> None:
    """400 with the reason, and the connection goes on."""
    for content in (b"{", b'{"model": 1}'):
        assert client.post(CHAT_PATH, content=content).status_code == 400
    assert client.post(CHAT_PATH, json=ASKED).status_code == 200


def test_a_probe_is_answered_with_a_tool_call(client: httpx.Client) -> None:
    """What synccr asks before it starts is answered at once, unforced; the result with words."""
    asked = dict(ChatProbe().ask(configured(), "main", tools=True).json or {})
    assert "tool_choice" not in asked
    (call,) = client.post(CHAT_PATH, json=asked).json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == TOOL
    asked["messages"] = [
        *asked["messages"],
        {"role": "tool", "tool_call_id": call["id"], "content": "ok"},
    ]
    message = client.post(CHAT_PATH, json=asked).json()["choices"][0]["message"]
    assert message["content"] == "Hello from main."


def test_the_last_request_of_a_connection(client: httpx.Client) -> None:
    """``connection: close`` is answered in kind."""
    answer = client.get("/openai/v1/models", headers={"connection": "close"})
    assert answer.headers["connection"] == "close"
