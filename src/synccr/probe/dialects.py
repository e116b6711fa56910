"""How CCR 2.0.0 asks a provider: requests built and answers judged in the provider's own form.

A probe is sent as CCR would send it, so that a model which answers the probe answers
CCR too. What CCR does was seen on the wire: the transformer ``Anthropic`` alone passes
requests through with both ``authorization`` and ``x-api-key``; beside any other
transformer, at the provider or at the model, it has no effect and the OpenAI form is
sent; a name that CCR does not know (``anthropic``, ``openai``) is passed over.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import urljoin, urlsplit

from synccr import __version__
from synccr.classify.error_body import failed_choice
from synccr.config.profile import Provider
from synccr.models.shape import Shape

TOOL_TOKENS = 128
"""Room for a tool call, and for a sentence before it."""
PLAIN_TOKENS = 16
"""The least that OpenAI's responses form accepts."""

TOOL = "ready"
_TOOL_PROMPT = f"Call the tool {TOOL}."
_PLAIN_PROMPT = "Say ok."
_SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
_DESCRIPTION = "Reports that you are ready."

LARGE = 32_000
"""Tokens from which on a request is so large that its size may be why it fails: most requests
of Claude Code have fewer, and each token of a probe is paid for."""
_MOST_PADDING = 200_000
_BYTES_A_TOKEN = 4
_FILLER = "The quick brown fox jumps over the lazy dog. "

SHARED_TRANSFORMERS = frozenset(
    {"Anthropic", "OpenAI", "cerebras", "cleancache", "deepseek", "enhancetool", "forcereasoning"}
    | {"gemini", "groq", "openai-responses", "streamoptions", "tooluse"}
    | {"vertex-claude", "vertex-gemini"}
)
"""CCR's transformers that take no options: ``["Anthropic", {...}]`` makes it drop the provider."""

OPTION_TRANSFORMERS = frozenset(
    {"customparams", "maxcompletiontokens", "maxtoken", "openrouter", "reasoning", "sampling"}
    | {"vercel"}
)
TRANSFORMERS = SHARED_TRANSFORMERS | OPTION_TRANSFORMERS
_SYNTHETIC = "api.synthetic.new"
"""Has one list of models, whatever the form of completions."""
_LOWER = {name.lower() for name in TRANSFORMERS}


@dataclass(frozen=True)
class ProbeRequest:
    """One HTTP request; headers are not shown in ``repr``, because they hold the key.

    Attributes:
        events: the dialect of the events that the answer is to come in; None for one document.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    json: Mapping[str, Any] | None = None
    events: str | None = None


@dataclass(frozen=True)
class TransformerUse:
    """One transformer in a ``use`` list.

    Attributes:
        name: as written.
        options: whether it is given any.
        values: those options.
    """

    name: str
    options: bool
    values: Mapping[str, Any] = field(default_factory=dict, compare=False)


def used(section: object) -> tuple[TransformerUse, ...]:
    """The transformers of a ``{"use": [...]}`` section; what CCR cannot read is left out."""
    use = section.get("use") if isinstance(section, Mapping) else None
    entries = []
    for item in use if isinstance(use, list) else []:
        if isinstance(item, str):
            entries.append(TransformerUse(item, options=False))
        elif isinstance(item, list) and item and isinstance(item[0], str):
            values = item[1] if len(item) > 1 and isinstance(item[1], Mapping) else {}
            entries.append(TransformerUse(item[0], options=True, values=values))
    return tuple(entries)


def renames_limit(provider: Provider, model: str) -> bool:
    """Whether this model is to be sent ``max_completion_tokens`` in place of ``max_tokens``."""
    entries = used(provider.transformer) + used(provider.transformer.get(model))
    return any(entry.name == "maxcompletiontokens" for entry in entries)


class ProbeDialect(ABC):
    """One form of asking for a completion.

    Attributes:
        name: for people.
        transformer: CCR's transformer that selects this form; empty for the default.
        ending: how the path of a right address ends.
        force: what, added to a request, leaves the model no way but a tool call.
        stream: what, added to a request, makes the answer a stream.
    """

    name: str
    transformer: str
    ending: str
    force: Mapping[str, Any]
    stream: Mapping[str, Any] = MappingProxyType({"stream": True})

    def headers(self, provider: Provider) -> dict[str, str]:
        """As CCR sends them, but for the user agent."""
        return {
            "authorization": f"Bearer {provider.key}",
            "user-agent": f"synccr/{__version__}",
            "accept-encoding": "identity",
        }

    def ask(
        self,
        provider: Provider,
        model: str,
        *,
        tools: bool,
        forced: bool = False,
        like: Shape | None = None,
    ) -> ProbeRequest:
        """A completion with the fewest tokens, not streamed but where ``like`` is.

        Args:
            provider: whom to ask.
            model: by the provider's own name.
            tools: offer one tiny tool and ask for its use. CCR names no tool choice
                (some providers reject one), so that neither does this …
            forced: … unless this is set.
            like: a request that it is to resemble: streamed, and as large when that is large.
        """
        filler = padding(like)
        if tools:
            body = self._completion(model, filler + _TOOL_PROMPT, TOOL_TOKENS)
            body["tools"] = [self._tool()]
        else:
            body = self._completion(model, filler + _PLAIN_PROMPT, PLAIN_TOKENS)
        if forced:
            body |= self.force
        url, headers = self.url(provider, model), self.headers(provider)
        if like is None or not like.stream:
            return ProbeRequest("POST", url, headers, body)
        return ProbeRequest(
            "POST", self._streaming(url), headers, {**body, **self.stream}, self.name
        )

    def list_models(self, provider: Provider) -> ProbeRequest | None:
        """The provider's list of models; None when its address cannot be told."""
        base, found, _ = provider.url.rpartition(self.ending)
        return ProbeRequest("GET", f"{base}/models", self.headers(provider)) if found else None

    def url(self, provider: Provider, model: str) -> str:  # noqa: ARG002 - of use to Gemini
        """Where CCR asks for a completion, not streamed."""
        return provider.url

    def _streaming(self, url: str) -> str:
        return url

    @abstractmethod
    def _completion(self, model: str, prompt: str, tokens: int) -> dict[str, Any]: ...

    @abstractmethod
    def _tool(self) -> dict[str, Any]: ...

    @abstractmethod
    def is_completion(self, document: Any) -> bool:
        """Whether an answer is a completion; an empty one that was cut off is."""

    @abstractmethod
    def has_tool_call(self, document: Any) -> bool | None:
        """Whether a completion calls the tool; None when it was cut off before."""


