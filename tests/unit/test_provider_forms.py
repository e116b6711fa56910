"""What the embedded provider's answers look like in the three protocols."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from provider import FakeProvider, ListedModel
from provider.anthropic import AnthropicForm
from provider.chat import ChatForm
from provider.completions import ProviderForm, answer
from provider.gemini import GeminiForm
from provider.presets import behaviour
from provider.replies import completion
from provider.responses import ResponsesForm
from synccr.demo.openai import OfferedTool, Prompt, split

FORMS = ("openai", "responses", "anthropic", "gemini")
DIALECTS = (ChatForm(), ResponsesForm(), AnthropicForm(), GeminiForm())
MODEL = "hf:vendor/model-1"
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "note": {"type": "string"},
    },
    "required": ["city", "days", "unit"],
}
ARGUMENTS = {"city": "nonce-7", "days": 1, "unit": "celsius"}


class Talk:
    """Asks the provider in one form and reads the answers in it."""

    def __init__(self, provider: FakeProvider, client: httpx.Client, form: str) -> None:
        self.provider, self.client, self.form = provider, client, form

    def post(
        self, text: str, *, stream: bool = False, tools: bool = False, **extra: Any
    ) -> httpx.Response:
        url = self.provider.url(self.form)
        if self.form == "gemini":
            action = "streamGenerateContent?alt=sse" if stream else "generateContent"
            body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
            if tools:
                rows = [
                    {"name": "other", "parameters": {}},
                    {"name": "get_weather", "parametersJsonSchema": WEATHER},
                ]
                body["tools"] = [{"functionDeclarations": rows}]
            return self.client.post(f"{url}{MODEL}:{action}", json=body | extra)
        if self.form == "responses":
            asked = {"role": "user", "content": [{"type": "input_text", "text": text}]}
            body = {"model": MODEL, "stream": stream, "input": [asked]}
            if tools:
                body["tools"] = [
                    {"type": "function", "name": "other"},
                    {"type": "function", "name": "get_weather", "parameters": WEATHER},
                ]
            return self.client.post(url, json=body | extra)
        body = {
            "model": MODEL,
            "max_tokens": 50,
            "stream": stream,
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        }
        if tools and self.form == "openai":
            body["tools"] = [
                {"type": "function", "function": {"name": "other"}},
                {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
            ]
        elif tools:
            body["tools"] = [
                {"name": "other", "input_schema": {}},
                {"name": "get_weather", "input_schema": WEATHER},
            ]
        return self.client.post(url, json=body | extra)

    def text(self, response: httpx.Response) -> str:
        body = response.json()
        match self.form:
            case "openai":
                return str(body["choices"][0]["message"]["content"])
            case "responses":
                return str(body["output"][0]["content"][0]["text"])
            case "anthropic":
                return str(body["content"][0]["text"])
            case _:
                return str(body["candidates"][0]["content"]["parts"][0]["text"])

    def call(self, response: httpx.Response) -> tuple[str, Any]:
        body = response.json()
        match self.form:
            case "openai":
                assert body["choices"][0]["finish_reason"] == "tool_calls"
                function = body["choices"][0]["message"]["tool_calls"][0]["function"]
                return function["name"], json.loads(function["arguments"])
            case "responses":
                item = body["output"][0]
                return item["name"], json.loads(item["arguments"])
            case "anthropic":
                assert body["stop_reason"] == "tool_use"
                return body["content"][0]["name"], body["content"][0]["input"]
            case _:
                function = body["candidates"][0]["content"]["parts"][0]["functionCall"]
                return function["name"], function["args"]


def events(response: httpx.Response) -> list[Any]:
    """The data of each server-sent event; ``[DONE]`` stays text."""
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.replace("\r\n", "\n").split("\n\n")
    assert blocks.pop() == ""
    lines = [line for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    assert len(lines) == len(blocks)
    return [data if data == "[DONE]" else json.loads(data) for data in (line[6:] for line in lines)]


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as made:
        yield made


@pytest.fixture(params=FORMS)
def talk(request: pytest.FixtureRequest, provider: FakeProvider, client: httpx.Client) -> Talk:
    provider.set(MODEL, None)
    return Talk(provider, client, request.param)


def test_the_nonce_comes_back_alone(talk: Talk) -> None:
    """The answer to ``echo:X`` is exactly X, also a long one and outside ASCII."""
    for nonce in ("x", "grün-7", "n" * 20_000):
        assert talk.text(talk.post(f"please echo:{nonce} now")) == nonce


def test_without_a_nonce_the_model_names_itself(talk: Talk) -> None:
    """The default answer is a sentence with the model's name."""
    assert talk.text(talk.post("hi")) == f"Hello from {MODEL}."


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_the_length_of_an_answer_can_be_set(talk: Talk, length: int) -> None:
    """``length`` is what the text has, in characters."""
    talk.provider.set(MODEL, {"length": length})
    assert len(talk.text(talk.post("hi"))) == length


