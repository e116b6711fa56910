"""Carrying a request to a provider and its answer back: the one place that knows httpx."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from socket import gaierror
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synccr.errors import ConfigError
from synccr.preflight.dialects import Ask
from synccr.preflight.quotas import is_loopback
from synccr.profile import Provider
from synccr.report import Status

if TYPE_CHECKING:
    import httpx

ANSWER_LIMIT = 1024 * 1024
"""Bytes of an answer that are read; a completion of a few tokens has a few hundred."""
_CONNECT_TIMEOUT = 10.0
"""Seconds at most for TCP and TLS, so that there is time for a second try."""


_REDIRECTS = 3
"""How many redirects one request follows, at most."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """Time, so that tests can bring their own.

    Attributes:
        now: the wall clock, UTC.
        monotonic: seconds, never going back.
        sleep: waits for seconds.
    """

    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True)
class Reply:
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


def make_client(providers: Iterable[Provider], *, proxy: str | None = None) -> httpx.AsyncClient:
    """A client for these providers that goes the way that CCR goes.

    CCR sends every request through the proxy of its configuration, those to loopback too,
    and reads none from the environment (measured with 2.0.0).

    Raises:
        ConfigError: the proxy, or a certificate file that the environment names, is unusable.
    """
    # Where click and rich are installed, httpx brings in its own command line, which takes as
    # long as the rest of it (0.1 s). None means "cannot be imported": it goes on without.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    import httpx

    addresses = [urlsplit(provider.url) for provider in providers]
    local = all(a.scheme == "http" and is_loopback(a.hostname or "") for a in addresses)
    try:
        return httpx.AsyncClient(
            # A context that trusts nobody costs nothing; the real one tens of milliseconds.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if local else tls_context(),
            proxy=proxy,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None),
        )
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise ConfigError(
            f"The proxy or the certificate settings cannot be used: {error}.",
            "Look at PROXY_URL of the profile, and at SSL_CERT_FILE.",
        ) from error


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The one TLS context of the process.

    A certificate authority that CCR is given through Node's ``NODE_EXTRA_CA_CERTS`` is
    trusted here too, so that a probe reaches what CCR reaches.
    """
    import httpx

    context = httpx.create_ssl_context()
    if extra := os.environ.get("NODE_EXTRA_CA_CERTS"):
        # Node warns of an unusable file and goes on without it.
        with suppress(OSError):
            context.load_verify_locations(extra)
    return context


async def send(
    ask: Ask,
    client: httpx.AsyncClient,
    *,
    timeout: float,
    clock: Clock = SYSTEM_CLOCK,
    limit: int = ANSWER_LIMIT,
) -> Reply | NoReply:
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
    import httpx

    started = clock.monotonic()
    connect = min(_CONNECT_TIMEOUT, timeout / 2)
    try:
        async with asyncio.timeout(timeout):
            url: httpx.URL | str = ask.url
            for followed in itertools.count():
                async with client.stream(
                    ask.method,
                    url,
                    headers=dict(ask.headers),
                    json=ask.json,
                    timeout=httpx.Timeout(timeout, connect=connect, pool=None),
                ) as response:
                    onward = _onward(response) if followed < _REDIRECTS else None
                    if onward is None:
                        body = await _read(response, limit)
                        seconds = clock.monotonic() - started
                        return Reply(response.status_code, body, dict(response.headers), seconds)
                url = onward
    except TimeoutError:
        status, detail, again = Status.TIMEOUT, f"no answer within {timeout:.3g} s", True
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        status, detail, again = trouble(error)
    return NoReply(status, detail, clock.monotonic() - started, again)


def _onward(response: httpx.Response) -> httpx.URL | None:
    """Where a redirect leads that takes the whole request along, within the origin."""
    import httpx

    if response.status_code not in {307, 308} or "location" not in response.headers:
        return None
    asked = response.url
    try:
        target = asked.join(response.headers["location"])
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return None
    # A port that is the scheme's own is None in both.
    same = (target.scheme, target.host, target.port) == (asked.scheme, asked.host, asked.port)
    # A name and a password in the address would take the key's place.
    return target if same and target.userinfo == asked.userinfo else None


async def _read(response: httpx.Response, limit: int) -> str:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size >= limit:
            break
    return b"".join(parts)[:limit].decode("utf-8", "replace")


def trouble(error: Exception) -> tuple[Status, str, bool]:
    """What an exception of httpx means: status, one line, and whether to try again."""
    import httpx

    match error:
        case httpx.ConnectTimeout():
            return Status.TIMEOUT, "the connection was not established in time", True
        case httpx.TimeoutException():
            return Status.TIMEOUT, "no answer in time", True
        case httpx.ConnectError():
            return Status.UNREACHABLE, _why_no_connection(error), False
        case httpx.ProxyError():
            return Status.UNREACHABLE, f"the proxy refused: {error}", False
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | UnicodeError():
            return Status.UNREACHABLE, "api_base_url is not a usable http(s) address", False
        case httpx.LocalProtocolError():
            return Status.UNREACHABLE, f"the request cannot be sent: {error}", False
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return Status.UNREACHABLE, "the connection was cut before the answer was whole", True
        case httpx.DecodingError():
            return Status.OVERLOADED, "the answer cannot be decoded", True
        case httpx.TooManyRedirects():
            return Status.UNREACHABLE, "too many redirects", False
        case _:
            return Status.UNREACHABLE, f"{type(error).__name__}: {error}", True


def _why_no_connection(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, gaierror):
            return f"DNS: the host was not found ({cause.strerror or cause})"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {getattr(cause, 'verify_message', None) or cause}"
    if any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error)):
        return "refused: nothing listens there"
    return f"no connection: {error}"


def _causes(error: BaseException | None, depth: int = 8) -> Iterator[BaseException]:
    """The error and what brought it about, groups included."""
    if error is None or depth == 0:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner, depth - 1)
    yield from _causes(error.__cause__ or error.__context__, depth - 1)
