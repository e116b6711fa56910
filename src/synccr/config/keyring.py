"""Placeholders for provider keys, so that CCR's process holds none. Pure, but for random bytes.

CCR replaces ``$NAME`` in its configuration from its environment. Its environment has a placeholder
there, ``synccr.NAME.<24 hex digits>``. The egress replaces that by the key, in header values and
in the query, and only in a request to an origin (scheme, host, port) that a profile gives this key.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from synccr.config.profile import interpolate, variables
from synccr.redact import is_secret_parameter

_PLACEHOLDER = re.compile(r"synccr\.([A-Za-z_][A-Za-z0-9_]*)\.[0-9a-f]{24}")
_MARK = b"synccr."
"""What every placeholder begins with."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[A-Z_][A-Z0-9_]*")
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]+")
_ORIGIN = re.compile(
    r"(?i:(https?))://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?=[/?#]|$)"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}

_SHORTEST = 8
"""Characters below which a value is not looked for in other variables: a word, not a key."""
_RUNS_BY = {"HOME", "USERPROFILE", "PATH", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "PWD"}
"""Variables that CCR does not start without, whatever is in them."""

Headers = tuple[tuple[bytes, bytes], ...]


@lru_cache(1024)
def origin(url: str) -> str | None:
    """Scheme, host and port of an address, in lower case and without the scheme's own port.

    Returns:
        None for what has another scheme, a user, or a form that programs read differently.
    """
    match = _ORIGIN.match(url)
    if match is None:
        return None
    scheme, host, port = match[1].lower(), _host(match[2].lower()), match[3]
    if host is None:
        return None
    shown = "" if port is None or int(port) == _PORTS[scheme] else f":{int(port)}"
    return f"{scheme}://{host}{shown}"


def _host(host: str) -> str | None:
    """An address in numbers in its one usual form; None for one in an unusual form."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
            return str(IPv4Address(host))
    except ValueError:
        return None
    return host


def holds_placeholder(text: str) -> bool:
    """Whether ``text`` holds a placeholder, of this process or of another one."""
    return _PLACEHOLDER.search(text) is not None


def restore(text: str) -> str:
    """``text`` with ``$NAME`` for every placeholder, also for one of an earlier process."""

    def variable(match: re.Match[str]) -> str:
        name, following = match[1], text[match.end() : match.end() + 1]
        bare = _BARE.fullmatch(name) and not re.match(r"[A-Z0-9_]", following)
        return f"${name}" if bare else f"${{{name}}}"

    return _PLACEHOLDER.sub(variable, text)


@dataclass(frozen=True)
class _Key:
    """One variable's value, and where it may go."""

    name: str
    value: str = field(repr=False)
    placeholder: str = field(repr=False)
    origins: frozenset[str]


@dataclass(frozen=True)
class Keyring:
    """The keys of some profiles, each with a placeholder of this process.

    Attributes:
        origins: of all providers, whatever their keys; sorted.
        exposed: variables with a key that CCR gets as it is, each with the reason: CCR needs
            the value itself, or no placeholder can stand for it.
        literal: providers whose key stands in the profile itself.
        stale: variables that hold a placeholder of another process, and no key.
    """

    origins: tuple[str, ...]
    exposed: Mapping[str, str]
    literal: tuple[str, ...]
    stale: tuple[str, ...]
    _keys: tuple[_Key, ...] = field(repr=False)
    _needed: frozenset[str] = field(repr=False)

    @classmethod
    def of(cls, documents: Iterable[Mapping[str, Any]], environ: Mapping[str, str]) -> Keyring:
        """The keys of profiles.

        Args:
            documents: CCR configurations as they were read, variables and all.
            environ: what their variables are replaced from.
        """
        documents = tuple(documents)
        entries = tuple(_providers(documents))
        given, plain = _uses(documents, entries, environ)
        held = {name: environ.get(name, "").strip() for name in given}
        stale = {name for name, value in held.items() if holds_placeholder(value)}
        keys = {name: value for name, value in held.items() if value and name not in stale}
        hidden = {n for n, v in keys.items() if n not in plain and _can_be_hidden(n, v)}
        exposed = {n: plain.get(n, "no HTTP header can hold it") for n in keys.keys() - hidden}
        exposed |= {n: plain[n] for n in plain if _holds(environ.get(n, ""), keys.values())}
        exposed |= dict.fromkeys(_addresses(entries, environ), "it is an address that holds a key")
        found = {origin(_address(entry, environ)) for entry in entries}
        return cls(
            origins=tuple(sorted(one for one in found if one)),
            exposed=dict(sorted(exposed.items())),
            literal=tuple(dict.fromkeys(_text(e, "name") for e in entries if _is_literal(e))),
            stale=tuple(sorted(stale)),
            _keys=tuple(
                _Key(name, keys[name], _placeholder(name, keys.values()), frozenset(given[name]))
                for name in sorted(hidden)
            ),
            _needed=frozenset(plain.keys() | given.keys()),
        )

    def environ_for_ccr(
        self, environ: Mapping[str, str], kept: Iterable[str] = ()
    ) -> dict[str, str]:
        """``environ`` without the keys.

        Args:
            environ: with the keys.
            kept: names that ``keys.env`` holds; those that no profile mentions are left out.
        """
        unneeded = set(kept) - self._needed
        own = {key.name: key.placeholder for key in self._keys}
        longest = sorted(self._keys, key=lambda key: len(key.value), reverse=True)
        result = {name: text for name, text in environ.items() if name not in unneeded}
        for name, text in result.items():
            if name in own:
                result[name] = own[name]
            elif name not in self.exposed and name.upper() not in _RUNS_BY:
                result[name] = _hide(text, longest)
        return result

    def substitute(self, url: str, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, Headers]:
        """Put the keys in place that were given for this address's origin, and no other.

        Args:
            url: whole; only its query is looked at, for percent-encoded placeholders, too.
            headers: only their values are looked at.
        """
        target = origin(url)
        keys = [key for key in self._keys if target in key.origins]
        if not keys:
            return url, tuple(headers)
        if "?" in url:
            for key in keys:
                url = _in_query(url, key)
        return url, tuple((name, _in_header(value, keys)) for name, value in headers)


