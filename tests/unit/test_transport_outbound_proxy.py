"""Proxies and certificates, against a provider behind TLS on this machine."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_kit import OK, Heard, answering, ask

from synccr.errors import ConfigError
from synccr.transport import CannotReach, Outgoing, Transport
from synccr.transport.outbound_proxy import is_loopback, proxy_for
from synccr.transport.tls import Trust, make_trust, shared_trust
from ways import ConnectProxy, SocksProxy, make_authority, serving

HTTPS, HTTP = "https://api.provider.test/v1", "http://api.provider.test:8080/v1"
A, B, C = "http://a.test:1", "http://b.test:2", "socks5://c.test:3"


pytestmark = pytest.mark.usefixtures("quiet_loop")


# ---------------------------------------------------------------- which proxy


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        (HTTPS, {}, None),
        (HTTPS, {"HTTPS_PROXY": A}, A),
        (HTTPS, {"https_proxy": B, "HTTPS_PROXY": A}, B),
        (HTTPS, {"https_proxy": "", "HTTPS_PROXY": A}, A),
        (HTTPS, {"HTTP_PROXY": A}, None),
        (HTTP, {"HTTP_PROXY": A, "HTTPS_PROXY": B}, A),
        (HTTP, {"http_proxy": A}, A),
        (HTTPS, {"ALL_PROXY": C}, C),
        (HTTPS, {"all_proxy": C, "HTTPS_PROXY": A}, A),
        (HTTPS, {"HTTPS_PROXY": "127.0.0.1:8080"}, "http://127.0.0.1:8080"),
        (HTTPS, {"HTTPS_PROXY": " u:p@a.test:1 "}, "http://u:p@a.test:1"),
        ("https://localhost/v1", {"HTTPS_PROXY": A}, None),
        ("http://127.0.0.9:1/", {"ALL_PROXY": A}, None),
        ("http://[::1]:1/", {"ALL_PROXY": A}, None),
    ],
)
def test_the_proxy_of_the_environment(
    url: str, environ: dict[str, str], expected: str | None
) -> None:
    """By scheme, then ALL_PROXY; lower case first; never for this machine."""
    assert proxy_for(url, environ, None) == expected


@pytest.mark.parametrize(
    ("words", "host", "exempt"),
    [
        ("*", "api.provider.test", True),
        ("provider.test", "api.provider.test", True),
        (".provider.test", "api.provider.test", True),
        ("*.provider.test", "api.provider.test", True),
        ("API.provider.test", "api.provider.test", True),
        ("ovider.test", "api.provider.test", False),
        ("a.test, provider.test", "api.provider.test", True),
        ("a.test provider.test", "api.provider.test", True),
        ("provider.test:443", "api.provider.test", True),
        ("provider.test:8443", "api.provider.test", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8443", "10.1.2.3", False),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]:443", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::2]", False),
        (",, .", "api.provider.test", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_exceptions_from_the_proxy(name: str, words: str, host: str, exempt: bool) -> None:
    """As curl and Node read NO_PROXY."""
    found = proxy_for(f"https://{host}/v1", {"HTTPS_PROXY": A, name: words}, None)
    assert found == (None if exempt else A)


def test_the_profiles_proxy_leads_everywhere() -> None:
    """As in CCR: before the environment, for this machine too, and with no exceptions."""
    for url in (HTTPS, "http://127.0.0.1:1/"):
        assert proxy_for(url, {"HTTPS_PROXY": A, "NO_PROXY": "*"}, "b.test:2") == B


@pytest.mark.parametrize(
    "value",
    ["ftp://u:hunter22@a.test", "http://", "http://u:hun#ter22@a.test:1", "http://a.test:99999"],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy", ""])
def test_an_unusable_proxy_is_said(name: str, value: str) -> None:
    """In one sentence that says where it stands and does not repeat a password."""
    with pytest.raises(ConfigError) as caught:
        proxy_for(HTTPS, {name: value}, None if name else value)
    assert (name or "PROXY_URL") in caught.value.what
    assert not {"hun", "ter22"} & set(str(caught.value).replace("@", " ").split())
    assert "hunter22" not in str(caught.value)


@given(value=st.text(), listed=st.text(), host=st.sampled_from(["a.test", "10.0.0.1", "[::2]"]))
def test_no_variable_breaks_anything(value: str, listed: str, host: str) -> None:
    """Whatever stands in the environment is a proxy, none, or a configuration error."""
    environ = {"HTTPS_PROXY": value, "NO_PROXY": listed}
    try:
        found = proxy_for(f"https://{host}/", environ, None)
    except ConfigError:
        return
    assert found is None or "://" in found


def test_this_machine() -> None:
    """By name and by number."""
    assert all(map(is_loopback, ("localhost", "a.localhost", "127.8.0.1", "::1", "[::1]")))
    assert not any(map(is_loopback, ("localhost.test", "128.0.0.1", "", "::2")))


# ---------------------------------------------------------------- certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("ca"))


def trusting(**environ: str) -> Trust:
    return make_trust(environ)


async def failure_of(url: str, trust: Trust) -> CannotReach:
    async with Transport(environ={}, trust=lambda: trust) as transport:
        heard = await ask(transport, url)
    assert isinstance(heard.failure, CannotReach)
    return heard.failure


@pytest.mark.parametrize("name", ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_an_authority_that_the_environment_names(
    authority: tuple[Path, ssl.SSLContext], name: str, tmp_path: Path
) -> None:
    """One as inspecting boxes make it, which Python 3.13's strict flag would turn down; the
    connection is used again as any other."""
    ca, tls = authority
    value = str(ca)
    if name == "SSL_CERT_DIR":
        value = str(tmp_path)
        process = await asyncio.create_subprocess_exec(
            "openssl", "x509", "-hash", "-noout", "-in", str(ca), stdout=asyncio.subprocess.PIPE
        )
        hashed = (await process.communicate())[0].decode().strip()
        (tmp_path / f"{hashed}.0").write_bytes(ca.read_bytes())
    trust = trusting(**{name: value})
    assert trust.findings == ()
    async with serving(answering(OK), tls=tls) as server:
        async with Transport(environ={}, trust=lambda: trust) as transport:
            for _ in range(2):
                heard = await ask(transport, f"https://localhost:{server.port}/v1", b"x" * 300_000)
                assert (heard.bytes, heard.failure) == (b"ok", None)
        assert server.taken == 1


async def test_the_systems_store(
    authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority that the administrator added counts, whatever SSL_CERT_FILE adds to it."""
    ca, tls = authority
    monkeypatch.setattr("synccr.transport.tls._SYSTEM_FILES", (str(ca),))
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile="/none", openssl_capath="/none")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    trust = trusting(SSL_CERT_FILE="/opt/conda/ssl/cacert.pem")
    async with (
        serving(answering(OK), tls=tls) as server,
        Transport(environ={}, trust=lambda: trust) as transport,
    ):
        assert (await ask(transport, f"https://127.0.0.1:{server.port}/")).bytes == b"ok"


