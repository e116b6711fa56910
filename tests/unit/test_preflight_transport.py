"""The border to httpx: every exception has a meaning, answers are bounded, proxies are right."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from preflight_kit import client_of, provider

from synccr.errors import ConfigError
from synccr.preflight.dialects import Ask
from synccr.preflight.transport import NoReply, Reply, make_client, send, tls_context, trouble
from synccr.report import Status

ASK = Ask("POST", "https://provider.test/v1", {}, {})
EXCEPTIONS = sorted(
    {
        error
        for _, error in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(error, Exception) and error is not httpx.CookieConflict
    },
    key=lambda error: error.__name__,
)


def build(error: type[Exception]) -> Exception:
    if issubclass(error, httpx.HTTPStatusError):
        request = httpx.Request("GET", "https://a.test")
        return error("x", request=request, response=httpx.Response(500))
    return error("x") if error.__init__ is not httpx.StreamConsumed.__init__ else error()


@pytest.mark.parametrize("error", EXCEPTIONS)
async def test_every_exception_of_httpx_has_a_status(error: type[Exception]) -> None:
    """Whatever httpx raises becomes a passing status, and never an exception."""
    try:
        instance = build(error)
    except TypeError:
        instance = error()

    def handler(_: httpx.Request) -> httpx.Response:
        raise instance

    async with client_of(handler) as client:
        reply = await send(ASK, client, timeout=5)
    assert isinstance(reply, NoReply)
    timeout = issubclass(error, httpx.TimeoutException)
    decoding = issubclass(error, httpx.DecodingError)
    expected = Status.TIMEOUT if timeout else Status.OVERLOADED if decoding else Status.UNREACHABLE
    assert reply.status is expected
    assert reply.detail


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS: the host was not found"),
        (ssl.SSLCertVerificationError("certificate verify failed"), "TLS: "),
        (ConnectionRefusedError(111, "refused"), "refused: nothing listens there"),
        (ExceptionGroup("all", [ConnectionRefusedError(111, "r")]), "refused: nothing listens"),
        (OSError(101, "Network is unreachable"), "no connection: "),
    ],
)
def test_the_reason_of_a_failed_connection_is_told(cause: Exception, words: str) -> None:
    """DNS, TLS and a refusal are told apart by what caused the error."""
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = cause
    status, detail, again = trouble(error)
    assert (status, again) == (Status.UNREACHABLE, False)
    assert detail.startswith(words)


@pytest.mark.parametrize("url", ["ftp://a.test/", "http://", "https://a.test:99999/", "x"])
async def test_an_impossible_address_is_unreachable(url: str) -> None:
    """An address that nothing can be sent to is said to be one."""
    async with httpx.AsyncClient() as client:
        reply = await send(Ask("GET", url, {}), client, timeout=5)
    assert isinstance(reply, NoReply)
    assert reply.status is Status.UNREACHABLE


async def test_an_endless_answer_is_cut() -> None:
    """No more of an answer is read than the limit allows."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b"x" * 65_536

    async with client_of(lambda _: httpx.Response(200, content=endless())) as client:
        reply = await send(ASK, client, timeout=5, limit=100_000)
    assert isinstance(reply, Reply)
    assert len(reply.body) == 100_000
    assert sent <= 4 * 65_536


def redirecting(
    location: str, http: int = 307, times: int = 1
) -> tuple[list[httpx.Request], Callable[[httpx.Request], httpx.Response]]:
    """A provider that redirects some times, and what it is asked."""
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) <= times:
            return httpx.Response(http, headers={"location": location})
        return httpx.Response(200, text="served")

    return asked, handler


@pytest.mark.parametrize("http", [307, 308])
@pytest.mark.parametrize(
    "location", ["/v2/x", "x", "https://provider.test/v2", "https://PROVIDER.test:443/v2#part"]
)
async def test_a_redirect_within_the_origin_is_followed_whole(http: int, location: str) -> None:
    """As CCR does: method, body and key go along."""
    asked, handler = redirecting(location, http)
    ask = Ask("POST", "https://provider.test/v1/x", {"authorization": "Bearer k"}, {"a": 1})
    async with client_of(handler) as client:
        reply = await send(ask, client, timeout=5)
    assert isinstance(reply, Reply)
    assert (reply.http, reply.body, len(asked)) == (200, "served", 2)
    assert asked[1].method == "POST"
    assert asked[1].headers["authorization"] == "Bearer k"
    assert asked[1].content == asked[0].content


@pytest.mark.parametrize(
    ("location", "http"),
    [
        ("https://other.test/v1", 307),
        ("https://sub.provider.test/v1", 308),
        ("//other.test/v1", 307),
        ("http://provider.test/v1", 307),
        ("https://provider.test:8443/v1", 308),
        ("https://u:p@provider.test/v1", 307),
        ("https://provider.test:99999/", 307),
        ("https://[/", 307),
        ("", 304),
        ("/v2", 301),
        ("/v2", 302),
        ("/v2", 303),
    ],
)
async def test_no_other_redirect_is_followed(location: str, http: int) -> None:
    """Another scheme, host, port or user, and what turns a POST into a GET, is the answer."""
    asked, handler = redirecting(location, http)
    async with client_of(handler) as client:
        reply = await send(ASK, client, timeout=5)
    assert isinstance(reply, Reply)
    assert (reply.http, len(asked)) == (http, 1)


async def test_redirects_come_to_an_end() -> None:
    """The fourth redirect in a row is the answer."""
    asked, handler = redirecting("/again", times=9)
    async with client_of(handler) as client:
        reply = await send(ASK, client, timeout=5)
    assert isinstance(reply, Reply)
    assert (reply.http, len(asked)) == (307, 4)


async def test_redirects_are_within_the_timeout() -> None:
    """The time is for all of them together."""

    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.15)
        return httpx.Response(307, headers={"location": "/again"})

    async with client_of(slow) as client:
        reply = await send(ASK, client, timeout=0.25)
    assert isinstance(reply, NoReply)
    assert reply.status is Status.TIMEOUT


async def test_bytes_that_are_no_utf8_are_read() -> None:
    """An answer in another encoding does not stop a probe."""
    async with client_of(lambda _: httpx.Response(500, content=b"\xff\xfeno")) as client:
        reply = await send(ASK, client, timeout=5)
    assert isinstance(reply, Reply)
    assert reply.body.endswith("no")


async def test_the_way_of_ccr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment counts for nothing, as for CCR; one of the profile for all."""
    url = "http://127.0.0.1:9/v1"
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:8080")
    async with make_client([provider(url)]) as client:
        assert client._transport_for_url(httpx.URL(url)) is client._transport
    async with make_client([provider(url)], proxy="http://proxy.test:8080") as client:
        assert client._transport_for_url(httpx.URL(url)) is not client._transport


def test_an_unusable_proxy_is_a_configuration_error() -> None:
    """A proxy address of an unknown kind is said, without its password."""
    with pytest.raises(ConfigError) as caught:
        make_client([provider()], proxy="gopher://user:hunter22@proxy.test")
    assert "hunter22" not in str(caught.value)


def test_the_tls_context_is_made_once() -> None:
    """All clients share one TLS context, and it verifies."""
    assert tls_context() is tls_context()
    assert tls_context().verify_mode is ssl.CERT_REQUIRED