def _uses(
    documents: Iterable[Mapping[str, Any]],
    entries: Iterable[Mapping[str, Any]],
    environ: Mapping[str, str],
) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Variables of keys, each with the origins they were given for; and those that CCR needs
    as they are, each with the reason."""
    given: dict[str, set[str]] = {}
    plain = {
        name: "it is the APIKEY of the local port, too"
        for document in documents
        for name in variables(document.get("APIKEY"))
    }
    for entry in entries:
        names = set(variables([_text(entry, "api_key"), _query(entry)]))
        target = origin(_address(entry, environ))
        for name in names:
            given.setdefault(name, set()).update([target] if target else [])
        provider = _text(entry, "name")
        for name in variables(_elsewhere(entry)):
            plain.setdefault(name, f"{provider} has it elsewhere than in api_key and the query")
        # An address that programs read differently: its requests are not led, either.
        for name in () if target else names:
            plain.setdefault(name, f"programs read the address of {provider} differently")
    return given, plain


def _providers(documents: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for document in documents:
        for entry in document.get("Providers") or document.get("providers") or ():
            if isinstance(entry, Mapping):
                yield entry


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _query(entry: Mapping[str, Any]) -> str:
    return _text(entry, "api_base_url").partition("?")[2]


def _address(entry: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    return interpolate(_text(entry, "api_base_url"), environ).strip()


def _elsewhere(entry: Mapping[str, Any]) -> list[Any]:
    """All of a provider but its key and its query."""
    rest = [value for name, value in entry.items() if name not in ("api_key", "api_base_url")]
    return [*rest, _text(entry, "api_base_url").partition("?")[0]]


def _addresses(entries: Iterable[Mapping[str, Any]], environ: Mapping[str, str]) -> Iterator[str]:
    """Variables for the address itself that carry a key in a query, or a user."""
    for entry in entries:
        for name in variables(_text(entry, "api_base_url").partition("?")[0]):
            if _carries_secret(environ.get(name, "")):
                yield name


def _carries_secret(url: str) -> bool:
    try:
        address = urlsplit(url)
    except ValueError:
        return False
    named = parse_qsl(address.query)
    return "@" in address.netloc or any(is_secret_parameter(name) for name, _ in named)


def _is_literal(entry: Mapping[str, Any]) -> bool:
    """Whether a key stands in the profile; the provider's own name (``ollama``) is none."""
    key, url = _text(entry, "api_key"), _text(entry, "api_base_url")
    if key and key != entry.get("name") and not any(variables(key)):
        return True
    if any(variables(url)):
        named = parse_qsl(_query(entry))
        return any(is_secret_parameter(n) and v and not any(variables(v)) for n, v in named)
    return _carries_secret(url)


def _can_be_hidden(name: str, value: str) -> bool:
    """Whether the placeholder can be spelled, and the value stands in a header."""
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value))


def _placeholder(name: str, values: Iterable[str]) -> str:
    while True:
        made = f"synccr.{name}.{secrets.token_hex(12)}"
        if not any(made in value for value in values):
            return made


def _holds(text: str, values: Iterable[str]) -> bool:
    return any(value in text for value in values if len(value) >= _SHORTEST)


def _hide(text: str, longest: Iterable[_Key]) -> str:
    for key in longest:
        if len(key.value) >= _SHORTEST:
            text = text.replace(key.value, key.placeholder)
    return text


def _in_header(value: bytes, keys: Iterable[_Key]) -> bytes:
    if _MARK in value:  # few have one, and each request has many fields
        for key in keys:
            value = value.replace(key.placeholder.encode(), key.value.encode("latin-1"))
    return value


def _in_query(url: str, key: _Key) -> str:
    """A value may have been percent-encoded by its owner already, so ``%`` stays."""
    address, mark, query = url.partition("?")
    encoded = "".join(f"(?:{re.escape(sign)}|(?i:%{ord(sign):02x}))" for sign in key.placeholder)
    return address + mark + re.sub(encoded, lambda _: quote(key.value, safe="%"), query)
