"""Requests in each provider's form, as CCR sends them, and what is odd in a provider's entry."""

from __future__ import annotations

from typing import Any

import pytest
from probe_kit import KEY, provider

from synccr.probe import transformer_hint, url_hint
from synccr.probe.dialects import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    ProbeDialect,
    dialect_of,
    document_in,
)

GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/"


@pytest.mark.parametrize(
    ("transformer", "dialect"),
    [
        ({}, CHAT),
        ({"use": []}, CHAT),
        ({"use": ["OpenAI"]}, CHAT),
        ({"use": ["openai"]}, CHAT),
        ({"use": ["openrouter", ["maxtoken", {"max_tokens": 8}], "enhancetool"]}, CHAT),
        ({"use": ["Anthropic"]}, MESSAGES),
        ({"use": ["Anthropic", "anthropic"]}, MESSAGES),
        ({"use": ["Anthropic"], "m": {"use": ["Anthropic"]}}, MESSAGES),
        ({"use": ["anthropic"]}, CHAT),
        ({"use": ["Anthropic", "tooluse"]}, CHAT),
        ({"use": ["Anthropic"], "m": {"use": [["sampling", {"top_k": 3}]]}}, CHAT),
        ({"use": ["Anthropic"], "other": {"use": ["tooluse"]}}, MESSAGES),
        ({"use": ["gemini"]}, GEMINI),
        ({"use": ["gemini", "tooluse"]}, GEMINI),
        ({"use": ["openai-responses"]}, RESPONSES),
        ({"use": [["Anthropic", {"UseBearer": True}]]}, None),
        ({"use": ["vertex-gemini"]}, None),
        ({"use": ["vertex-claude"]}, None),
        ({"use": ["my-plugin"]}, None),
        ({"m": {"use": ["gemini"]}}, None),
        ({"use": "Anthropic"}, CHAT),
        ({"use": [None, 3, []]}, CHAT),
    ],
)
def test_the_form_is_the_one_ccr_would_send(
    transformer: dict[str, Any], dialect: ProbeDialect | None
) -> None:
    """The form follows what CCR 2.0.0 was seen to send for each transformer section."""
    assert dialect_of(provider(transformer=transformer), "m") is dialect


def test_chat_request() -> None:
    """The chat form has a bearer key, few tokens, one tool and no tool choice."""
    ask = CHAT.ask(provider(), "m", tools=True)
    assert ask.url == provider().url
    assert ask.headers["authorization"] == f"Bearer {KEY}"
    body = dict(ask.json or {})
    assert body.pop("tools")[0]["function"]["name"] == "ready"
    assert body.pop("messages")[0]["role"] == "user"
    assert body == {"model": "m", "max_tokens": 128, "stream": False}


def test_chat_request_without_tools_and_with_force() -> None:
    """The plain request names no tool; the forced one requires it."""
    assert "tools" not in (CHAT.ask(provider(), "m", tools=False).json or {})
    forced = CHAT.ask(provider(), "m", tools=True, forced=True).json or {}
    assert forced["tool_choice"] == "required"


@pytest.mark.parametrize("place", ["use", "m"])
def test_maxcompletiontokens_is_heeded(place: str) -> None:
    """CCR's maxcompletiontokens, at the provider or the model, renames the limit."""
    use = ["maxcompletiontokens"]
    p = provider(transformer={"use": use} if place == "use" else {"m": {"use": use}})
    body = CHAT.ask(p, "m", tools=False).json or {}
    assert body["max_completion_tokens"] == 16
    assert "max_tokens" not in body


def test_messages_request() -> None:
    """The Anthropic form carries both kinds of key, as CCR was seen to do."""
    ask = MESSAGES.ask(provider("https://a.test/v1/messages"), "m", tools=True, forced=True)
    assert ask.headers["x-api-key"] == KEY
    assert ask.headers["authorization"] == f"Bearer {KEY}"
    assert ask.headers["anthropic-version"] == "2023-06-01"
    body = ask.json or {}
    assert body["tools"][0]["input_schema"]["required"] == ["ok"]
    assert body["tool_choice"] == {"type": "any"}
    assert body["max_tokens"] == 128


