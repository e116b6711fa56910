"""The provider of the tests: speaks both OpenAI protocols, Anthropic's and Gemini's on loopback
and behaves as it is told, model by model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, Self

import msgspec

from synccr.demo.openai import ListedModel, Prompt
from synccr.demo.provider import CHAT_PATH
from synccr.demo.server import HttpReply, HttpRequest, LocalServer, json_reply

from . import control, replies
from .anthropic import AnthropicForm
from .behaviour import Behaviour
from .chat import ChatForm
from .completions import ProviderForm
from .connection import TroubledConnection, TroubledReply
from .gemini import GeminiForm
from .presets import PRESETS, BehaviourLike, status
from .records import ReceivedRequest, RequestLog, without_keys
from .responses import ResponsesForm
from .script import EVERY_MODEL, MODELS_LIST, QUOTAS, Script

_CHAT: Final = ChatForm()
_ANTHROPIC: Final = AnthropicForm()
_GEMINI: Final = GeminiForm()
_FORMS: Final[Mapping[str, ProviderForm]] = {
    "/chat/completions": _CHAT,
    "/responses": ResponsesForm(),
    "/messages": _ANTHROPIC,
    ":generateContent": _GEMINI,
    ":streamGenerateContent": _GEMINI,
}
"""By how the path of a request ends."""
_PATHS: Final = {
    "openai": CHAT_PATH,
    "responses": "/openai/v1/responses",
    "anthropic": "/anthropic/v1/messages",
    "gemini": "/v1beta/models/",
}
_ENDPOINTS: Final = (EVERY_MODEL, MODELS_LIST, QUOTAS)
_NOBODY: Final = Prompt(model="")


class FakeProvider(LocalServer):
    """An LLM provider on 127.0.0.1. What tells it what to do, and what reads its records, may
    be called from any thread.

    Args:
        models: the behaviour of each model; a list is a schedule.
        port: 0 for any free one; kept over a ``stop`` and ``start``.
        key: the API key to expect; None accepts any, and none.
        listed: what the models lists name; None for all of ``models``.
        quotas: what ``GET /v2/quotas`` tells; None for 404.
        credit: how many answers are paid for, by model.
        unknown: behaviour of models that are not in ``models``.
        control: also take orders over HTTP, see ``control``.
        keep: how many requests are remembered.

    Raises:
        ValueError: a behaviour that does not exist.
    """

    connection = TroubledConnection

    def __init__(
        self,
        models: Mapping[str, BehaviourLike | Sequence[BehaviourLike]] | None = None,
        *,
        port: int = 0,
        key: str | None = None,
        listed: Sequence[ListedModel | str] | None = None,
        quotas: Mapping[str, Any] | None = None,
        credit: Mapping[str, int] | None = None,
        unknown: BehaviourLike = "ok",
        control: bool = False,
        keep: int = 1000,
    ) -> None:
        super().__init__(port)
        models = models or {}
        self._script = Script(unknown)
        for model, value in models.items():
            if isinstance(value, Behaviour | str | int | Mapping):
                self.set(model, value)
            else:
                self.schedule(model, value)
        for model, requests in (credit or {}).items():
            self.credit(model, requests)
        if listed is None:
            listed = [model for model in models if model not in _ENDPOINTS]
        self.list_models(listed)
        self.quotas = quotas
        self._key = key
        self._control = control
        self._log = RequestLog(keep)
        self._numbers = count(1)

    # Telling it what to do.

    def set(self, target: str, value: BehaviourLike | None, *, times: int | None = None) -> None:
        """Let a model, ``EVERY_MODEL``, ``MODELS_LIST`` or ``QUOTAS`` behave so from now on, or
        for the next ``times`` requests; None takes it back.

        Raises:
            ValueError: a behaviour that does not exist.
        """
        self._script.set(target, value, times=times)

    def set_all(self, value: BehaviourLike | None) -> None:
        """Let everything behave so: every model, the models lists and the quotas."""
        for target in _ENDPOINTS:
            self._script.set(target, value)

    def schedule(self, target: str, values: Iterable[BehaviourLike]) -> None:
        """One behaviour for each of the next requests, then as before."""
        self._script.schedule(target, values)

    def credit(self, model: str, requests: int | None) -> None:
        """Pay for so many answers of this model, after which comes 402; None for no limit."""
        self._script.credit(model, requests)

    def list_models(self, rows: Iterable[ListedModel | str]) -> None:
        """What the models lists name from now on."""
        self._listed = [ListedModel(id=row) if isinstance(row, str) else row for row in rows]

    def hurry(self) -> None:
        """What is being answered goes on without the pauses that are left of it."""

        def now() -> None:
            for connection in self._connections:
                if isinstance(connection, TroubledConnection):
                    connection.hurry()

        self._loop.call_soon_threadsafe(now)

    # Reading its records.

    def requests(self, model: str | None = None) -> list[ReceivedRequest]:
        """The requests that came, oldest first; only those for ``model`` when given."""
        return self._log.get(model)

    def forget(self) -> None:
        """Drop the records."""
        self._log.clear()

    # Being there.

    def url(self, form: str) -> str:
        """The ``api_base_url`` of a CCR provider, for ``openai``, ``responses``, ``anthropic`` or
        ``gemini``.
        """
        return self.base_url + _PATHS[form]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # Answering.

    def handle(self, request: HttpRequest) -> HttpReply:
        if self._control and request.path.startswith(control.PREFIX):
            return control.obey(self._script, self._log, request)
        if request.method == "POST":
            for ending, form in _FORMS.items():
                if request.path.endswith(ending):
                    return self._converse(form, request)
        elif request.method == "GET":
            form = _asked_in(request)
            if request.path.endswith("/models"):
                return self._inform(form, request, MODELS_LIST, form.models(self._listed))
            if request.path.endswith("/v2/quotas") and self.quotas is not None:
                return self._inform(form, request, QUOTAS, msgspec.json.encode(self.quotas))
        return json_reply(404, _CHAT.error(404, "Not Found"))

    def _converse(self, form: ProviderForm, request: HttpRequest) -> TroubledReply:
        key = form.key(request)
        prompt = _NOBODY
        refused = self._refused(key)
        try:
            prompt = form.read(request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            refused = refused or status(400, f"Invalid request: {error}")
        behaviour = refused or self._script.take(prompt.model)
        reply = replies.completion(form, behaviour, prompt, key, next(self._numbers))
        return self._record(request, prompt, behaviour, key, reply)

    def _inform(
        self, form: ProviderForm, request: HttpRequest, target: str, body: bytes
    ) -> TroubledReply:
        key = form.key(request)
        behaviour = self._refused(key) or self._script.take(target)
        reply = replies.information(form, behaviour, body, key)
        return self._record(request, _NOBODY, behaviour, key, reply)

    def _refused(self, key: str) -> Behaviour | None:
        return None if self._key is None or key == self._key else PRESETS["auth"]

    def _record(
        self,
        request: HttpRequest,
        prompt: Prompt,
        behaviour: Behaviour,
        key: str,
        reply: TroubledReply,
    ) -> TroubledReply:
        record = ReceivedRequest(
            at=time.time(),
            method=request.method,
            path=request.path,
            model=prompt.model,
            stream=prompt.stream,
            headers=without_keys(request.headers),
            key_ok=bool(key) and self._key in (None, key),
            behaviour=behaviour.label,
            status=reply.status,
            raw=request.body,
        )
        self._log.add(record)

        def left() -> None:
            record.aborted = time.time() - record.at

        return msgspec.structs.replace(reply, left=left)


def _asked_in(request: HttpRequest) -> ProviderForm:
    """The form of a GET, which has no body to tell it by."""
    if "/v1beta/" in request.path:
        return _GEMINI
    if "anthropic-version" in request.headers or "x-api-key" in request.headers:
        return _ANTHROPIC
    return _CHAT