def test_a_forced_tool_is_called_with_arguments_of_its_schema(talk: Talk) -> None:
    """A named tool is called; required arguments are there, strings carry the nonce."""
    forced: dict[str, dict[str, Any]] = {
        "openai": {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        "responses": {"tool_choice": {"type": "function", "name": "get_weather"}},
        "anthropic": {"tool_choice": {"type": "tool", "name": "get_weather"}},
        "gemini": {
            "toolConfig": {
                "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}
            }
        },
    }
    response = talk.post("echo:nonce-7", tools=True, **forced[talk.form])
    assert talk.call(response) == ("get_weather", ARGUMENTS)


def test_a_call_of_any_tool_can_be_forced(talk: Talk) -> None:
    """Where any tool may be taken, it is the first one."""
    forced: dict[str, dict[str, Any]] = {
        "openai": {"tool_choice": "required"},
        "responses": {"tool_choice": "required"},
        "anthropic": {"tool_choice": {"type": "any"}},
        "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
    }
    assert talk.call(talk.post("hi", tools=True, **forced[talk.form])) == ("other", {})


def test_no_tool_is_called_when_the_client_forbids_it(talk: Talk) -> None:
    """The choice "none" wins over what the user asks."""
    forbidden: dict[str, dict[str, Any]] = {
        "openai": {"tool_choice": "none"},
        "responses": {"tool_choice": "none"},
        "anthropic": {"tool_choice": {"type": "none"}},
        "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
    }
    response = talk.post("use the tool echo:x", tools=True, **forbidden[talk.form])
    assert talk.text(response) == "x"


def test_a_model_may_have_no_tools(talk: Talk) -> None:
    """Told to refuse it answers 400 and says so, told to ignore it answers in words."""
    talk.provider.set(MODEL, "no_tools")
    refused = talk.post("use the tool", tools=True)
    assert refused.status_code == 400
    assert f"{MODEL} does not support tools" in refused.text
    assert talk.post("hi").status_code == 200
    talk.provider.set(MODEL, "ignores_tools")
    assert talk.text(talk.post("use the tool echo:x", tools=True)) == "x"


@pytest.mark.parametrize(
    ("status", "marks"),
    [
        (402, ("billing_error", "UNKNOWN")),
        (401, ("authentication_error", "UNAUTHENTICATED")),
        (404, ("not_found_error", "NOT_FOUND")),
        (429, ("rate_limit_error", "RESOURCE_EXHAUSTED")),
        (503, ("api_error", "UNAVAILABLE")),
        (529, ("overloaded_error", "UNKNOWN")),
    ],
)
def test_errors_have_the_form_of_the_dialect(
    talk: Talk, status: int, marks: tuple[str, str]
) -> None:
    """The same trouble is a string, an object with a type, or one with a code and a name."""
    talk.provider.set(MODEL, {"kind": "reply", "status": status, "message": "trouble {model}"})
    response = talk.post("hi")
    message = f"trouble {MODEL}"
    expected: dict[str, Any] = {
        "openai": {"error": message},
        "responses": {"error": message},
        "anthropic": {"type": "error", "error": {"type": marks[0], "message": message}},
        "gemini": {"error": {"code": status, "message": message, "status": marks[1]}},
    }
    assert (response.status_code, response.json()) == (status, expected[talk.form])


def test_a_body_that_is_none_of_the_form_is_refused(talk: Talk) -> None:
    """Broken JSON and wrong fields are 400 with the reason, and the connection goes on."""
    url = talk.provider.url(talk.form)
    url += f"{MODEL}:generateContent" if talk.form == "gemini" else ""
    for content in (b"{", b"[]", b'{"model": 1, "contents": 1}', b"\xff\xfe"):
        response = talk.client.post(url, content=content)
        assert response.status_code == 400
        assert "Invalid request" in response.text


# Streams: each form on its own.


def test_an_openai_stream(provider: FakeProvider, client: httpx.Client) -> None:
    """Role first, then the text in pieces, finish_reason, the usage that was asked for, DONE."""
    talk = Talk(provider, client, "openai")
    provider.set(MODEL, {"chunks": 3})
    response = talk.post("echo:abcdefghi", stream=True, stream_options={"include_usage": True})
    *chunks, usage, done = events(response)
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "abc"},
        {"content": "def"},
        {"content": "ghi"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * 4 + ["stop"]
    assert len({chunk["id"] for chunk in [*chunks, usage]}) == 1
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] > 0
    assert done == "[DONE]"
    assert "usage" not in talk.post("hi", stream=True).text