def test_gemini_request() -> None:
    """The Gemini form names model and action in the path and the key in its own header."""
    ask = GEMINI.ask(provider(GOOGLE), "gemini-x", tools=True)
    assert ask.url == f"{GOOGLE}gemini-x:generateContent"
    assert ask.headers["x-goog-api-key"] == KEY
    assert "authorization" not in ask.headers
    assert (ask.json or {})["tools"][0]["functionDeclarations"][0]["name"] == "ready"


def test_responses_request() -> None:
    """The responses form asks with input and max_output_tokens of at least 16."""
    body = RESPONSES.ask(provider("https://a.test/v1/responses"), "m", tools=False).json or {}
    assert body["max_output_tokens"] == 16
    assert body["input"][0]["role"] == "user"


def test_a_request_does_not_show_its_key() -> None:
    """The key is not in a request's repr."""
    assert KEY not in repr(CHAT.ask(provider(), "m", tools=True))


@pytest.mark.parametrize(
    ("dialect", "url", "expected"),
    [
        (CHAT, "https://a.test/v1/chat/completions", "https://a.test/v1/models"),
        (CHAT, "https://a.test/chat/completions?v=1", "https://a.test/models"),
        (MESSAGES, "https://a.test/messages/v1/messages", "https://a.test/messages/v1/models"),
        (GEMINI, GOOGLE, GOOGLE.rstrip("/") + "?pageSize=1000"),
        (CHAT, "https://a.test/odd", None),
    ],
)
def test_where_the_list_of_models_is(dialect: ProbeDialect, url: str, expected: str | None) -> None:
    """The list's address is beside the completions' address, or unknown."""
    ask = dialect.list_models(provider(url))
    assert (ask and ask.url) == expected


@pytest.mark.parametrize(
    ("dialect", "document", "completion", "call"),
    [
        (CHAT, {"choices": [{"message": {"tool_calls": [{}]}}]}, True, True),
        (CHAT, {"choices": [{"message": {"function_call": {"name": "x"}}}]}, True, True),
        (CHAT, {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}, True, False),
        (
            CHAT,
            {"choices": [{"message": {"content": None}, "finish_reason": "length"}]},
            True,
            None,
        ),
        (CHAT, {"choices": [{"delta": {"content": "h"}}]}, True, None),
        (CHAT, {"choices": [{"message": None}]}, False, False),
        (CHAT, {"choices": []}, False, False),
        (CHAT, {"choices": [1]}, False, False),
        (CHAT, {"error": "x", "choices": [{"message": {}}]}, False, False),
        (CHAT, "text", False, False),
        (CHAT, None, False, False),
        (MESSAGES, {"type": "message", "content": [{"type": "tool_use"}]}, True, True),
        (MESSAGES, {"type": "message", "content": [], "stop_reason": "end_turn"}, True, False),
        (MESSAGES, {"type": "message", "content": [], "stop_reason": "max_tokens"}, True, None),
        (MESSAGES, {"type": "message_start", "message": {}}, True, None),
        (MESSAGES, {"type": "error"}, False, None),
        (MESSAGES, {"choices": [{"message": {}}]}, False, None),
        (GEMINI, {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}, True, True),
        (CHAT, {"choices": [{"message": {}, "finish_reason": "error"}]}, False, False),
        (CHAT, {"choices": [{"message": {}, "error": {"code": 502}}]}, False, False),
        (CHAT, {"choices": [{"message": {}, "error": None}]}, True, False),
        (GEMINI, {"candidates": [{"finishReason": "STOP"}]}, True, False),
        (GEMINI, {"candidates": [{"finishReason": "MAX_TOKENS"}]}, True, None),
        (GEMINI, {"promptFeedback": {}}, False, None),
        (RESPONSES, {"output": [{"type": "function_call"}], "status": "completed"}, True, True),
        (RESPONSES, {"output": [], "status": "completed"}, True, False),
        (RESPONSES, {"output": [], "status": "incomplete"}, True, None),
        (RESPONSES, {"output": [], "status": "failed"}, False, None),
    ],
)
def test_answers(dialect: ProbeDialect, document: Any, completion: bool, call: bool | None) -> None:
    """Completions and tool calls are told from refusals, cut answers and other forms."""
    assert dialect.is_completion(document) is completion
    if isinstance(document, dict):
        assert dialect.has_tool_call(document) is call