class ChatProbe(ProbeDialect):
    """OpenAI's chat completions, the form of most providers."""

    name = "openai"
    transformer = ""
    ending = "/chat/completions"
    force = MappingProxyType({"tool_choice": "required"})

    def ask(
        self,
        provider: Provider,
        model: str,
        *,
        tools: bool,
        forced: bool = False,
        like: Shape | None = None,
    ) -> ProbeRequest:
        ask = super().ask(provider, model, tools=tools, forced=forced, like=like)
        if renames_limit(provider, model):
            body = dict(ask.json or {})
            body["max_completion_tokens"] = body.pop("max_tokens")
            return replace(ask, json=body)
        return ask

    def _completion(self, model: str, prompt: str, tokens: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": model, "messages": messages, "max_tokens": tokens, "stream": False}

    def _tool(self) -> dict[str, Any]:
        function = {"name": TOOL, "description": _DESCRIPTION, "parameters": _SCHEMA}
        return {"type": "function", "function": function}

    def is_completion(self, document: Any) -> bool:
        choice = _first(document, "choices")
        if choice is None or failed_choice(document):
            return False
        return any(
            isinstance(choice.get(name), dict | str) for name in ("message", "delta", "text")
        )

    def has_tool_call(self, document: Any) -> bool | None:
        choice = _first(document, "choices") or {}
        message = choice.get("message")
        if isinstance(message, dict) and (
            message.get("tool_calls") or message.get("function_call")
        ):
            return True
        return None if choice.get("finish_reason") == "length" or "delta" in choice else False


class MessagesProbe(ProbeDialect):
    """Anthropic's messages."""

    name = "anthropic"
    transformer = "Anthropic"
    ending = "/messages"
    force = MappingProxyType({"tool_choice": {"type": "any"}})

    def headers(self, provider: Provider) -> dict[str, str]:
        own = {"x-api-key": provider.key, "anthropic-version": "2023-06-01"}
        return super().headers(provider) | own

    def _completion(self, model: str, prompt: str, tokens: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": model, "max_tokens": tokens, "messages": messages}

    def _tool(self) -> dict[str, Any]:
        return {"name": TOOL, "description": _DESCRIPTION, "input_schema": _SCHEMA}

    def is_completion(self, document: Any) -> bool:
        if not isinstance(document, dict):
            return False
        whole = document.get("type") == "message" and isinstance(document.get("content"), list)
        return whole or document.get("type") == "message_start"

    def has_tool_call(self, document: Any) -> bool | None:
        if any(block.get("type") == "tool_use" for block in _rows(document, "content")):
            return True
        cut = document.get("stop_reason") == "max_tokens" or document.get("type") != "message"
        return None if cut else False


class GeminiProbe(ProbeDialect):
    """Google's generateContent; the address ends in ``/models/``."""

    name = "gemini"
    transformer = "gemini"
    ending = "/models/"
    force = MappingProxyType({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}})
    stream = MappingProxyType({})

    def headers(self, provider: Provider) -> dict[str, str]:
        headers = super().headers(provider) | {"x-goog-api-key": provider.key}
        del headers["authorization"]
        return headers

    def list_models(self, provider: Provider) -> ProbeRequest | None:
        ask = super().list_models(provider)
        return ask and replace(ask, url=f"{ask.url}?pageSize=1000")

    def url(self, provider: Provider, model: str) -> str:
        return urljoin(provider.url, f"./{model}:generateContent")

    def _streaming(self, url: str) -> str:
        return url.removesuffix("generateContent") + "streamGenerateContent?alt=sse"

    def _completion(self, model: str, prompt: str, tokens: int) -> dict[str, Any]:  # noqa: ARG002
        return {
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "generationConfig": {"maxOutputTokens": tokens},
        }

    def _tool(self) -> dict[str, Any]:
        function = {"name": TOOL, "description": _DESCRIPTION, "parametersJsonSchema": _SCHEMA}
        return {"functionDeclarations": [function]}

    def is_completion(self, document: Any) -> bool:
        return _first(document, "candidates") is not None

    def has_tool_call(self, document: Any) -> bool | None:
        candidate = _first(document, "candidates") or {}
        if any("functionCall" in part for part in _rows(candidate.get("content"), "parts")):
            return True
        return False if candidate.get("finishReason") == "STOP" else None


class ResponsesProbe(ProbeDialect):
    """OpenAI's responses."""

    name = "openai-responses"
    transformer = "openai-responses"
    ending = "/responses"
    force = MappingProxyType({"tool_choice": "required"})

    def _completion(self, model: str, prompt: str, tokens: int) -> dict[str, Any]:
        questions = [{"role": "user", "content": prompt}]
        return {"model": model, "input": questions, "max_output_tokens": tokens, "stream": False}

    def _tool(self) -> dict[str, Any]:
        return {
            "type": "function",
            "name": TOOL,
            "description": _DESCRIPTION,
            "parameters": _SCHEMA,
        }

    def is_completion(self, document: Any) -> bool:
        if not isinstance(document, dict) or document.get("status") == "failed":
            return False
        return (
            isinstance(document.get("output"), list) or document.get("type") == "response.created"
        )

    def has_tool_call(self, document: Any) -> bool | None:
        if any(item.get("type") == "function_call" for item in _rows(document, "output")):
            return True
        return False if document.get("status") == "completed" else None


CHAT, MESSAGES, GEMINI, RESPONSES = ChatProbe(), MessagesProbe(), GeminiProbe(), ResponsesProbe()


def dialect_of(provider: Provider, model: str = "") -> ProbeDialect | None:
    """The form in which CCR asks ``model`` of ``provider``.

    None when it cannot be told: a transformer of a plugin, Vertex (whose key comes from
    Google's login), or one that CCR cannot build.
    """
    entries = used(provider.transformer)
    if any(e.options and e.name in SHARED_TRANSFORMERS for e in entries):
        return None
    if any(e.name.lower() not in _LOWER or e.name.startswith("vertex") for e in entries):
        return None
    names = [e.name for e in entries if e.name in TRANSFORMERS]
    of_model = [e.name for e in used(provider.transformer.get(model)) if e.name in TRANSFORMERS]
    if {"gemini", "openai-responses", "vertex-gemini", "vertex-claude"} & set(of_model):
        return None
    if "gemini" in names:
        return GEMINI
    if "openai-responses" in names:
        return RESPONSES
    if names == ["Anthropic"] and of_model in ([], ["Anthropic"]):
        return MESSAGES
    return CHAT


def list_request(provider: Provider) -> ProbeRequest | None:
    """How to ask for a provider's list of models; None when the address cannot be told."""
    dialect = dialect_of(provider)
    request = dialect.list_models(provider) if dialect else None
    if request and urlsplit(request.url).hostname == _SYNTHETIC:
        return replace(request, url=f"https://{_SYNTHETIC}/openai/v1/models")
    return request


def padding(like: Shape | None) -> str:
    """Harmless text that makes a prompt about as large as a request that was large, bounded."""
    if like is None or like.tokens < LARGE:
        return ""
    size = min(like.tokens * _BYTES_A_TOKEN, _MOST_PADDING)
    return _FILLER * (size // len(_FILLER)) + "\n\n"


def document_in(body: str) -> Any:
    """The JSON of an answer, or of the first event when it was streamed all the same; or None."""
    text = body.lstrip("\ufeff \r\n\t")
    if not text.startswith(("{", "[")):
        events = (line[5:] for line in text[:65_536].splitlines() if line.startswith("data:"))
        text = next((event.strip() for event in events), "")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _rows(document: Any, name: str) -> list[dict[str, Any]]:
    rows = document.get(name) if isinstance(document, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _first(document: Any, name: str) -> dict[str, Any] | None:
    if isinstance(document, dict) and document.get("error"):
        return None
    rows = _rows(document, name)
    return rows[0] if rows else None