async def test_an_unknown_authority_is_told_with_what_to_do(
    authority: tuple[Path, ssl.SSLContext],
) -> None:
    """Files that are missing are named; verification is not switched off by a variable."""
    environ = {"NODE_EXTRA_CA_CERTS": "/none/ca.pem", "NODE_TLS_REJECT_UNAUTHORIZED": "0"}
    trust = trusting(**environ)
    async with serving(answering(OK), tls=authority[1]) as server:
        failure = await failure_of(f"https://localhost:{server.port}/", trust)
        assert server.taken == 0
    assert failure.kind == "tls"
    assert failure.detail.startswith("TLS: unable to get local issuer certificate; ")
    assert "NODE_EXTRA_CA_CERTS names /none/ca.pem, which is not there" in failure.detail
    assert "goes into NODE_EXTRA_CA_CERTS" in failure.detail
    assert "NODE_TLS_REJECT_UNAUTHORIZED=0 is not followed" in failure.detail


async def test_a_wrong_name_is_no_matter_of_the_authority(
    authority: tuple[Path, ssl.SSLContext],
) -> None:
    """A certificate for another host is told as that."""
    ca, tls = authority
    async with serving(answering(OK), host="127.0.0.2", tls=tls) as server:
        failure = await failure_of(
            f"https://127.0.0.2:{server.port}/", trusting(NODE_EXTRA_CA_CERTS=str(ca))
        )
    assert failure.kind == "tls"
    assert "127.0.0.2" in failure.detail
    assert "NODE_EXTRA_CA_CERTS" not in failure.detail


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that takes anything for a bad request."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_a_server_without_tls() -> None:
    """https where http is spoken."""
    async with serving(plain) as server:
        failure = await failure_of(f"https://127.0.0.1:{server.port}/", trusting())
    assert failure.kind == "tls"


