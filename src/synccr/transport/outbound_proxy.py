"""Which proxy leads to an address. Pure.

The profile's own (``PROXY_URL``) leads everywhere, to loopback too, as in CCR. Those of the
environment have the meaning that curl and Node give them: the name of the URL's scheme first,
then ``ALL_PROXY``; lower case before upper case; exceptions in ``NO_PROXY``. Whatever they say,
what is on this machine is asked directly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from synccr.errors import ConfigError
from synccr.transport.http_types import target_of

NAMES: Final = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
"""The environment's variables."""

_PORTS: Final = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """A proxy's address, taken apart."""

    scheme: str
    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)

    def __str__(self) -> str:
        """Without name and password."""
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NamedProxy:
    """A proxy that counts.

    Attributes:
        url: with its scheme.
        name: where it stands, for a person.
    """

    url: str = field(repr=False)
    name: str

    def __str__(self) -> str:
        """Without name and password."""
        return f"{parse(self.url)} ({self.name})"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its name or number."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def proxy_for(url: str, environ: Mapping[str, str], profile_proxy: str | None) -> str | None:
    """The proxy's URL, with its scheme; None for a direct connection.

    Raises:
        ConfigError, ValueError: as ``named_proxy_for``.
    """
    proxy = named_proxy_for(url, environ, profile_proxy)
    return proxy.url if proxy else None


def named_proxy_for(
    url: str, environ: Mapping[str, str], profile_proxy: str | None
) -> NamedProxy | None:
    """The proxy that leads to an address; None for a direct connection.

    Raises:
        ConfigError: the proxy that counts cannot be used; names where it stands.
        ValueError: nothing can be sent to ``url``.
    """
    if profile_proxy:
        return _checked("PROXY_URL of the profile", profile_proxy)
    target = target_of(url)
    if is_loopback(target.host) or _exempt(target.host, target.port, environ):
        return None
    names = (f"{target.scheme}_proxy", f"{target.scheme}_PROXY".upper(), "all_proxy", "ALL_PROXY")
    name = next((name for name in names if environ.get(name, "").strip()), None)
    return _checked(name, environ[name]) if name else None


def _checked(name: str, value: str) -> NamedProxy:
    value = value.strip()
    url = value if "://" in value else f"http://{value}"
    try:
        parse(url)
    except ValueError as error:
        raise ConfigError(f"{name} is no usable proxy: {error}.", f"Look at {name}.") from None
    return NamedProxy(url, name)


def parse(url: str) -> ProxyAddress:
    """Take a proxy's URL apart.

    Raises:
        ValueError: it cannot be used; does not repeat it.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in _PORTS:
        kind = scheme if re.fullmatch(r"[a-z][a-z0-9+.-]{0,15}", scheme) else "that"
        raise ValueError(f"{kind}:// is none of http, https, socks4, socks4a, socks5, socks5h")
    try:
        parts = urlsplit(f"http://{rest}")
        host, port = parts.hostname, parts.port or _PORTS[scheme]
    except ValueError:
        host, port = None, 0
    if not host or not re.fullmatch(r"[\w.:%-]+", host):
        raise ValueError("it has no host and port (signs in a password are written as %XX)")
    return ProxyAddress(
        scheme, host, port, unquote(parts.username or ""), unquote(parts.password or "")
    )


def _exempt(host: str, port: int, environ: Mapping[str, str]) -> bool:
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return any(_covers(word.lower(), host, port) for word in re.split(r"[\s,]+", listed) if word)


def _covers(word: str, host: str, port: int) -> bool:
    """Whether one word of ``NO_PROXY`` means this host."""
    if word == "*":
        return True
    named = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", word) or re.fullmatch(r"([^:]+):(\d+)", word)
    if named:
        word = named[1]
        if named[2] and int(named[2]) != port:
            return False
    try:
        return ip_address(host) in ip_network(word, strict=False)
    except ValueError:
        suffix = word.removeprefix("*").strip(".")
        return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))
