"""A company's network: its own certificate authority, its forward proxy. Whole runs of synccr
with the real CCR, in which the preflight, the traffic and the doctor have to agree."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from home import KEY, MAIN, Home, Running, message
from load import said
from ports import free_port
from provider import FakeProvider
from ways import ConnectProxy, Server, ServingThread, SocksProxy, forwarding, make_authority

pytestmark = [pytest.mark.integration, pytest.mark.long]

NAME = "provider.test"
"""A host that has an address for the proxy alone."""
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
NO_MODEL = 5
CONFIG = 4


@pytest.fixture
def servers() -> Iterator[ServingThread]:
    with ServingThread() as servers:
        yield servers


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def home(home: Home) -> Home:
    """A home that trusts nobody more than the machine does."""
    home.env.pop("NODE_EXTRA_CA_CERTS", None)
    return home


def use(home: Home, url: str, **changes: Any) -> None:
    """A profile on a provider at this origin."""
    provider = {
        "name": "acme",
        "api_base_url": f"{url}/openai/v1/chat/completions",
        "api_key": "$ACME_KEY",
        "models": [MAIN],
    }
    routes = {"default": f"acme,{MAIN}"}
    profile = {"PORT": home.port, "Providers": [provider], "Router": routes, **changes}
    home.write("ccr-config.json", profile)


def answers(running: Running, nonce: str = "of-a-company") -> list[httpx.Response]:
    """A streamed request and a whole one."""
    url = f"{running.url}/v1/messages"
    with httpx.Client(trust_env=False, verify=PLAIN, timeout=60) as client:
        return [client.post(url, json=message(nonce, stream=stream)) for stream in (True, False)]


def doctor(home: Home, *names: str) -> tuple[int, str]:
    """Exit code, and what it says, as one line."""
    found = home.run("doctor", *(names or ("provider",)))
    return found.returncode, " ".join((found.stdout + found.stderr).split())


def serves(running: Running) -> str:
    """Preflight, traffic and doctor all say that the provider can be reached.

    Returns:
        what the doctor said.
    """
    for answer, stream in zip(answers(running), (True, False), strict=True):
        assert said(answer.content, stream=stream) == "of-a-company", answer.text
    (model,) = running.home.status()["models"]
    assert (model["status"], model["model"]) == ("ok", MAIN)
    assert running.home.events("error_seen") == []
    code, words = doctor(running.home)
    assert code == 0, words
    return words


def serves_not(home: Home, words: str) -> str:
    """Preflight, traffic and doctor all say the same of a provider that cannot be reached.

    Returns:
        what ``synccr start`` said, as one line.
    """
    started = home.run("start")
    shown = " ".join((started.stdout + started.stderr).split())
    assert started.returncode == NO_MODEL, shown
    assert re.search(words, shown), shown
    with home.running("--skip-preflight") as running:
        for answer in answers(running):
            assert answer.status_code >= 400
            assert re.search(words, answer.text), answer.text
    _, told = doctor(home)
    assert "FAIL provider.connect" in told
    assert re.search(words, told), told
    return shown


# ---------------------------------------------------------------- certificates


@pytest.fixture
def behind_tls(
    servers: ServingThread, provider: FakeProvider, authority: tuple[Path, ssl.SSLContext]
) -> Server:
    """The provider, behind a certificate of the company's authority."""
    return servers.open(forwarding(provider.port), tls=authority[1])