def test_variables_that_lead_nowhere_are_findings(tmp_path: Path) -> None:
    """Each is named with what is wrong, and the rest still counts."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing", "ascii")
    trust = trusting(
        SSL_CERT_FILE="/none.pem", NODE_EXTRA_CA_CERTS=str(empty), SSL_CERT_DIR="/none"
    )
    first, second, third = trust.findings
    assert first == "SSL_CERT_FILE names /none.pem, which is not there and is ignored"
    assert second == f"NODE_EXTRA_CA_CERTS names {empty}, which holds no certificate and is ignored"
    assert third == "SSL_CERT_DIR names /none, which is no directory and is ignored"
    assert trust.context.cert_store_stats()["x509_ca"] > 50


def test_the_context_verifies_and_is_made_once() -> None:
    """One for the process; the strict flag is off on every Python."""
    trust = shared_trust()
    assert trust is shared_trust()
    assert trust.context.verify_mode is ssl.CERT_REQUIRED
    assert trust.context.check_hostname
    assert not trust.context.verify_flags & ssl.VERIFY_X509_STRICT


# ---------------------------------------------------------------- through a proxy


async def test_a_connect_proxy_with_a_password(authority: tuple[Path, ssl.SSLContext]) -> None:
    """TLS to the provider within the tunnel; the tunnel is used again; names are the proxy's."""
    ca, tls = authority
    trust = trusting(NODE_EXTRA_CA_CERTS=str(ca))
    relay = ConnectProxy(needs=b"Basic dTpwQHNz")  # u:p@ss
    async with serving(answering(OK), tls=tls) as server, serving(relay) as proxy:
        environ = {"HTTPS_PROXY": f"u:p%40ss@127.0.0.1:{proxy.port}"}
        async with Transport(environ=environ, trust=lambda: trust) as transport:
            for _ in range(2):
                heard = await ask(transport, f"https://provider.test:{server.port}/v1", b"x")
                assert (heard.bytes, heard.failure) == (b"ok", None)
        assert relay.asked == [f"CONNECT provider.test:{server.port} HTTP/1.1".encode()]
        assert (proxy.taken, server.taken) == (1, 1)


async def test_a_proxy_behind_tls(authority: tuple[Path, ssl.SSLContext]) -> None:
    """TLS within TLS."""
    ca, tls = authority
    trust = trusting(NODE_EXTRA_CA_CERTS=str(ca))
    relay = ConnectProxy()
    async with serving(answering(OK), tls=tls) as server, serving(relay, tls=tls) as proxy:
        environ = {"ALL_PROXY": f"https://localhost:{proxy.port}"}
        async with Transport(environ=environ, trust=lambda: trust) as transport:
            heard = await ask(transport, f"https://provider.test:{server.port}/v1", b"x" * 200_000)
            assert (heard.bytes, heard.failure) == (b"ok", None)


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5", "socks5h"])
async def test_plain_http_through_the_profiles_proxy(scheme: str) -> None:
    """Everything goes through it, what is on this machine too, and by name."""
    relay = ConnectProxy() if scheme == "http" else SocksProxy()
    async with (
        serving(answering(OK)) as server,
        serving(relay) as proxy,
        Transport(environ={}) as transport,
    ):
        way = f"{scheme}://user:word@127.0.0.1:{proxy.port}"
        for host in ("provider.test", "localhost"):
            heard = await ask(transport, f"http://{host}:{server.port}/v1", proxy=way)
            assert (heard.bytes, heard.failure) == (b"ok", None)
        # The way is part of what a connection is: without the proxy it is another one.
        assert (await ask(transport, server.url)).bytes == b"ok"
        assert (proxy.taken, server.taken) == (2, 3)
    if isinstance(relay, SocksProxy):
        assert relay.asked == [b"provider.test", b"localhost"]
        assert relay.login == (b"user:word" if scheme.startswith("socks5") else b"")


