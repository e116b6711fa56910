"""The real CCR under synccr, one kind of trouble at a time: what the client and the providers saw.

Each case asks for a streamed answer and for a whole one, at once, of a model each, which works
until the preflight is over. Either the case has a supervisor of its own, and routes lead to the
models; or it has a provider of its own, and requests name the models.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from home import KEY, Home, Running, message
from provider import FakeProvider

STREAMED, WHOLE, SPARE = "vendor/streamed", "vendor/whole", "vendor/spare"
OTHER = "other"
"""The provider that always serves; it has the spare model alone."""
OLD_HAIKU = "claude-3-5-haiku-20241022"
"""What every generation of CCR sends to the background route."""
LATER, LATER_TOGETHER, LATER_HEALTHY = 20, 8, 2
"""Further requests after the first ones; all within the time for which a model rests that broke
off an answer."""
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx takes 20 ms to make one for each client

_TOOL = {
    "name": "note",
    "description": "Takes a note.",
    "input_schema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


@dataclass(frozen=True)
class Row:
    """A kind and what is to come of it.

    Attributes:
        behaviour: of the models; a preset or its changed fields.
        streamed: what the client of the streamed answer sees: ``unseen``, ``cut``.
        whole: what the client of the whole answer sees.
        healthy: served by the very models, once.
        says: what the answer is; None for the nonce, ``ANY`` for whatever it is.
        tools: the requests offer a tool and ask for its use.
        limit: seconds after which an answer counts as stuck.
        gone: the provider is switched off.
        retried: real requests that a model in trouble may get beyond the first.
        serves: models for whose form of request this is no trouble.
    """

    behaviour: Any = "ok"
    streamed: str = "unseen"
    serves: tuple[str, ...] = ()
    whole: str = "unseen"
    healthy: bool = False
    says: str | None = None
    tools: bool = False
    limit: float = 8.0
    gone: bool = False
    retried: int = 1


ANY = "*"


@dataclass
class Saw:
    """One request as its client saw it."""

    outcome: str
    seconds: float
    detail: str = ""


@dataclass
class Result:
    """A case. ``tried`` and ``spared``: real requests that reached the models in trouble, by
    model, and the others; ``trapped``: requests that followed a redirect; ``later``: those of
    the further requests that were not unseen.
    """

    streamed: Saw
    whole: Saw
    later: list[Saw] = field(default_factory=list)
    tried: Mapping[str, int] = field(default_factory=dict)
    spared: int = 0
    trapped: int = 0

    def wrong(self, row: Row) -> list[str]:
        """What is not as the row wants it."""
        found = []
        for name, saw, wanted in (
            ("streamed", self.streamed, row.streamed),
            ("whole", self.whole, row.whole),
        ):
            if saw.outcome != wanted:
                found.append(f"{name}: {saw.outcome} ({saw.detail}), not {wanted}")
        if self.later:
            kinds = sorted({saw.outcome for saw in self.later})
            found.append(f"later: {len(self.later)} {'/'.join(kinds)} ({self.later[0].detail})")
        if row.healthy and self.spared:
            found.append(f"moved: {self.spared} requests")
        if not row.healthy:
            limit = 1 + row.retried
            found += [
                f"{m}: asked {n} times"
                for m, n in self.tried.items()
                if n > limit and m not in row.serves
            ]
        if self.trapped:
            found.append("a redirect was followed")
        return found


def request(nonce: str, model: str, *, stream: bool, tools: bool = False) -> dict[str, Any]:
    body = message(nonce, stream=stream, model=model)
    if tools:
        body["tools"] = [_TOOL]
        body["messages"][0]["content"] = f"use the note tool echo:{nonce}"
    return body


def ask(url: str, nonce: str, row: Row, model: str, *, stream: bool) -> Saw:
    """Send one request and judge what comes back as a client would."""
    wanted = row.says if row.says is not None else nonce
    body, begun, broken = b"", 0, ""
    began = time.monotonic()
    payload = request(nonce, model, stream=stream, tools=row.tools)
    try:
        with httpx.stream(
            "POST",
            f"{url}/v1/messages",
            json=payload,
            timeout=row.limit,
            trust_env=False,
            verify=_NO_TLS,
        ) as answer:
            begun = answer.status_code
            for part in answer.iter_bytes():
                body += part
    except httpx.TimeoutException:
        broken = "stuck"
    except httpx.HTTPError as error:
        broken = type(error).__name__
    outcome = _outcome(begun, body, broken, wanted)
    detail = f"{begun} {broken} {body[-160:]!r}"
    return Saw(outcome, time.monotonic() - began, detail)


def _outcome(status: int, body: bytes, broken: str, wanted: str) -> str:
    if broken == "stuck":
        return "stuck"
    events = _events(body)
    said, ended = _said(events)
    if broken or (events and not ended):
        return "cut" if status == 200 and said else "error"
    if status != 200 or not events:
        return "error"
    right = wanted == ANY or said == wanted or wanted in _strings(said)
    return "unseen" if right else "lie"


def _events(body: bytes) -> list[dict[str, Any]]:
    """Of a stream, or of a whole answer as if it had been one; none of what is neither."""
    try:
        whole = json.loads(body)
    except ValueError:
        lines = [line[5:] for line in body.splitlines() if line.startswith(b"data:")]
        with contextlib.suppress(ValueError):
            return [json.loads(line) for line in lines]
        return []
    if not isinstance(whole, dict) or whole.get("type") != "message":
        return []
    blocks = [
        {"type": "whole", "delta": {"text": b.get("text", ""), "partial_json": b.get("input")}}
        for b in whole.get("content") or []
    ]
    return [*blocks, {"type": "message_stop"}]


def _said(events: list[dict[str, Any]]) -> tuple[str, bool]:
    said, ended = "", False
    for event in events:
        delta = event.get("delta") or {}
        called = delta.get("partial_json") or ""
        said += delta.get("text") or ""
        said += called if isinstance(called, str) else json.dumps(called)
        ended = ended or event.get("type") == "message_stop"
    return said, ended


def _strings(said: str) -> list[str]:
    """The strings among the arguments of the tool calls that were made one after another."""
    found: list[str] = []
    decoder, at = json.JSONDecoder(), 0
    while at < len(said):
        try:
            value, at = decoder.raw_decode(said, at)
        except ValueError:
            return found
        found += list(value.values()) if isinstance(value, dict) else []
    return found


@contextlib.contextmanager
def supervised(
    home: Home, providers: Mapping[str, FakeProvider], router: Mapping[str, str], ceiling: float = 3
) -> Iterator[Running]:
    """synccr on these providers, past its preflight; silence is given up after 3 s, and an
    answer that is not streamed after so many more."""
    home.env |= {
        "SYNCCR_SILENCE_TIMEOUT": "3",
        "SYNCCR_SILENCE_CEILING": str(ceiling),
        "SYNCCR_RETRY_BUDGET": "1",
    }
    document = {
        "PORT": home.port,
        "Providers": [
            {
                "name": name,
                "api_base_url": provider.url("openai"),
                "api_key": "$ACME_KEY",
                "models": [SPARE] if name == OTHER else [STREAMED, WHOLE, SPARE],
            }
            for name, provider in providers.items()
        ],
        "Router": router,
    }
    home.write("ccr-config.json", document)
    with home.running() as running:
        yield running


def play(row: Row, home: Home, *, fallback: str) -> Result:
    """One case in a home of its own: the streamed answer's model serves the default route, the
    whole answer's the background route. ``fallback``: the provider that has the healthy model."""
    router = {
        "default": f"acme,{STREAMED}",
        "background": f"acme,{WHOLE}",
        "fallback": f"{fallback},{SPARE}",
    }
    asked = ("claude-sonnet-4", OLD_HAIKU)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(contextlib.ExitStack())
        acme, other = _provider(own), _provider(stack, SPARE)
        providers = {"acme": acme, OTHER: other}
        running = stack.enter_context(supervised(home, providers, router, _ceiling(row)))
        return _played("one", row, running.url, asked, acme, own.close, other, LATER)


