"""What CCR 3 keeps, as a profile in CCR 2's form. Pure.

Who was upgraded from CCR 2 has two configurations: the ``config.json`` that CCR 3 took over, with
the routes that it dropped, and what CCR 3 has now. The old one counts; on top of it comes what is
new in CCR 3: keys, providers, models, and rules that are routes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synccr.config.ccr3.database import Stored
from synccr.config.ccr3.keys import LOCAL, KeptKeys
from synccr.config.ccr3.provider import Provider3, read_provider
from synccr.config.ccr3.rules import Resolve, chain, read_rules
from synccr.config.profile import DEFAULT_PORT, variables

_CARRIED = ("API_TIMEOUT_MS",)
_LOOPBACK = ("", "127.0.0.1", "localhost", "::1")
_OWN_FEATURES = ("proxy", "toolHub", "mediaTools", "contextArchive", "botGateway")
_OWN_LISTS = ("plugins", "providerPlugins", "virtualModelProfiles")
_MODELS_OF_AGENT = ("sonnetModel", "opusModel", "fableModel")


@dataclass(frozen=True)
class Taken:
    """A profile that was made from CCR 3's configuration.

    Attributes:
        document: in CCR 2's form; no key stands in it.
        keys: for ``keys.env``; each is named in the document.
        left: what was not taken, and why.
        remarks: what was decided for the person.
        upgraded: it is the ``config.json`` of CCR 2 that CCR 3 took over.
    """

    document: dict[str, Any] = field(repr=False)
    keys: Mapping[str, str] = field(repr=False)
    left: tuple[str, ...]
    remarks: tuple[str, ...]
    upgraded: bool

    def __str__(self) -> str:
        """What it has, in a sentence."""
        providers = ", ".join(str(entry.get("name")) for entry in _entries(self.document))
        router = _router(self.document).items()
        routes = ", ".join(f"{name} {ref}" for name, ref in router if isinstance(ref, str))
        return f"Providers: {providers}; routes: {routes}."

    def details(self) -> tuple[str, ...]:
        """What a person should know of it, in sentences."""
        remarks = [f"{text[:1].upper()}{text[1:]}." for text in self.remarks]
        return (*remarks, *([f"Not taken: {'; '.join(self.left)}."] if self.left else []))


def old_document(content: bytes) -> dict[str, Any] | None:
    """A ``config.json`` of CCR 2 that CCR 3 took over; None for one without routes of CCR 2's,
    from which CCR 3 dropped nothing."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not _entries(found):
        return None
    router = found.get("Router")
    routes = router.values() if isinstance(router, dict) else ()
    return found if any(isinstance(one, str) and "," in one for one in routes) else None


def take(
    stored: Stored,
    old: Mapping[str, Any] | None,
    *,
    directory: Path,
    known: Mapping[str, str],
) -> Taken | None:
    """The profile; None when there is no provider with a model in it.

    Args:
        stored: what CCR 3 keeps.
        old: the configuration of CCR 2 that it took over; None when there is none.
        directory: CCR's, from which CCR 3 takes relative paths.
        known: variables that are set already.
    """
    left: list[str] = []
    keys = KeptKeys(known)
    made = _Making(stored, list(_providers(stored.document, left)), keys, left)
    document = made.new(directory) if old is None else made.on_top_of(old)
    if not any(entry.get("models") for entry in _entries(document)):
        return None
    left += [*keys.left, *_features(stored.document)]
    return Taken(document, keys.found, _once(left), _once(made.remarks), old is not None)