@pytest.mark.parametrize("missing", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", None])
def test_the_authority_is_named(
    home: Home, behind_tls: Server, authority: tuple[Path, ssl.SSLContext], missing: str | None
) -> None:
    """By Python's variable, by Node's, or by both; a file that is not there is told by the
    doctor and harms nobody."""
    home.env |= dict.fromkeys(("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), str(authority[0]))
    home.env |= {missing: "/none/cacert.pem"} if missing else {}
    use(home, f"https://localhost:{behind_tls.port}")
    with home.running() as running:
        told = serves(running)
    assert ("names /none/cacert.pem, which is not there" in told) is bool(missing)
    assert missing is None or f"{missing} names /none" in told


STRICT = """
import ssl
made = ssl.SSLContext.__new__
def strict(*arguments, **options):
    context = made(*arguments, **options)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
ssl.SSLContext.__new__ = strict
"""


def test_an_authority_without_key_usage_where_python_is_strict(
    home: Home, behind_tls: Server, authority: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    """Python 3.13's flag, on any Python."""
    (tmp_path / "sitecustomize.py").write_text(STRICT)
    home.env |= {"NODE_EXTRA_CA_CERTS": str(authority[0]), "PYTHONPATH": str(tmp_path)}
    use(home, f"https://localhost:{behind_tls.port}")
    with home.running() as running:
        serves(running)


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_an_unknown_authority(home: Home, behind_tls: Server) -> None:
    """Said as that, with what to do; a variable does not switch verification off, which is
    said, too."""
    home.env |= {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "SSL_CERT_FILE": "/none/cacert.pem"}
    use(home, f"https://localhost:{behind_tls.port}")
    shown = serves_not(home, "TLS: unable to get local issuer certificate")
    assert "authority into NODE_EXTRA_CA_CERTS." in shown
    assert shown.count("NODE_TLS_REJECT_UNAUTHORIZED=0 is not followed") == 1
    assert "SSL_CERT_FILE names /none" in shown
    assert "synccr does not follow it" in doctor(home, "node.environment")[1]
    assert "provider's address" not in shown


# ---------------------------------------------------------------- proxies


@pytest.fixture
def gate(servers: ServingThread) -> ConnectProxy:
    return ConnectProxy()


@pytest.fixture
def proxy(servers: ServingThread, gate: ConnectProxy) -> Server:
    """The company's forward proxy."""
    return servers.open(gate)


@pytest.mark.parametrize("name", ["https_proxy", "ALL_PROXY", "PROXY_URL"])
def test_only_the_proxy_leads_there(
    home: Home,
    behind_tls: Server,
    authority: tuple[Path, ssl.SSLContext],
    proxy: Server,
    gate: ConnectProxy,
    name: str,
) -> None:
    """Over CONNECT, in which no key is; CCR itself is led nowhere by variables of its own."""
    gate.needs = b"Basic dTpwQHNz"  # u:p@ss
    value = f"http://u:p%40ss@127.0.0.1:{proxy.port}"
    changes = {name: value} if name == "PROXY_URL" else {}
    home.env |= {"NODE_EXTRA_CA_CERTS": str(authority[0]), "NODE_USE_ENV_PROXY": "1"}
    home.env |= {} if changes else {name: value, "HTTP_PROXY": value, "http_proxy": value}
    use(home, f"https://{NAME}:{behind_tls.port}", **changes)
    with home.running() as running:
        serves(running)
    assert {head.split()[1] for head in gate.heads} == {f"{NAME}:{behind_tls.port}".encode()}
    assert not any(KEY.encode() in head for head in gate.heads)
    assert not any(b"authorization: bearer" in head.lower() for head in gate.heads)


def test_a_socks_proxy(home: Home, provider: FakeProvider, servers: ServingThread) -> None:
    """Which knows the name, for a provider without TLS."""
    socks = SocksProxy()
    server = servers.open(socks)
    home.env["ALL_PROXY"] = f"socks5h://user:word@127.0.0.1:{server.port}"
    use(home, f"http://{NAME}:{provider.port}")
    with home.running() as running:
        serves(running)
    assert set(socks.asked) == {NAME.encode()}
    assert socks.login == b"user:word"


def test_a_proxy_without_a_scheme(home: Home, provider: FakeProvider, proxy: Server) -> None:
    """Is one of http, as curl has it."""
    home.env["HTTP_PROXY"] = f"127.0.0.1:{proxy.port}"
    use(home, f"http://{NAME}:{provider.port}")
    with home.running() as running:
        serves(running)


@pytest.mark.ccr("2.0.0", "3.1.1")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_what_is_on_this_machine_is_asked_directly(
    home: Home,
    servers: ServingThread,
    provider: FakeProvider,
    proxy: Server,
    host: str,
) -> None:
    """Whatever the environment says, by synccr and by CCR."""
    value = f"http://127.0.0.1:{proxy.port}"
    names = ("HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
    home.env |= {**dict.fromkeys(names, value), "NODE_USE_ENV_PROXY": "1"}
    port = provider.port
    if host == "[::1]":
        port = servers.open(forwarding(provider.port), host="::1").port
    use(home, f"http://{host}:{port}")
    with home.running() as running:
        serves(running)
    assert proxy.taken == 0


def test_an_excepted_provider_is_asked_directly(
    home: Home, provider: FakeProvider, proxy: Server
) -> None:
    """NO_PROXY: then the name has no address, and the proxy is not asked."""
    home.env |= {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": f".{NAME}"}
    use(home, f"http://{NAME}:{provider.port}")
    started = home.run("start")
    assert started.returncode == NO_MODEL
    assert "DNS: the host was not found" in started.stderr + started.stdout
    with home.running("--skip-preflight") as running:
        assert all("DNS: the host was not found" in answer.text for answer in answers(running))
    code, told = doctor(home)
    assert code != 0
    assert f"{NAME} has no address" in told
    assert proxy.taken == 0


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "PROXY_URL"])
def test_a_dead_proxy(home: Home, name: str) -> None:
    """It is the proxy that does not answer, and where it is named is said."""
    way = f"http://127.0.0.1:{free_port()}"
    changes = {name: way} if name == "PROXY_URL" else {}
    home.env |= {} if changes else {name: way}
    use(home, f"https://{NAME}", **changes)
    shown = serves_not(home, rf"the proxy {way} \({name}.*\) cannot be reached: refused")
    assert f"Check the proxy: look at {name}" in shown
    assert "provider's address" not in shown


def test_a_proxy_that_refuses(home: Home, proxy: Server, gate: ConnectProxy) -> None:
    """In its words, without the password."""
    gate.needs = b"Basic never"
    home.env["HTTPS_PROXY"] = f"http://u:hunter22@127.0.0.1:{proxy.port}"
    use(home, f"https://{NAME}")
    shown = serves_not(home, "refused: 407 Proxy Authentication Required")
    assert "look at HTTPS_PROXY" in shown
    assert "hunter22" not in shown
    assert home.where_is("hunter22") == []


def test_a_proxy_that_is_none(home: Home, provider: FakeProvider) -> None:
    """Said before anything is sent."""
    home.env["HTTP_PROXY"] = "ftp://u:hunter22@127.0.0.1:1"
    use(home, f"http://{NAME}:{provider.port}")
    started = home.run("start")
    assert started.returncode == CONFIG
    assert "HTTP_PROXY is no usable proxy: ftp:// is none of http" in started.stderr
    assert "hunter22" not in started.stderr


# ---------------------------------------------------------------- connections that end


@pytest.mark.parametrize("by", ["provider", "proxy"])
def test_connections_that_end_between_two_requests(
    home: Home,
    servers: ServingThread,
    behind_tls: Server,
    authority: tuple[Path, ssl.SSLContext],
    proxy: Server,
    by: str,
) -> None:
    """Are no failure: the next request takes a new one."""
    home.env["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy.port}"
    home.env["NODE_EXTRA_CA_CERTS"] = str(authority[0])
    use(home, f"https://{NAME}:{behind_tls.port}")
    with home.running() as running:
        for _ in range(3):
            taken = behind_tls.taken
            assert [answer.status_code for answer in answers(running)] == [200, 200]
            servers.drop(behind_tls if by == "provider" else proxy)
        assert behind_tls.taken > taken
        serves(running)
        turns = json.loads(home.run("trace", "--json").stdout)["turns"]
        assert [len(turn["tries"]) for turn in turns] == [1] * 8, turns


def test_clients_are_kept_from_the_proxy(home: Home, provider: FakeProvider, proxy: Server) -> None:
    """What ``synccr env`` prints keeps curl from the proxy, whichever names are set."""
    value = f"http://127.0.0.1:{proxy.port}"
    home.env |= {"http_proxy": value, "HTTP_PROXY": value, "no_proxy": ".corp.example"}
    use(home, provider.base_url)
    with home.running():
        line = 'eval "$("$0" -m synccr env)"; curl -sS "$ANTHROPIC_BASE_URL/health"'
        found = subprocess.run(
            ["sh", "-c", line, sys.executable],
            env=home.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert found.stdout
    assert proxy.taken == 0