def test_an_answer_streamed_all_the_same_is_read() -> None:
    """The first event of a stream stands for an answer; garbage is no document."""
    assert document_in('\n: hello\nevent: x\ndata: {"choices": [1]}\n\ndata: [DONE]') == {
        "choices": [1]
    }
    for garbage in ("", "<html>", "data: [DON", "{", "[" * 99_999):
        assert document_in(garbage) is None


CHAT_HINTS = [
    ("https://a.test", "https://a.test/v1/chat/completions"),
    ("https://a.test/", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1/", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1/chat", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1/completions", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1/chat/completion", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1/chat/complitions", "https://a.test/v1/chat/completions"),
    ("https://a.test/v1/chat/completions/", "https://a.test/v1/chat/completions"),
    ("https://a.test/api/paas/v4", "https://a.test/api/paas/v4/chat/completions"),
    ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1/chat/completions"),
    ("https://api.deepseek.com", "https://api.deepseek.com/chat/completions"),
    ("https://api.synthetic.new/v1", "https://api.synthetic.new/openai/v1/chat/completions"),
    ("https://openrouter.ai", "https://openrouter.ai/api/v1/chat/completions"),
    ("https://a.test/v1?k=1", "https://a.test/v1/chat/completions?k=1"),
    ("https://a.test/v1/chat/completions", None),
    ("https://x.openai.azure.com/openai/deployments/g/chat/completions?api-version=1", None),
    ("https://a.test/gateway/own", None),
    ("https://a.test/v1/messages", None),
    ("http://[broken", None),
    ("", None),
]


@pytest.mark.parametrize(("url", "expected"), CHAT_HINTS)
def test_a_missing_path_is_completed(url: str, expected: str | None) -> None:
    """An address without its path gets the nearest right one; a right or own one gets none."""
    assert url_hint(provider(url)) == expected


@pytest.mark.parametrize(
    ("use", "url", "expected"),
    [
        ("Anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("Anthropic", "https://a.test/api/anthropic", "https://a.test/api/anthropic/v1/messages"),
        ("Anthropic", "https://a.test/v1/messages", None),
        ("gemini", GOOGLE.rstrip("/"), GOOGLE),
        ("gemini", "https://generativelanguage.googleapis.com", GOOGLE),
        ("gemini", GOOGLE, None),
        ("openai-responses", "https://a.test/v1", "https://a.test/v1/responses"),
        ("my-plugin", "https://a.test", None),
    ],
)
def test_a_missing_path_in_other_forms(use: str, url: str, expected: str | None) -> None:
    """Each form has its own right path; CCR needs the slash at the end of Gemini's."""
    assert url_hint(provider(url, transformer={"use": [use]})) == expected


@pytest.mark.parametrize(
    ("transformer", "url", "part"),
    [
        ({"use": ["anthropic"]}, "https://a.test/v1/messages", 'write "Anthropic"'),
        ({"use": [["gemini", {}]]}, GOOGLE, "takes no options"),
        ({"use": ["Anthropic", "tooluse"]}, "https://a.test/v1/messages", "the one transformer"),
        ({}, "https://a.test/v1/messages", '"use": ["Anthropic"]'),
        ({}, GOOGLE, '"use": ["gemini"]'),
        ({"use": ["Anthropic"]}, "https://a.test/v1/messages", None),
        ({"use": ["OpenAI"]}, "https://a.test/v1/chat/completions", None),
        ({"use": ["my-plugin"]}, "https://a.test/v1/messages", None),
    ],
)
def test_transformers_that_do_not_do_what_they_seem_to(
    transformer: dict[str, Any], url: str, part: str | None
) -> None:
    """A transformer that CCR passes over, drops or ignores is told with what to write."""
    hint = transformer_hint(provider(url, transformer=transformer))
    assert (hint is None) if part is None else (hint is not None and part in hint)