@dataclass
class _Making:
    """Makes the document; what it meets on the way goes into its lists."""

    stored: Stored
    providers: list[Provider3]
    keys: KeptKeys
    left: list[str]
    remarks: list[str] = field(default_factory=list)

    def new(self, directory: Path) -> dict[str, Any]:
        """From CCR 3's configuration alone."""
        document = self.stored.document
        taken = [provider for provider in self.providers if not provider.off]
        self.left += [f"provider {p.name}: it is switched off" for p in self.providers if p.off]
        entries = [self._entry(provider) for provider in taken]
        resolve = _resolver((p.name, p.id, p.models) for p in taken)
        router, lists = self._routes(resolve)
        if models := chain(_router(document).get("fallback"), resolve):
            lists.setdefault("default", models)
        self._complete(router, taken, resolve)
        found = {
            "PORT": _port(document),
            "HOST": _host(document),
            "APIKEY": self._local_key(),
            **{name: _number(document.get(name)) for name in _CARRIED},
            "CUSTOM_ROUTER_PATH": _path(document.get("CUSTOM_ROUTER_PATH"), directory),
            "Providers": entries,
            "Router": router,
            "fallback": lists,
        }
        return {name: value for name, value in found.items() if value}

    def on_top_of(self, old: Mapping[str, Any]) -> dict[str, Any]:
        """From the configuration of CCR 2, and what is new in CCR 3."""
        document = copy.deepcopy(dict(old))
        document.pop("APIKEYS", None)
        entries = _entries(document)
        now = {provider.name.lower(): provider for provider in self.providers}
        for entry in entries:
            self._renew(entry, now.pop(str(entry.get("name", "")).strip().lower(), None))
        added = [provider for provider in now.values() if not provider.off]
        entries += [self._entry(provider) for provider in added]
        if added:
            self.remarks.append(f"CCR 3 has more providers: {', '.join(p.name for p in added)}")
        ids = {provider.name.lower(): provider.id for provider in self.providers}
        resolve = _resolver(
            (name, ids.get(name.lower(), name), _texts(entry.get("models")))
            for entry in entries
            if (name := str(entry.get("name", "")).strip())
        )
        routes, lists = self._routes(resolve)
        if models := chain(_router(self.stored.document).get("fallback"), resolve):
            lists.setdefault("default", models)
        router = {k: v for k, v in _router(document).items() if not isinstance(v, dict | list)}
        document["Router"] = router | routes
        given = document.get("fallback")
        if merged := (given if isinstance(given, dict) else {}) | lists:
            document["fallback"] = merged
        key = document.get("APIKEY")
        if isinstance(key, str) and key:
            document["APIKEY"] = self._old_key(key)
        return document

    def _entry(self, provider: Provider3) -> dict[str, Any]:
        self.left += provider.left
        return provider.entry(self.keys.of_provider(provider.name, provider.key))

    def _renew(self, entry: dict[str, Any], now: Provider3 | None) -> None:
        """Bring a provider of CCR 2 up to date; ``now`` is the same one in CCR 3."""
        name, text = str(entry.get("name", "")), entry.get("api_key")
        whose = f"provider {name}"
        if now is None:
            self.remarks.append(f"{whose} is in the old config.json only")
        else:
            self.left += now.left
            if now.off:
                self.remarks.append(f"{whose} is switched off in CCR 3, and on here")
            url = str(entry.get("api_base_url"))
            if not any(variables(url)) and now.url.rstrip("/") != url.rstrip("/"):
                self.remarks.append(f"{whose} has another address in CCR 3; the old one counts")
        if isinstance(text, str) and text:
            value = now.key if now and now.key else text
            if any(variables(text)):
                self.keys.keep(text, value, whose)
            else:
                entry["api_key"] = self.keys.of_provider(name, value)
        models = entry.get("models")
        if now and isinstance(models, list):
            entry["models"] = [*models, *(m for m in now.models if m not in models)]

    def _routes(self, resolve: Resolve) -> tuple[dict[str, Any], dict[str, list[str]]]:
        found = read_rules(_router(self.stored.document).get("rules"), resolve)
        self.left += found.left
        return found.router, found.fallback

    def _complete(self, router: dict[str, Any], taken: list[Provider3], resolve: Resolve) -> None:
        """What CCR 3 does without a rule: the models that it gave to Claude Code."""
        agent = _agent(self.stored.document)
        small = resolve(agent.get("haikuModel")) or resolve(agent.get("smallFastModel"))
        if small:
            router.setdefault("background", small)
        if "default" not in router:
            if named := resolve(agent.get("model")):
                router["default"] = named
            elif first := _first(taken, self.stored.document):
                router["default"] = first
                self.remarks.append(
                    f"no rule is for every request, so the default is {first}, the first model "
                    "that CCR 3 has"
                )
        for name in _MODELS_OF_AGENT:
            model = resolve(agent.get(name))
            if model and model != router.get("default"):
                self.left.append(f"{model} for Claude Code's {name.removesuffix('Model')} models")

    def _local_key(self) -> str | None:
        found = list(self._port_keys())
        self.left += [f"key {name} of the local port" for name, _ in found[1:]]
        return self.keys.named(LOCAL, found[0][1], "the local port") if found else None

    def _old_key(self, text: str) -> str:
        value = next((value for _, value in self._port_keys()), text)
        if not any(variables(text)):
            return self.keys.named(LOCAL, value, "the local port")
        self.keys.keep(text, value, "the local port")
        return text

    def _port_keys(self) -> Iterator[tuple[str, str]]:
        """Name and value, without those that CCR 3 makes for the programs that it configures."""
        for key in self.stored.keys:
            name = key.name or key.id
            if key.value is None:
                self.left.append(f"key {name} of the local port: it cannot be read")
            elif key.value and not key.id.startswith("profile:"):
                yield name, key.value