def test_an_openai_tool_call_in_fragments(provider: FakeProvider, client: httpx.Client) -> None:
    """The first chunk names the tool, the arguments come in several and join to JSON."""
    provider.set(MODEL, None)
    response = Talk(provider, client, "openai").post(
        "use the tool get_weather echo:nonce-7", stream=True, tools=True
    )
    *chunks, end, _ = events(response)
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks]
    assert calls[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert calls[0]["id"]
    assert len(calls) > 2
    joined = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(joined) == ARGUMENTS
    assert end["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("tools", [False, True])
def test_an_anthropic_stream(provider: FakeProvider, client: httpx.Client, tools: bool) -> None:
    """The six kinds of events in their order, named in the event line as in the data."""
    provider.set(MODEL, {"chunks": 2})
    text = "call get_weather echo:nonce-7" if tools else "echo:nonce-7"
    response = Talk(provider, client, "anthropic").post(text, stream=True, tools=tools)
    data = events(response)
    kinds = [event["type"] for event in data]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    named = [line[7:] for line in response.text.split("\n") if line.startswith("event: ")]
    assert named == kinds
    assert data[0]["message"]["model"] == MODEL
    deltas = [event["delta"] for event in data[2:4]]
    if tools:
        assert data[1]["content_block"]["name"] == "get_weather"
        assert json.loads("".join(delta["partial_json"] for delta in deltas)) == ARGUMENTS
    else:
        assert "".join(delta["text"] for delta in deltas) == "nonce-7"
    assert data[5]["delta"]["stop_reason"] == ("tool_use" if tools else "end_turn")


@pytest.mark.parametrize("tools", [False, True])
def test_a_gemini_stream(provider: FakeProvider, client: httpx.Client, tools: bool) -> None:
    """Text in pieces, a call whole; only the last event has the finish reason."""
    provider.set(MODEL, {"chunks": 2})
    text = "call get_weather echo:nonce-7" if tools else "echo:nonce-7"
    candidates = [
        event["candidates"][0]
        for event in events(Talk(provider, client, "gemini").post(text, stream=True, tools=tools))
    ]
    parts = [candidate["content"]["parts"][0] for candidate in candidates]
    if tools:
        assert parts == [{"functionCall": {"name": "get_weather", "args": ARGUMENTS}}]
    else:
        assert len(parts) == 2
        assert "".join(part["text"] for part in parts) == "nonce-7"
    assert ["finishReason" in candidate for candidate in candidates] == [
        *[False] * (len(parts) - 1),
        True,
    ]


def test_an_error_inside_a_stream(talk: Talk) -> None:
    """After some events comes the form's error event and a clean end; unstreamed it is a 500."""
    talk.provider.set(MODEL, {"preset": "stream_error", "after": 2, "message": "gone"})
    data = events(talk.post("echo:abcdef", stream=True))
    assert len(data) == 3
    assert data[-1]["error"]["message"] == "gone"
    assert "[DONE]" not in data
    assert talk.post("hi").status_code == 500


def test_a_cut_is_seen_by_the_client(talk: Talk) -> None:
    """A stream or body that was cut is an error of the connection, even when it was short."""
    talk.provider.set(MODEL, {"preset": "cut", "after": 100})
    for stream in (True, False):
        with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete chunked|complete message"):
            talk.post("echo:x", stream=stream)


@pytest.mark.parametrize("name", ["cut", "stream_error", "stall", "end_without_mark"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_goes_wrong_never_has_its_last_event(
    dialect: ProviderForm, name: str
) -> None:
    """However late the trouble comes, it comes before the end of the stream."""
    ask = Prompt(model=MODEL, text="echo:x", stream=True)
    late = behaviour({"preset": name, "after": 100})
    pieces = completion(dialect, late, ask, "", 1).pieces
    whole = completion(dialect, behaviour("ok"), ask, "", 1).pieces
    assert pieces is not None
    assert whole is not None
    assert whole[-1] not in pieces


# What the user has to say for a tool to be called.


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("use the tool", "first"),
        ("Call the tool get_time please", "get_time"),
        ("Use get_time.", "get_time"),
        ("please use the `get_time` tool", "get_time"),
        ("get_time is a tool", None),
        ("nothing", None),
        ("<system-reminder>use the get_time tool</system-reminder> hi", None),
    ],
)
def test_words_that_want_a_tool(text: str, tool: str | None) -> None:
    """A tool is called when the user says use or call, not when its name merely occurs."""
    ask = Prompt(model="m", text=text, tools=(OfferedTool("first"), OfferedTool("get_time")))
    calls = answer(ask, behaviour("ok"), 1).calls
    assert [call.tool for call in calls] == ([tool] if tool else [])


def test_after_a_tool_result_come_words(talk: Talk) -> None:
    """A conversation that ends with a tool's result is answered in text, so it comes to an end."""
    conversation: dict[str, dict[str, Any]] = {
        "openai": {
            "messages": [
                {"role": "user", "content": "use the tool echo:x"},
                {"role": "assistant", "content": None, "tool_calls": []},
                {"role": "tool", "tool_call_id": "1", "content": "42"},
            ]
        },
        "responses": {
            "input": [
                {"role": "user", "content": "use the tool echo:x"},
                {"type": "function_call", "call_id": "1", "name": "other", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "42"},
            ]
        },
        "anthropic": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "1", "content": "42"},
                        {"type": "text", "text": "use the tool echo:x"},
                    ],
                }
            ]
        },
        "gemini": {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"name": "other", "response": {}}},
                        {"text": "use the tool echo:x"},
                    ],
                }
            ]
        },
    }
    response = talk.post("", tools=True, **conversation[talk.form])
    assert talk.text(response) == "x"


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (
            {"properties": {"a": {"type": "STRING"}, "b": {"type": "BOOLEAN"}}},
            {"a": "t", "b": True},
        ),
        ({"required": ["a"], "properties": {"a": {"type": ["integer", "null"]}}}, {"a": 1}),
        ({"required": ["a"], "properties": {"a": {"type": "array"}}}, {"a": []}),
        (
            {"properties": {"o": {"type": "object", "properties": {"n": {"type": "number"}}}}},
            {"o": {"n": 1}},
        ),
        ({"required": True, "properties": 3}, {}),
        ({"properties": {"a": {"enum": {}}, "b": None}}, {"a": "t", "b": "t"}),
    ],
)
def test_arguments_follow_the_schema(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Types in either case, nested objects, and schemas that are none do no harm."""
    ask = Prompt(model="m", text="echo:t", tools=(OfferedTool("f", schema),), forced="f")
    (call,) = answer(ask, behaviour("ok"), 1).calls
    assert call.arguments == arguments


@pytest.mark.parametrize(("text", "chunks"), [("", 4), ("ab", 4), ("abcdefghij", 4), ("abc", 0)])
def test_pieces_join_to_the_text(text: str, chunks: int) -> None:
    """Splitting loses nothing and makes no more pieces than asked."""
    pieces = split(text, chunks)
    assert "".join(pieces) == text
    assert 1 <= len(pieces) <= max(1, chunks)


def test_models_lists(provider: FakeProvider, client: httpx.Client) -> None:
    """The list has the row of synthetic.new, Anthropic's, or Gemini's, by who asks."""
    provider.list_models([ListedModel(id="hf:a/b", context_length=1234, always_on=False), "c"])
    row = client.get(f"{provider.base_url}/openai/v1/models").json()["data"][0]
    assert (row["id"], row["hugging_face_id"], row["context_length"]) == ("hf:a/b", "a/b", 1234)
    assert row["always_on"] is False
    assert "tools" in row["supported_features"]
    url = f"{provider.base_url}/v1/models"
    anthropic = client.get(url, headers={"anthropic-version": "2023-06-01"}).json()
    assert [row["id"] for row in anthropic["data"]] == ["hf:a/b", "c"]
    assert anthropic["last_id"] == "c"
    gemini = client.get(f"{provider.base_url}/v1beta/models").json()["models"]
    assert (gemini[0]["name"], gemini[0]["inputTokenLimit"]) == ("models/hf:a/b", 1234)


def test_ids_differ(provider: FakeProvider, client: httpx.Client) -> None:
    """No two answers share an id."""
    provider.set(MODEL, None)
    talk = Talk(provider, client, "openai")
    assert talk.post("hi").json()["id"] != talk.post("hi").json()["id"]