def _provider(stack: contextlib.ExitStack, *models: str) -> FakeProvider:
    models = models or (STREAMED, WHOLE, SPARE)
    return stack.enter_context(FakeProvider(dict.fromkeys(models, "ok"), key=KEY))


def _ceiling(*rows: Row) -> float:
    return 10 if any(row.healthy for row in rows) else 3


def _played(
    name: str,
    row: Row,
    url: str,
    asked: tuple[str, str],
    acme: FakeProvider,
    switch_off: Callable[[], None],
    other: FakeProvider,
    later: int,
) -> Result:
    """One case: the models are in trouble, and requests come.

    Args:
        name: tells its requests from others'.
        asked: the model that requests name, for streamed answers and for whole ones.
        acme: has the models in trouble; ``switch_off`` ends it.
        other: has the healthy one.
        later: further requests.
    """
    with contextlib.ExitStack() as stack:
        trap = stack.enter_context(FakeProvider())
        behaviour = row.behaviour
        if behaviour == "redirect":
            behaviour = {"preset": "redirect", "headers": {"location": trap.url("openai")}}
        for model in (STREAMED, WHOLE):
            acme.set(model, behaviour)
        if row.gone:
            switch_off()
        nonces = f"{name}-streamed-nonce", f"{name}-whole-nonce"
        with ThreadPoolExecutor(2) as pool:
            streamed = pool.submit(ask, url, nonces[0], row, asked[0], stream=True)
            whole = pool.submit(ask, url, nonces[1], row, asked[1], stream=False)
            result = Result(streamed.result(), whole.result())
        result.later = _later(name, row, url, asked, later)
        mark = f"echo:{name}-".encode()
        real = [r for r in acme.requests() + other.requests() if mark in r.raw]
        result.tried = {m: sum(r.model == m for r in real) for m in (STREAMED, WHOLE)}
        result.spared = sum(r.model == SPARE for r in real)
        result.trapped = len(trap.requests())
        return result


