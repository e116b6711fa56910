"""What the real Claude Code asks for in one task, and whom: the same on both CCRs."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from home import MAIN, SPARE, Home
from provider import FakeProvider
from provider.records import ReceivedRequest

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(300)]

SMALL, THINK, EYES, NAMED = "v/small-8b", "v/think-r1", "v/eyes-vl", "v/named-70b"
DONE = "All is done, and here is the whole last sentence."
QUIET = {
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
}
TAG = f"<CCR-SUBAGENT-MODEL>acme,{NAMED}</CCR-SUBAGENT-MODEL>"
AGENTS = {
    "small": {"description": "Small.", "prompt": "You are small.", "model": "haiku"},
    "named": {"description": "Named.", "prompt": f"{TAG}You are named."},
}
OF_CLIENT = ("anthropic-", "cookie", "x-")
"""Header fields that no provider in OpenAI's form is to see."""


def picture() -> bytes:
    """A PNG of one pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0\x20\x80\xc0")
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


PNG = base64.b64encode(picture())


def call(tool: str, **arguments: str) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def delegate(agent: str) -> dict[str, Any]:
    return call("Agent", subagent_type=agent, description=agent, prompt=f"do the {agent} part")


def said_by_system(record: ReceivedRequest) -> str:
    return json.dumps([one for one in record.body["messages"] if one["role"] == "system"])


def kind(record: ReceivedRequest) -> str:
    """What a request of the client is about."""
    for agent in AGENTS:
        if f"You are {agent}." in said_by_system(record):
            return agent
    return "image" if b"image_url" in record.raw else "turn"


def tools(record: ReceivedRequest) -> set[str]:
    return {tool["function"]["name"] for tool in record.body.get("tools", [])}


def paired(record: ReceivedRequest) -> bool:
    """Each call has its result, right after it."""
    messages = record.body["messages"]
    for number, message in enumerate(messages):
        for place, made in enumerate(message.get("tool_calls", []), number + 1):
            if messages[place].get("tool_call_id") != made["id"]:
                return False
    return True


def blocks(shown: str) -> Iterator[str]:
    """The kinds of what the main conversation shows, in order."""
    for line in shown.splitlines():
        event = json.loads(line)
        if event["type"] == "assistant" and event.get("parent_tool_use_id") is None:
            yield from (block["type"] for block in event["message"]["content"])


def last_words(record: ReceivedRequest) -> str:
    return json.dumps(record.body["messages"][-1])


@pytest.mark.parametrize(
    ("ccr_version", "client"),
    [("2.0.0", "claude"), ("3.1.1", "claude"), ("3.1.1", "newest_claude")],
    indirect=["ccr_version"],
)
def test_each_kind_of_request_has_its_model(
    home: Home,
    provider: FakeProvider,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    client: str,
) -> None:
    """Tools, thinking, an image and two subagents: what each model is asked, and that the client
    shows the whole."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "one.png").write_bytes(picture())
    home.env |= {"PATH": f"{request.getfixturevalue(client)}:{home.env['PATH']}", **QUIET}
    document = home.use(provider)
    document["Providers"][0]["models"] += [SMALL, THINK, EYES, NAMED]
    document["Providers"][0]["transformer"] = {"use": ["reasoning"]}
    routes = {"background": SMALL, "think": THINK, "image": EYES}
    document["Router"] |= {name: f"acme,{model}" for name, model in routes.items()}
    home.write("ccr-config.json", document)
    steps = [
        call("Bash", command="echo one", description="One"),
        call("Read", file_path=f"{folder}/one.png"),
        delegate("small"),
        delegate("named"),
    ]
    with home.running():
        provider.forget()
        for model in (THINK, EYES):
            provider.set(model, {"script": steps, "text": DONE, "reasoning": 2})
        for model in (SMALL, NAMED):
            provider.set(model, {"text": "My part is done.", "tools": "ignore"})
        task = home.begin(
            *("code", "-p", "take the steps", "--output-format", "stream-json", "--verbose"),
            *("--allowedTools", "Bash,Read,Agent", "--agents", json.dumps(AGENTS)),
            cwd=folder,
        )
        shown, errors = task.communicate(timeout=120)
    assert task.returncode == 0, shown + errors
    result = json.loads(shown.splitlines()[-1])
    assert (result["type"], result["is_error"], result["result"]) == ("result", False, DONE)
    assert [*blocks(shown)][:10] == ["thinking", "tool_use"] * 4 + ["thinking", "text"]
    asked = provider.requests()
    assert {(kind(one), one.model) for one in asked} == {
        ("turn", THINK),
        ("image", EYES),
        ("small", SMALL),
        ("named", NAMED),
    }
    assert "take the steps" in last_words(asked[0])
    for one in asked:
        assert one.key_ok
        assert paired(one)
        assert (PNG in one.raw) == (one.model == EYES)
        assert TAG not in said_by_system(one)
        assert kind(one) in AGENTS or {"Agent", "Bash", "Read"} <= tools(one)
        assert [name for name in one.headers if name.startswith(OF_CLIENT)] == []
        assert "claude" not in one.headers["user-agent"]


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_what_the_person_names(home: Home, provider: FakeProvider, claude: Path) -> None:
    """A model on the command line and header fields of their own; beside it, what clients ask
    that is no prompt."""
    home.env |= {
        "PATH": f"{claude}:{home.env['PATH']}",
        "ANTHROPIC_CUSTOM_HEADERS": "x-team: blue\nx-synccr-turn: 7\ncookie: a=b",
        **QUIET,
    }
    document = home.use(provider)
    document["Providers"].append(
        {
            "name": "direct",
            "api_base_url": provider.url("anthropic"),
            "api_key": "$ACME_KEY",
            "models": [MAIN],
            "transformer": {"use": ["Anthropic"]},
        }
    )
    home.write("ccr-config.json", document)
    with home.running() as running:
        provider.forget()
        for name in (f"acme,{SPARE}", f"direct,{MAIN}"):
            said = home.run("code", "-p", "echo:alpha", "--model", name)
            assert (said.returncode, said.stdout.strip()) == (0, "alpha"), said.stderr
        openai, anthropic = provider.requests()
        body = {"model": "claude-sonnet-4", "messages": [{"role": "user", "content": "one two"}]}
        counted = httpx.post(f"{running.url}/v1/messages/count_tokens", json=body)
        listed = httpx.get(f"{running.url}/v1/models?limit=1000").json()["data"]
        assert len(provider.requests()) == 2
    assert (openai.model, anthropic.model) == (SPARE, MAIN)
    assert openai.key_ok
    assert anthropic.key_ok
    assert [name for name in openai.headers if name.startswith(OF_CLIENT)] == []
    assert "x-synccr-turn" not in anthropic.headers
    assert anthropic.headers["anthropic-version"] == "2023-06-01"
    assert "interleaved-thinking" in anthropic.headers["anthropic-beta"]
    assert anthropic.headers["user-agent"].startswith("claude-cli/")
    assert anthropic.body["thinking"]
    assert counted.json()["input_tokens"] > 0
    assert {f"acme,{SPARE}", f"direct,{MAIN}"} <= {row["id"] for row in listed}
