"""A probe's request and its answer: what they mean to the preflight. The way itself is
``synccr.transport``'s, the one that traffic takes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import urldefrag, urljoin

from synccr.clock import utc_now
from synccr.config.profile import Provider
from synccr.models.report import Status
from synccr.probe.dialects import ProbeRequest
from synccr.transport import Answer, Broken, CannotReach, Outgoing, Transport
from synccr.transport.collector import Enough
from synccr.transport.http_types import target_of
from synccr.transport.outbound_proxy import proxy_for

ANSWER_LIMIT = 1024 * 1024
"""Bytes of an answer that are read; a completion of a few tokens has a few hundred."""
_REDIRECTS = 3
"""How many redirects one request follows, at most."""


@dataclass(frozen=True)
class Clock:
    """Time, so that tests can bring their own.

    Attributes:
        now: the wall clock, UTC.
        monotonic: seconds, never going back.
        sleep: waits for seconds.
    """

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True)
class ProbeReply:
    """An HTTP answer, whole or cut at the limit."""

    http: int
    body: str
    headers: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class NoReply:
    """No HTTP answer.

    Attributes:
        again: another try may bring one.
    """

    status: Status
    detail: str
    seconds: float
    again: bool


class Fetcher(Protocol):
    """What a probe needs of a transport."""

    async def fetch(
        self, request: Outgoing, *, timeout: float, limit: int, enough: Enough | None = None
    ) -> Answer | CannotReach | Broken:
        """As ``Transport.fetch``."""


def make_client(providers: Iterable[Provider], *, proxy: str | None = None) -> Transport:
    """A transport for these providers.

    Raises:
        ConfigError: the proxy that leads to one of them, the profile's own or one of the
            environment, is unusable.
    """
    for provider in providers:
        with contextlib.suppress(ValueError):  # told when it is asked
            proxy_for(provider.url, os.environ, proxy)
    return Transport(proxy=proxy)


async def send(
    ask: ProbeRequest,
    client: Fetcher,
    *,
    timeout: float,
    clock: Clock = SYSTEM_CLOCK,
    limit: int = ANSWER_LIMIT,
) -> ProbeReply | NoReply:
    """Send one request and read its answer. Never raises for what a network can do.

    A 307 or 308 to the same origin is followed, as CCR's ``fetch`` does, with method, body
    and key; any other redirect is the answer, because the key goes nowhere else.

    Args:
        ask: the request.
        client: of ``make_client``, or any other.
        timeout: seconds for everything together.
        clock: measures how long it took.
        limit: bytes of the answer that are read.
    """
    started = clock.monotonic()
    try:
        async with asyncio.timeout(timeout):
            result = await _fetch(_outgoing(ask), client, timeout, limit, ask.events)
    except TimeoutError:
        status, detail, again = Status.TIMEOUT, f"no answer within {timeout:.3g} s", True
    except UnicodeError:
        status, detail, again = Status.UNREACHABLE, "the request cannot be sent", False
    else:
        seconds = clock.monotonic() - started
        if isinstance(result, Answer):
            text = result.body.decode("utf-8", "replace")
            return ProbeReply(result.status, text, _mapping(result), seconds)
        status, detail, again = trouble(result)
    return NoReply(status, detail, clock.monotonic() - started, again)


def _until_end(events: str) -> Enough:
    from synccr.probe.streamed import until_end  # the judge, which most probes do without

    return until_end(events)


async def _fetch(
    request: Outgoing, client: Fetcher, timeout: float, limit: int, events: str | None
) -> Answer | CannotReach | Broken:
    for followed in itertools.count():
        enough = _until_end(events) if events else None
        result = await client.fetch(request, timeout=timeout, limit=limit, enough=enough)
        if not isinstance(result, Answer) or followed == _REDIRECTS:
            return result
        onward = _onward(request.url, result)
        if onward is None:
            return result
        request = Outgoing(request.method, onward, request.headers, request.body)
    raise AssertionError  # itertools.count has no end


def _outgoing(ask: ProbeRequest) -> Outgoing:
    """The request as bytes.

    Raises:
        UnicodeError: a header that HTTP cannot carry.
    """
    headers = [("accept", "*/*"), *ask.headers.items()]
    body = b""
    if ask.json is not None:
        headers.append(("content-type", "application/json"))
        body = json.dumps(ask.json, ensure_ascii=False, separators=(",", ":")).encode()
    pairs = tuple((name.encode("ascii"), value.encode("ascii")) for name, value in headers)
    return Outgoing(ask.method, ask.url, pairs, body)


def _mapping(answer: Answer) -> Mapping[str, str]:
    """Headers by name; those that stand there twice, in one line (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for name, value in answer.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _onward(url: str, answer: Answer) -> str | None:
    """Where a redirect leads that takes the whole request along, within the origin."""
    location = _mapping(answer).get("location")
    if answer.status not in {307, 308} or location is None:
        return None
    try:
        onward = urldefrag(urljoin(url, location)).url
        asked, target = target_of(url), target_of(onward)
    except ValueError:  # among them a name and a password, which would take the key's place
        return None
    same = (target.scheme, target.host, target.port) == (asked.scheme, asked.host, asked.port)
    return onward if same else None


def trouble(failure: CannotReach | Broken) -> tuple[Status, str, bool]:
    """What a failure means: status, one line, and whether to try again."""
    if isinstance(failure, Broken):
        status = Status.OVERLOADED if failure.unreadable else Status.UNREACHABLE
        return status, failure.detail, True
    if failure.kind == "timeout":
        return Status.TIMEOUT, failure.detail, True
    return Status.UNREACHABLE, failure.detail, False
