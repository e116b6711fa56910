"""Profiles: a configuration in the form of CCR 2's ``config.json``, read and understood.

CCR replaces ``$NAME`` and ``${NAME}`` in ``Providers`` and ``APIKEY`` from the
environment (an unset name stays as it is) and nowhere else; so do we, and the
raw document is kept beside the understood one so that what we do not know
survives.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from synccr.models.report import ModelRef
from synccr.redact import is_secret_parameter

Role = Literal["primary", "fallback"]

PROXY_NAMES = ("HTTPS_PROXY", "https_proxy", "httpsProxy", "PROXY_URL")
"""Names of the proxy in CCR's configuration; the first that is there counts (from its source)."""
SCENARIOS = ("default", "background", "think", "longContext", "webSearch", "image")
"""Routes that CCR 2.0.0 takes by itself; any other key is a name for people."""

FALLBACK_SCENARIOS = SCENARIOS[:5]
"""Scenarios for which CCR 2.0.0 reads a list of in-flight fallbacks."""

DEFAULT_PORT = 3456
"""Where CCR listens when its configuration does not say."""

_VARIABLE = re.compile(r"\$\{([^}]+)\}|\$([A-Z_][A-Z0-9_]*)")


@dataclass(frozen=True)
class Provider:
    """One entry of ``Providers``, with its variables replaced.

    Attributes:
        name: as routes name it.
        url: ``api_base_url``, the whole address that CCR posts to; may carry a key.
        key: the value. Neither is shown in ``repr``.
        models: as listed.
        transformer: CCR's transformer section, raw.
        unset: names of environment variables that it needs and that are not set.
    """

    name: str
    url: str = field(repr=False)
    key: str = field(repr=False)
    models: tuple[str, ...]
    transformer: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unset: tuple[str, ...] = ()

    def secrets(self) -> tuple[str, ...]:
        """Values that must never be shown: the key, and what the address carries of that kind.
        A key that is the provider's own name (``ollama``) is none."""
        address = urlsplit(self.url)
        carried = [value for name, value in parse_qsl(address.query) if is_secret_parameter(name)]
        found = (self.key, address.username, address.password, *carried)
        return tuple(value for value in found if value and value != self.name)


@dataclass(frozen=True)
class ConfigWarning:
    """Something odd in a profile that does not prevent its use."""

    place: str
    what: str
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.what}. {self.instead}".rstrip()


@dataclass(frozen=True)
class Profile:
    """A CCR configuration that can be used.

    Attributes:
        role: what it serves as.
        source: the file, or words for people when there is none.
        raw: the document as it was read; not to be changed.
        providers: in the order of the document.
        routes: every ``Router`` key that names a model.
        fallbacks: ``fallback`` lists by scenario, as far as they name providers.
        warnings: what is odd.
        shipped: it came with synccr and not from a person.
        api_key: the value of ``APIKEY``; None when there is none.
        own_names: made-up names of providers, each with what the person's file says.
    """

    role: Role
    source: str
    raw: Mapping[str, Any] = field(repr=False)
    providers: tuple[Provider, ...]
    routes: Mapping[str, ModelRef]
    fallbacks: Mapping[str, tuple[ModelRef, ...]]
    warnings: tuple[ConfigWarning, ...] = ()
    shipped: bool = False
    api_key: str | None = field(default=None, repr=False)
    own_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The public port."""
        return int(self.raw.get("PORT") or DEFAULT_PORT)

    @property
    def api_key_text(self) -> str | None:
        """``APIKEY`` as written, so possibly ``$NAME``; None when there is none."""
        return self.raw.get("APIKEY") or None

    @property
    def host(self) -> str:
        """Where to listen: beyond loopback only with an ``APIKEY``, as CCR has it."""
        wanted = self.raw.get("HOST")
        return wanted if wanted and self.api_key_text else "127.0.0.1"

    def provider(self, name: str) -> Provider | None:
        """The provider of that name."""
        return next((p for p in self.providers if p.name == name), None)

    def preferences(self) -> tuple[ModelRef, ...]:
        """The models its owner named to serve: the default, then the explicit fallbacks."""
        named = [
            self.routes.get("default"),
            *self.fallbacks.get("default", ()),
            self.routes.get("fallback"),
        ]
        return tuple(dict.fromkeys(ref for ref in named if ref))

    def models(self) -> tuple[ModelRef, ...]:
        """Every configured model once, in its owner's order."""
        listed = (ModelRef(p.name, model) for p in self.providers for model in p.models)
        lists = (ref for refs in self.fallbacks.values() for ref in refs)
        return tuple(dict.fromkeys([*self.preferences(), *self.routes.values(), *lists, *listed]))

    def secrets(self) -> tuple[str, ...]:
        """Values that must never be shown; the name of an unset variable is none."""
        keys = (*(key for p in self.providers for key in p.secrets()), self.api_key or "")
        return tuple(key for key in keys if key and not _VARIABLE.fullmatch(key))


@dataclass(frozen=True)
class Local:
    """The local port, the same whichever profile runs, so that clients go on working.

    Attributes:
        port: the public port.
        api_key: ``APIKEY`` as it is to be written, possibly ``$NAME``; None for none.
        log_level: ``LOG_LEVEL`` that a person asked for; None for none but errors.
    """

    port: int
    api_key: str | None = field(default=None, repr=False)
    log_level: str | None = None


def owner_order(*profiles: Profile) -> tuple[ModelRef, ...]:
    """All models of some profiles, most preferred first.

    What each profile is *for* (its default) stands before explicit fallbacks,
    and those before the models that are merely configured: who writes a
    fallback profile wants its default next after the primary's.
    """
    defaults = [p.routes["default"] for p in profiles if "default" in p.routes]
    preferred = [ref for p in profiles for ref in p.preferences()]
    rest = [ref for p in profiles for ref in p.models()]
    return tuple(dict.fromkeys([*defaults, *preferred, *rest]))


def probe_targets(*profiles: Profile) -> tuple[tuple[Provider, str], ...]:
    """Every configured model with its provider, in the owner's order, each name once: of
    profiles whose names were told apart, so that one name is one account."""
    providers = {p.name: p for profile in reversed(profiles) for p in profile.providers}
    return tuple((providers[ref.provider], ref.model) for ref in owner_order(*profiles))


def derive_fallback(primary: Profile) -> Profile:
    """The fallback of a primary that has none: every route on the model of its
    ``fallback`` route, else on the next of its owner's order."""
    order = primary.models()
    default = primary.routes.get("default") or order[0]
    others = (ref for ref in (primary.routes.get("fallback"), *order) if ref and ref != default)
    target = next(others, default)
    raw = copy.deepcopy(dict(primary.raw))
    router = dict(raw.get("Router") or {})
    routes = dict.fromkeys(primary.routes, target) | {"default": target}
    raw["Router"] = router | {name: str(ref) for name, ref in routes.items()}
    return replace(
        primary,
        role="fallback",
        source=f"derived from {primary.source}",
        raw=raw,
        routes=routes,
        warnings=(),
    )


def variables(value: object) -> Iterator[str]:
    """Names of the environment variables that CCR would replace in ``value``."""
    if isinstance(value, str):
        for braced, bare in _VARIABLE.findall(value):
            yield braced or bare
    elif isinstance(value, list):
        for item in value:
            yield from variables(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from variables(item)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Replace variables as CCR does; an unset or empty one stays literal."""
    return _VARIABLE.sub(lambda m: environ.get(m[1] or m[2]) or m[0], text)
