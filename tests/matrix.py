"""The real CCR under synccr, one kind of trouble at a time: what the client and the providers saw.

Each case is a supervisor of its own, so that no trouble hides behind the one before it. The
default route is asked for a streamed answer and the background route for a whole one, at once;
each has a model of its own, which works until the preflight is over.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from home import KEY, Home, Running, message
from provider import FakeProvider

STREAMED, WHOLE, SPARE = "vendor/streamed", "vendor/whole", "vendor/spare"
OLD_HAIKU = "claude-3-5-haiku-20241022"
"""What every generation of CCR sends to the background route."""
LATER, LATER_HEALTHY = 20, 2
"""Further requests after the first ones."""
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


def request(nonce: str, *, stream: bool, tools: bool = False) -> dict[str, Any]:
    """To the default route when streamed, else to the background route."""
    body = message(nonce, stream=stream, model="claude-sonnet-4" if stream else OLD_HAIKU)
    if tools:
        body["tools"] = [_TOOL]
        body["messages"][0]["content"] = f"use the note tool echo:{nonce}"
    return body


def ask(url: str, nonce: str, row: Row, *, stream: bool) -> Saw:
    """Send one request and judge what comes back as a client would."""
    wanted = row.says if row.says is not None else nonce
    body, begun, broken = b"", 0, ""
    began = time.monotonic()
    payload = request(nonce, stream=stream, tools=row.tools)
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
    home: Home, providers: Mapping[str, FakeProvider], fallback: str, ceiling: float = 3
) -> Iterator[Running]:
    """synccr on these providers, past its preflight; silence is given up after 3 s, and an
    answer that is not streamed after so many more."""
    home.env |= {"SYNCCR_SILENCE_TIMEOUT": "3", "SYNCCR_SILENCE_CEILING": str(ceiling)}
    document = {
        "PORT": home.port,
        "Providers": [
            {
                "name": name,
                "api_base_url": provider.url("openai"),
                "api_key": "$ACME_KEY",
                "models": [STREAMED, WHOLE, SPARE] if name == "acme" else [SPARE],
            }
            for name, provider in providers.items()
        ],
        "Router": {
            "default": f"acme,{STREAMED}",
            "background": f"acme,{WHOLE}",
            "fallback": f"{fallback},{SPARE}",
        },
    }
    home.write("ccr-config.json", document)
    with home.running() as running:
        yield running


def play(row: Row, home: Home, *, fallback: str) -> Result:
    """One case. ``fallback``: the provider that has the healthy model."""
    models = (STREAMED, WHOLE, SPARE)
    ceiling = 10 if row.healthy else 3
    with contextlib.ExitStack() as stack:
        acme_stack = stack.enter_context(contextlib.ExitStack())
        acme = acme_stack.enter_context(FakeProvider(dict.fromkeys(models, "ok"), key=KEY))
        other = stack.enter_context(FakeProvider({SPARE: "ok"}, key=KEY))
        trap = stack.enter_context(FakeProvider())
        running = stack.enter_context(
            supervised(home, {"acme": acme, "other": other}, fallback, ceiling)
        )
        behaviour = row.behaviour
        if behaviour == "redirect":
            behaviour = {"preset": "redirect", "headers": {"location": trap.url("openai")}}
        for model in (STREAMED, WHOLE):
            acme.set(model, behaviour)
        if row.gone:
            acme_stack.close()
        with ThreadPoolExecutor(2) as pool:
            streamed = pool.submit(ask, running.url, "first-streamed-nonce", row, stream=True)
            whole = pool.submit(ask, running.url, "first-whole-nonce", row, stream=False)
            result = Result(streamed.result(), whole.result())
        result.later = _later(running.url, row)
        real = [r for r in acme.requests() + other.requests() if b"-nonce" in r.raw]
        result.tried = {m: sum(r.model == m for r in real) for m in (STREAMED, WHOLE)}
        result.spared = sum(r.model == SPARE for r in real)
        result.trapped = len(trap.requests())
        return result


def _later(url: str, row: Row) -> list[Saw]:
    failed: list[Saw] = []
    for number in range(LATER_HEALTHY if row.healthy else LATER):
        saw = ask(url, f"later-{number}-nonce", row, stream=number % 2 == 0)
        if saw.outcome != "unseen":
            failed.append(saw)
        if len(failed) == 3:
            break
    return failed


def play_all(
    rows: Mapping[str, Row], root: Path, npm_cache: Path, env: Mapping[str, str], fallback: str
) -> dict[str, Result]:
    """Every case, two at a time; prints a line for each."""

    def one(name: str) -> Result:
        home = Home(root / name, npm_cache)
        home.env |= env
        try:
            result = play(rows[name], home, fallback=fallback)
        except AssertionError as error:  # it did not start; the others are tried all the same
            none = Saw("not asked", 0.0, str(error)[-500:])
            result = Result(none, none)
        print(
            f"{name:24} {result.streamed.outcome:7} {result.streamed.seconds:5.1f} s "
            f"{result.whole.outcome:7} {result.whole.seconds:5.1f} s  later {len(result.later)}  "
            f"asked {'/'.join(map(str, result.tried.values()))} spare {result.spared}  "
            f"{'; '.join(result.wrong(rows[name]))[:300]}"
        )
        return result

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(rows, pool.map(one, rows), strict=True))