def _providers(document: Mapping[str, Any], left: list[str]) -> Iterator[Provider3]:
    """Those that can be providers of CCR 2's, each name once."""
    names: set[str] = set()
    for entry in _list(document.get("Providers")):
        found = read_provider(entry)
        if isinstance(found, str):
            left.append(found)
        elif found.name.lower() in names:
            left.append(f"provider {found.name}: there is one of that name before it")
        else:
            names.add(found.name.lower())
            yield found


def _resolver(providers: Iterable[tuple[str, str, Iterable[str]]]) -> Resolve:
    """CCR 3 names ``provider/model`` or ``provider,model``, the provider by its name or its id,
    in any capitals; or the model alone.

    Args:
        providers: name, id and models of each.
    """
    known: dict[str, str] = {}
    alone: dict[str, set[str]] = {}
    for name, own, models in providers:
        for model in models:
            route = f"{name},{model}"
            for start in (name, own):
                for sign in "/,":
                    known.setdefault(f"{start}{sign}{model}".lower(), route)
            alone.setdefault(model.lower(), set()).add(route)

    def resolve(wanted: object) -> str | None:
        word = wanted.strip().lower() if isinstance(wanted, str) else ""
        only = alone.get(word, set())
        return known.get(word) or (next(iter(only)) if len(only) == 1 else None)

    return resolve


def _first(providers: list[Provider3], document: Mapping[str, Any]) -> str | None:
    """The model that CCR 3 takes for lack of another."""
    wanted = document.get("preferredProvider")
    order = sorted(providers, key=lambda provider: provider.name != wanted)
    return next((f"{p.name},{p.models[0]}" for p in order if p.models), None)


def _agent(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What CCR 3 sets in Claude Code's settings, as far as it does."""
    section = document.get("profile")
    if not isinstance(section, dict) or section.get("enabled") is False:
        return {}
    for one in _list(section.get("profiles")):
        if isinstance(one, dict) and one.get("agent") == "claude-code" and one.get("enabled"):
            return one
    return {}


def _features(document: Mapping[str, Any]) -> Iterator[str]:
    """What only CCR 3 does."""
    found = [name for name in _OWN_LISTS if _list(document.get(name))]
    for name in _OWN_FEATURES:
        section = document.get(name)
        if isinstance(section, dict) and section.get("enabled") is True:
            found.append(name)
    if found:
        yield f"CCR 3's own {', '.join(found)}"
    section = document.get("profile")
    for one in _list(section.get("profiles")) if isinstance(section, dict) else ():
        if isinstance(one, dict) and isinstance(one.get("routing"), dict):
            yield f"the rules of CCR 3's profile {one.get('name') or one.get('id')}"


def _port(document: Mapping[str, Any]) -> int | None:
    gateway = document.get("gateway")
    given = document.get("PORT") or (gateway.get("port") if isinstance(gateway, dict) else None)
    port = _number(given)
    return port if port and port < 65536 and port != DEFAULT_PORT else None


def _host(document: Mapping[str, Any]) -> str | None:
    host = document.get("HOST")
    return host if isinstance(host, str) and host not in _LOOPBACK else None


def _path(value: object, directory: Path) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    return str(directory / value.strip())


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _router(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("Router")
    return found if isinstance(found, dict) else {}


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list of providers, as CCR 2 finds it; empty when there is none."""
    found = document.get("Providers") or document.get("providers")
    return found if isinstance(found, list) and all(isinstance(e, dict) for e in found) else []


def _once(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))


def _texts(value: object) -> list[str]:
    return [item for item in _list(value) if isinstance(item, str)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