async def test_socks_with_tls_and_an_address(authority: tuple[Path, ssl.SSLContext]) -> None:
    """SOCKS4 knows numbers alone; TLS on top of it."""
    ca, tls = authority
    trust = trusting(NODE_EXTRA_CA_CERTS=str(ca))
    relay = SocksProxy()
    async with serving(answering(OK), tls=tls) as server, serving(relay) as proxy:
        async with Transport(environ={}, trust=lambda: trust) as transport:
            url = f"https://127.0.0.1:{server.port}/v1"
            heard = await ask(transport, url, proxy=f"socks4://127.0.0.1:{proxy.port}")
        assert heard.bytes == b"ok"
    assert relay.asked == [b"127.0.0.1"]


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (b"", "refused: 407 Proxy Authentication Required"),
        (b"HTTP/1.1 403 Blocked by \x1b[31mpolicy\r\n\r\n", "refused: 403 Blocked by policy"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused: 502 Bad Gateway"),
        (b"nonsense", "refused: "),
    ],
)
async def test_why_a_proxy_refuses(refusal: bytes, words: str) -> None:
    """In its own words, and without the password that it was given."""
    relay = ConnectProxy(needs=b"never", refusal=refusal)
    async with serving(relay) as proxy, Transport(environ={}) as transport:
        way = f"http://user:hunter22@127.0.0.1:{proxy.port}"
        failure = (await ask(transport, "https://provider.test/v1", proxy=way)).failure
    assert isinstance(failure, CannotReach)
    assert failure.kind == "proxy"
    assert failure.detail.startswith(
        f"the proxy http://127.0.0.1:{proxy.port} (PROXY_URL of the profile) {words}"
    )
    assert "hunter22" not in failure.detail


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_proxy_that_is_not_there(scheme: str) -> None:
    """Said as that, not as a provider that is down."""
    async with Transport(environ={"HTTPS_PROXY": f"{scheme}://127.0.0.1:1"}) as transport:
        failure = (await ask(transport, "https://provider.test/v1")).failure
    assert isinstance(failure, CannotReach)
    assert failure.kind == "proxy"
    assert failure.detail == (
        f"the proxy {scheme}://127.0.0.1:1 (HTTPS_PROXY) cannot be reached: "
        "refused: nothing listens there"
    )


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "https"])
@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_a_proxy_of_another_kind(scheme: str, says: bytes) -> None:
    """SOCKS or TLS spoken to what knows neither."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(says)

    async with serving(other) as proxy, Transport(environ={}) as transport:
        way = f"{scheme}://127.0.0.1:{proxy.port}"
        failure = (await ask(transport, "https://192.0.2.1/v1", proxy=way)).failure
    assert isinstance(failure, CannotReach)
    assert failure.kind == "proxy"
    assert failure.detail.startswith(f"the proxy {way} ")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_silent_proxy_is_a_timeout_that_names_it(scheme: str) -> None:
    """And leaving while it is silent ends the connection to it."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as proxy, Transport(environ={}, connect_timeout=0.2) as transport:
        way = f"{scheme}://127.0.0.1:{proxy.port}"
        failure = (await ask(transport, "https://provider.test/v1", proxy=way)).failure
        assert isinstance(failure, CannotReach)
        assert failure.kind == "timeout"
        assert way in failure.detail
        heard = Heard()
        call = transport.start(Outgoing("GET", "https://provider.test/"), heard, proxy=way)
        await asyncio.sleep(0.05)
        call.abort()
        await asyncio.sleep(0.05)
        assert (heard.ends, proxy.taken) == (0, 2)
        assert all(writer.transport.is_closing() for writer in proxy.writers)


async def test_an_unusable_proxy_is_told_to_the_receiver() -> None:
    """A call fails with the sentence that names the variable."""
    async with Transport(environ={"HTTPS_PROXY": "ftp://x"}) as transport:
        failure = (await ask(transport, "https://provider.test/")).failure
    assert isinstance(failure, CannotReach)
    assert failure.kind == "proxy"
    assert failure.detail.startswith("HTTPS_PROXY is no usable proxy")
