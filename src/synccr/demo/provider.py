"""The provider of the demonstration: the OpenAI chat form on loopback, and credit that ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count
from typing import Final

import msgspec

from synccr.demo import openai
from synccr.demo.openai import Completion, ListedModel, Prompt, ToolCall
from synccr.demo.server import HttpReply, HttpRequest, LocalServer, json_reply

CHAT_PATH: Final = "/openai/v1/chat/completions"
NO_CREDIT: Final = (
    "Your plan doesn't cover on-demand models, and there's insufficient credit balance"
)
"""What synthetic.new says with a 402."""
WRONG_KEY: Final = "Invalid API key"
EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}

_ECHO = re.compile(r"echo:(\S+)")
_TOOL_WANTED = re.compile(r"\bcall the tool\b", re.IGNORECASE)
_CHUNKS = 4


class DemoProvider(LocalServer):
    """Its models answer those who have the key, each as long as it is paid for.

    Attributes:
        unpaid: the models without credit; may be changed from any thread.
    """

    def __init__(self, models: Iterable[str], *, key: str) -> None:
        super().__init__()
        self.unpaid: set[str] = set()
        self._listed = [ListedModel(id=model) for model in models]
        self._key = key
        self._numbers = count(1)

    def handle(self, request: HttpRequest) -> HttpReply:
        if openai.bearer(request) != self._key:
            return json_reply(401, openai.error(WRONG_KEY))
        if request.method == "POST" and request.path == CHAT_PATH:
            return self._complete(request)
        if request.method == "GET" and request.path.endswith("/models"):
            return json_reply(200, openai.models_list(self._listed))
        return json_reply(404, openai.error("Not Found"))

    def _complete(self, request: HttpRequest) -> HttpReply:
        try:
            prompt = openai.read(request.body)
        except msgspec.DecodeError as error:
            return json_reply(400, openai.error(f"Invalid request: {error}"))
        if prompt.model in self.unpaid:
            return json_reply(402, openai.error(NO_CREDIT))
        said = answer(prompt, next(self._numbers))
        if not prompt.stream:
            return json_reply(200, openai.whole(said))
        events = [event for part in openai.streamed(said, _CHUNKS) for event in part]
        return HttpReply(headers=EVENTS, pieces=events)


def answer(prompt: Prompt, number: int) -> Completion:
    """Words, or a call of the first tool when one is asked for."""
    said = words(prompt, number)
    if not prompt.tools or prompt.after_tool or not _TOOL_WANTED.search(prompt.text):
        return said
    return msgspec.structs.replace(said, calls=(ToolCall(prompt.tools[0].name),))


def words(prompt: Prompt, number: int) -> Completion:
    """The nonce after ``echo:`` when the user gave one, else a sentence that names the model."""
    text = echo_of(prompt) or f"Hello from {prompt.model}."
    return Completion(
        number=number,
        model=prompt.model,
        text=text,
        prompt_tokens=1 + len(prompt.text) // 4,
        tokens=1 + len(text) // 4,
        usage=prompt.usage,
    )


def echo_of(prompt: Prompt) -> str | None:
    """The nonce that the user wants back."""
    found = _ECHO.search(prompt.text)
    return found[1] if found else None
