"""A probe over the transport: failures have a meaning, answers are bounded, proxies are right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import httpx
import pytest
from probe_kit import client_of, provider

from synccr.errors import ConfigError
from synccr.models.report import Status
from synccr.probe.dialects import ProbeRequest
from synccr.probe.transport import NoReply, ProbeReply, make_client, send
from synccr.transport import Broken, CannotReach, Transport

ASK = ProbeRequest("POST", "https://provider.test/v1", {}, {})


@pytest.mark.parametrize(
    ("failure", "status", "again"),
    [
        (CannotReach("dns", "DNS: x"), Status.UNREACHABLE, False),
        (CannotReach("refused", "refused: x"), Status.UNREACHABLE, False),
        (CannotReach("tls", "TLS: x"), Status.UNREACHABLE, False),
        (CannotReach("proxy", "the proxy refused"), Status.UNREACHABLE, False),
        (CannotReach("address", "no address"), Status.UNREACHABLE, False),
        (CannotReach("network", "no connection"), Status.UNREACHABLE, False),
        (CannotReach("timeout", "not in time"), Status.TIMEOUT, True),
        (Broken("cut", began=False), Status.UNREACHABLE, True),
        (Broken("cut", began=True), Status.UNREACHABLE, True),
        (Broken("not decoded", began=True, unreadable=True), Status.OVERLOADED, True),
    ],
)
async def test_every_failure_of_the_transport_has_a_status(
    failure: CannotReach | Broken, status: Status, again: bool
) -> None:
    """Whatever the transport tells becomes a passing status, with its own words."""
    async with client_of(lambda _: failure) as client:
        reply = await send(ASK, client, timeout=5)
    assert isinstance(reply, NoReply)
    assert (reply.status, reply.detail, reply.again) == (status, failure.detail, again)


async def test_a_header_that_cannot_be_sent_is_no_exception() -> None:
    """A key with a letter that HTTP does not know is unreachable, and stays unsaid."""
    async with client_of(lambda _: httpx.Response(200)) as client:
        reply = await send(
            ProbeRequest("GET", "http://a.test", {"x": "schlüssel"}), client, timeout=5
        )
    assert isinstance(reply, NoReply)
    assert reply.status is Status.UNREACHABLE
    assert "schl" not in reply.detail


@pytest.mark.parametrize("url", ["ftp://a.test/", "http://", "https://a.test:99999/", "x"])
async def test_an_impossible_address_is_unreachable(url: str) -> None:
    """An address that nothing can be sent to is said to be one."""
    async with Transport() as client:
        reply = await send(ProbeRequest("GET", url, {}), client, timeout=5)
    assert isinstance(reply, NoReply)
    assert reply.status is Status.UNREACHABLE
    assert reply.detail == "api_base_url is not a usable http(s) address"


async def test_an_endless_answer_is_cut() -> None:
    """No more of an answer is read than the limit allows."""
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        writer.transport.abort()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, Transport() as client:
        reply = await send(ProbeRequest("GET", url, {}), client, timeout=5, limit=100_000)
    assert isinstance(reply, ProbeReply)
    assert len(reply.body) == 100_000
    assert sent < 32 * 1024 * 1024  # buffers of the system


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
    ask = ProbeRequest(
        "POST", "https://provider.test/v1/x", {"authorization": "Bearer k"}, {"a": 1}
    )
    async with client_of(handler) as client:
        reply = await send(ask, client, timeout=5)
    assert isinstance(reply, ProbeReply)
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
    assert isinstance(reply, ProbeReply)
    assert (reply.http, len(asked)) == (http, 1)


async def test_redirects_come_to_an_end() -> None:
    """The fourth redirect in a row is the answer."""
    asked, handler = redirecting("/again", times=9)
    async with client_of(handler) as client:
        reply = await send(ASK, client, timeout=5)
    assert isinstance(reply, ProbeReply)
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
    assert isinstance(reply, ProbeReply)
    assert reply.body.endswith("no")


async def test_the_way_of_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The egress sends what CCR asks for, so the environment's proxy counts, but never for this
    machine; the profile's own leads everywhere, as in CCR."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    local, far = "http://127.0.0.1:8/v1", "https://provider.test/v1"
    for url, proxy, detail in (
        (local, None, "refused: nothing listens there"),
        (far, None, "the proxy http://127.0.0.1:9 (ALL_PROXY) cannot be reached: refused"),
        (local, "http://127.0.0.1:7", "the proxy http://127.0.0.1:7 (PROXY_URL of the profile) "),
    ):
        async with make_client([provider(url)], proxy=proxy) as client:
            reply = await send(ProbeRequest("GET", url, {}), client, timeout=5)
        assert isinstance(reply, NoReply)
        assert reply.detail.startswith(detail)


def test_an_unusable_proxy_is_a_configuration_error() -> None:
    """A proxy address of an unknown kind is said, without its password."""
    with pytest.raises(ConfigError) as caught:
        make_client([provider()], proxy="gopher://user:hunter22@proxy.test")
    assert "hunter22" not in str(caught.value)