def _later(name: str, row: Row, url: str, asked: tuple[str, str], count: int) -> list[Saw]:
    failed: list[Saw] = []
    for number in range(LATER_HEALTHY if row.healthy else count):
        stream = number % 2 == 0
        saw = ask(url, f"{name}-later-{number}-nonce", row, asked[not stream], stream=stream)
        if saw.outcome != "unseen":
            failed.append(saw)
        if len(failed) == 3:
            break
    return failed


def play_all(
    rows: Mapping[str, Row], root: Path, npm_cache: Path, ccr_version: str, fallback: str
) -> dict[str, Result]:
    """Every case in a home of its own, two at a time; prints a line for each."""

    def one(name: str) -> Result:
        home = Home(root / name, npm_cache, ccr_version)
        try:
            result = play(rows[name], home, fallback=fallback)
        except AssertionError as error:  # it did not start; the others are tried all the same
            none = Saw("not asked", 0.0, str(error)[-500:])
            result = Result(none, none)
        _show(name, rows[name], result)
        return result

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(rows, pool.map(one, rows), strict=True))


def play_together(rows: Mapping[str, Row], home: Home) -> dict[str, Result]:
    """Every case in one home: each has a provider of its own, whose models requests name; the
    default route leads to the healthy one."""
    with contextlib.ExitStack() as stack:
        own = {name: stack.enter_context(contextlib.ExitStack()) for name in rows}
        providers = {OTHER: _provider(stack, SPARE)}
        providers |= {name: _provider(own[name]) for name in rows}
        router = {"default": f"{OTHER},{SPARE}"}
        ceiling = _ceiling(*rows.values())
        running = stack.enter_context(supervised(home, providers, router, ceiling))

        def one(name: str) -> Result:
            asked = (f"{name},{STREAMED}", f"{name},{WHOLE}")
            result = _played(
                name, rows[name], running.url, asked,
                providers[name], own[name].close, providers[OTHER], LATER_TOGETHER,
            )  # fmt: skip
            _show(name, rows[name], result)
            return result

        with ThreadPoolExecutor(4) as pool:
            return dict(zip(rows, pool.map(one, rows), strict=True))


def _show(name: str, row: Row, result: Result) -> None:
    print(
        f"{name:24} {result.streamed.outcome:7} {result.streamed.seconds:5.1f} s "
        f"{result.whole.outcome:7} {result.whole.seconds:5.1f} s  later {len(result.later)}  "
        f"asked {'/'.join(map(str, result.tried.values()))} spare {result.spared}  "
        f"{'; '.join(result.wrong(row))[:300]}"
    )
