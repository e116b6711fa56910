"""The embedded provider: speaks both OpenAI protocols, Anthropic's and Gemini's on loopback and
behaves as it is told, model by model. Base of ``synccr demo`` and of the tests.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any, Final, Self

import msgspec

from synccr.sandbox import control, replies
from synccr.sandbox.anthropic import Anthropic
from synccr.sandbox.behaviours import (
    EVERY_MODEL,
    MODELS_LIST,
    PRESETS,
    QUOTAS,
    Behaviour,
    BehaviourLike,
    Script,
    status,
)
from synccr.sandbox.dialect import Ask, Dialect, Listed
from synccr.sandbox.gemini import Gemini
from synccr.sandbox.openai import OpenAI
from synccr.sandbox.records import Record, RequestLog, without_keys
from synccr.sandbox.responses import Responses
from synccr.sandbox.wire import Connection, Reply, Request

_OPENAI: Final = OpenAI()
_ANTHROPIC: Final = Anthropic()
_GEMINI: Final = Gemini()
_RESPONSES: Final = Responses()
_PATHS: Final = {
    "openai": "/openai/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "anthropic": "/anthropic/v1/messages",
    "gemini": "/v1beta/models/",
}
_ENDPOINTS: Final = (EVERY_MODEL, MODELS_LIST, QUOTAS)
_NOBODY: Final = Ask(model="")
_BACKLOG: Final = 2048


class Provider:
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

    def __init__(
        self,
        models: Mapping[str, BehaviourLike | Sequence[BehaviourLike]] | None = None,
        *,
        port: int = 0,
        key: str | None = None,
        listed: Sequence[Listed | str] | None = None,
        quotas: Mapping[str, Any] | None = None,
        credit: Mapping[str, int] | None = None,
        unknown: BehaviourLike = "ok",
        control: bool = False,
        keep: int = 1000,
    ) -> None:
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
        self.port = port
        self._key = key
        self._control = control
        self._log = RequestLog(keep)
        self._numbers = count(1)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

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

    def list_models(self, rows: Iterable[Listed | str]) -> None:
        """What the models lists name from now on."""
        self._listed = [Listed(id=row) if isinstance(row, str) else row for row in rows]

    # Reading its records.

    def requests(self, model: str | None = None) -> list[Record]:
        """The requests that came, oldest first; only those for ``model`` when given."""
        return self._log.get(model)

    def forget(self) -> None:
        """Drop the records."""
        self._log.clear()

    # Being there.

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT``, once started."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, dialect: str) -> str:
        """The ``api_base_url`` of a CCR provider, for ``openai``, ``responses``, ``anthropic`` or
        ``gemini``.
        """
        return self.base_url + _PATHS[dialect]

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
            OverflowError: it is not a port's number.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._handle, self._connections),
            "127.0.0.1",
            self.port,
            backlog=_BACKLOG,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and break every connection: a provider that is gone."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None
        await asyncio.sleep(0)  # the transports close their sockets in the next turn of the loop

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # Answering.

    def _handle(self, request: Request) -> Reply:
        path = request.path
        if self._control and path.startswith(control.PREFIX):
            return control.obey(self._script, self._log, request)
        if request.method == "POST":
            if path.endswith("/chat/completions"):
                return self._converse(_OPENAI, request)
            if path.endswith("/responses"):
                return self._converse(_RESPONSES, request)
            if path.endswith("/messages"):
                return self._converse(_ANTHROPIC, request)
            if path.endswith((":generateContent", ":streamGenerateContent")):
                return self._converse(_GEMINI, request)
        elif request.method == "GET":
            dialect = _asked_in(request)
            if path.endswith("/models"):
                return self._inform(dialect, request, MODELS_LIST, dialect.models(self._listed))
            if path.endswith("/v2/quotas") and self.quotas is not None:
                return self._inform(dialect, request, QUOTAS, msgspec.json.encode(self.quotas))
        return replies.json_reply(404, _OPENAI.error(404, "Not Found"))

    def _converse(self, dialect: Dialect, request: Request) -> Reply:
        key = dialect.key(request)
        ask = _NOBODY
        refused = self._refused(key)
        try:
            ask = dialect.read(request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            refused = refused or status(400, f"Invalid request: {error}")
        behaviour = refused or self._script.take(ask.model)
        reply = replies.completion(dialect, behaviour, ask, key, next(self._numbers))
        return self._record(request, ask, behaviour, key, reply)

    def _inform(self, dialect: Dialect, request: Request, target: str, body: bytes) -> Reply:
        key = dialect.key(request)
        behaviour = self._refused(key) or self._script.take(target)
        reply = replies.information(dialect, behaviour, body, key)
        return self._record(request, _NOBODY, behaviour, key, reply)

    def _refused(self, key: str) -> Behaviour | None:
        return None if self._key is None or key == self._key else PRESETS["auth"]

    def _record(
        self, request: Request, ask: Ask, behaviour: Behaviour, key: str, reply: Reply
    ) -> Reply:
        record = Record(
            at=time.time(),
            method=request.method,
            path=request.path,
            model=ask.model,
            stream=ask.stream,
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


def _asked_in(request: Request) -> Dialect:
    """The dialect of a GET, which has no body to tell it by."""
    if "/v1beta/" in request.path:
        return _GEMINI
    if "anthropic-version" in request.headers or "x-api-key" in request.headers:
        return _ANTHROPIC
    return _OPENAI


class ProviderThread(Provider):
    """A ``Provider`` with an event loop and a thread of its own, for ``with`` in code that is
    not asynchronous.
    """

    def __enter__(self) -> Self:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="sandbox-provider", daemon=True
        )
        self._thread.start()
        self._loop, self._done = ready.result()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        try:
            await self.start()
        except (OSError, OverflowError) as error:
            ready.set_exception(error)
            return
        done = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), done))
        await done.wait()
        await self.stop()
