"""Reading a profile: what cannot be used is refused with file, place, and what to write
instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from synccr import jsonc
from synccr.config.profile import (
    SCENARIOS,
    ConfigWarning,
    Profile,
    Provider,
    Role,
    interpolate,
    variables,
)
from synccr.errors import ConfigError
from synccr.models.report import ModelRef

_THRESHOLD = "longContextThreshold"
_PORT = re.compile(r"[0-9]{1,5}")
_Listed = Mapping[str, tuple[str, ...]]
"""Models by provider, as ``Providers`` lists them."""

_LARGEST = 8 * 1024 * 1024
_DEEPEST = 100
"""Levels of nesting; CCR's own configurations have about eight."""
# CCR 2.0.0's own documentation shows these, the program does not read them.
_DOCUMENTED_NAMES = {
    "name": "NAME",
    "api_base_url": "HOST",
    "api_key": "APIKEY",
    "models": "MODELS",
}


def read_profile(
    path: Path, role: Role, environ: Mapping[str, str], *, shipped: bool = False
) -> Profile:
    """Read a profile from a file.

    Raises:
        ConfigError: it cannot be used; file, place and what to write instead.
    """
    return parse_profile(read_file(path), str(path), role, environ, shipped=shipped)


def read_file(path: Path) -> bytes:
    """A profile's bytes, for who keeps them as well.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and the file's mode."
        ) from error


def parse_profile(
    content: str | bytes,
    source: str,
    role: Role,
    environ: Mapping[str, str],
    *,
    shipped: bool = False,
) -> Profile:
    """Understand a profile; see :func:`read_profile`."""
    text = _decoded(content, source) if isinstance(content, bytes) else content
    return understand(_load(text, source), source, role, environ, shipped=shipped)


def _decoded(data: bytes, source: str) -> str:
    if len(data) > _LARGEST:
        raise ConfigError(f"{source} is larger than 8 MiB.", "Is it a CCR configuration?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8."
        ) from error


def _load(text: str, source: str) -> object:
    try:
        return jsonc.loads(text)
    except jsonc.Malformed as error:
        plain = "a file of this size can have no comments."
        todo = plain if error.plain else "comments and trailing commas are fine."
        raise ConfigError(f"{source} is not JSON: {error}.", f"Mend that place; {todo}") from error


def understand(
    raw: object, source: str, role: Role, environ: Mapping[str, str], *, shipped: bool = False
) -> Profile:
    """Understand a document that has been read already; see :func:`read_profile`."""
    return _Reader(source, environ).profile(raw, role, shipped)


@dataclass
class _Reader:
    """Walks one document; every complaint names the file and the place."""

    source: str
    environ: Mapping[str, str]
    warnings: list[ConfigWarning] = field(default_factory=list)

    def fail(self, place: str, what: str, instead: str) -> NoReturn:
        raise ConfigError(f"{self.source}: {place} {what}.", instead)

    def warn(self, place: str, what: str, instead: str = "") -> None:
        self.warnings.append(ConfigWarning(place, what, instead))

    def profile(self, raw: object, role: Role, shipped: bool) -> Profile:
        if not isinstance(raw, dict):
            self.fail("the document", f"is {_kind(raw)}", 'Write an object: {"Providers": [...]}.')
        self.validate(raw)
        self.scalars(raw)
        key = "providers" if not raw.get("Providers") and "providers" in raw else "Providers"
        providers = self.providers(raw.get(key), key)
        listed = {p.name: p.models for p in providers}
        routes = self.routes(raw.get("Router"), listed)
        fallbacks = self.fallbacks(raw.get("fallback"), listed)
        if not routes and not any(listed.values()):
            self.fail(
                f"{key}[0].models", "is empty, and so are all others", 'Write ["some/model"].'
            )
        return Profile(
            role=role,
            source=self.source,
            raw=raw,
            providers=providers,
            routes=routes,
            fallbacks=fallbacks,
            warnings=tuple(self.warnings),
            shipped=shipped,
            api_key=interpolate(raw.get("APIKEY") or "", self.environ) or None,
        )

    def validate(self, raw: dict[str, Any]) -> None:
        """What is read has to be written again: not too deep, and no half characters."""
        level: list[Any] = [raw]
        for _ in range(_DEEPEST):
            level = [child for item in level for child in _children(item)]
        if level:
            self.fail("the document", f"is nested deeper than {_DEEPEST} levels", "Flatten it.")
        try:
            json.dumps(raw, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            code = f"\\u{ord(error.object[error.start]):04x}"
            self.fail("the document", f"holds {code}, half a character", "Write the whole one.")

    def scalars(self, raw: dict[str, Any]) -> None:
        for name in ("HOST", "APIKEY", "LOG_LEVEL", "PROXY_URL"):
            if not isinstance(raw.get(name, ""), str | None):
                self.fail(name, f"is {_kind(raw[name])}", f'Write text: "{name}": "...".')
        port = raw.get("PORT")
        if port is None or port == "":
            return
        if isinstance(port, bool) or not _PORT.fullmatch(str(port)) or not 0 < int(port) < 65536:
            self.fail("PORT", f"is {port!r}", 'Write a port from 1 to 65535: "PORT": 3456.')

    def providers(self, entries: object, key: str) -> tuple[Provider, ...]:
        example = '"Providers": [{"name", "api_base_url", "api_key", "models"}]'
        if entries is None or entries == []:
            self.fail(key, "is missing or empty", f"Write at least one: {example}.")
        if not isinstance(entries, list):
            self.fail(key, f"is {_kind(entries)}", f"Write a list: {example}.")
        providers: list[Provider] = []
        for index, entry in enumerate(entries):
            provider = self.provider(entry, f"{key}[{index}]")
            if any(p.name == provider.name for p in providers):
                self.fail(
                    f"{key}[{index}].name",
                    f"is {provider.name!r}, as an earlier provider's is",
                    "Give every provider a name of its own: CCR would use the last one only.",
                )
            providers.append(provider)
        return tuple(providers)

    def provider(self, entry: object, place: str) -> Provider:
        if not isinstance(entry, dict):
            self.fail(place, f"is {_kind(entry)}", "Write an object with name, api_base_url, ...")
        texts = [self.text(entry, name, place) for name in ("name", "api_base_url", "api_key")]
        unset = dict.fromkeys(v for v in variables(texts) if not self.environ.get(v))
        name, url, secret = (interpolate(text, self.environ) for text in texts)
        self.url(url, f"{place}.api_base_url")
        models = entry.get("models")
        if not isinstance(models, list) or not all(isinstance(m, str) and m for m in models):
            alias = _DOCUMENTED_NAMES["models"]
            hint = f" (CCR does not read {alias})" if alias in entry else ""
            self.fail(
                f"{place}.models",
                f"is {_kind(models)}{hint}"
                if not isinstance(models, list)
                else "holds something that is no name",
                'Write a list of names: "models": ["some/model"].',
            )
        transformer = entry.get("transformer") or {}
        if not isinstance(transformer, dict):
            self.fail(
                f"{place}.transformer",
                f"is {_kind(transformer)}",
                'Write an object: {"use": ["..."]}.',
            )
        return Provider(
            name=name,
            url=url,
            key=secret,
            models=tuple(dict.fromkeys(interpolate(m, self.environ) for m in models)),
            transformer=transformer,
            unset=tuple(unset),
        )

    def text(self, entry: dict[str, Any], name: str, place: str) -> str:
        value = entry.get(name)
        if isinstance(value, str) and value:
            return value
        alias = _DOCUMENTED_NAMES[name]
        if value is None and alias in entry:
            self.fail(f"{place}.{alias}", "is a name CCR does not read", f'Write "{name}" instead.')
        close = _nearest(name, (k for k in entry if isinstance(k, str)), 0.6)
        if value is None and close:
            self.fail(f"{place}.{close}", "is not a key CCR knows", f'Did you mean "{name}"?')
        self.fail(
            f"{place}.{name}",
            "is missing" if value is None else "is empty" if value == "" else f"is {_kind(value)}",
            f'Write text: "{name}": "...".',
        )

    def url(self, url: str, place: str) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable and not any(variables(url)):
            self.fail(
                place,
                "is not an address",
                'Write the whole one: "https://host/v1/chat/completions".',
            )

    def routes(self, router: object, listed: _Listed) -> dict[str, ModelRef]:
        if router is None:
            self.warn("Router", "is missing, so CCR would answer 500")
            return {}
        if not isinstance(router, dict):
            self.fail(
                "Router", f"is {_kind(router)}", 'Write an object: {"default": "provider,model"}.'
            )
        routes: dict[str, ModelRef] = {}
        for key, value in router.items():
            place = f"Router.{key}"
            if key == _THRESHOLD or value in ("", None):
                continue
            if not isinstance(value, str):
                if key in SCENARIOS or isinstance(value, list):
                    self.fail(place, f"is {_kind(value)}", 'Write text: "provider,model".')
                continue
            ref = self.route(place, key, value, listed)
            if ref:
                routes[key] = ref
        if "default" not in routes:
            self.warn("Router.default", "is missing, so CCR would answer 400")
        return routes

    def route(self, place: str, key: str, value: str, listed: _Listed) -> ModelRef | None:
        if any(variables(value)):
            self.fail(
                place,
                f"is {value!r}, and CCR replaces no variables in routes",
                "Write the provider's and the model's names.",
            )
        try:
            ref = ModelRef.parse(value)
        except ValueError:
            if key not in SCENARIOS and "," not in value:
                self.warn(place, f"is {value!r}, which names no model")
                return None
            self.fail(
                place,
                f"is {value!r}, which names no provider",
                f"Write {_nearest_route(value, listed)!r}.",
            )
        if ref.provider not in listed:
            if key not in SCENARIOS and ", " in value:  # a sentence; CCR carries it along
                self.warn(place, f"is {value!r}, which names no model")
                return None
            right = _nearest(ref.provider, listed) or next(iter(listed))
            self.fail(
                place,
                f"names the provider {ref.provider!r}, which Providers does not have",
                f"Write {str(ModelRef(right, ref.model))!r}.",
            )
        if ref.model not in listed[ref.provider]:
            close = _nearest(ref.model, listed[ref.provider])
            self.warn(
                place,
                f"names the model {ref.model!r}, which {ref.provider} does not list",
                f"Did you mean {close!r}?" if close else "",
            )
        return ref

    def fallbacks(self, lists: object, listed: _Listed) -> dict[str, tuple[ModelRef, ...]]:
        if lists is None:
            return {}
        if not isinstance(lists, dict):
            self.fail(
                "fallback",
                f"is {_kind(lists)}",
                'Write an object: {"default": ["provider,model"]}.',
            )
        found: dict[str, tuple[ModelRef, ...]] = {}
        for key, entries in lists.items():
            place = f"fallback.{key}"
            if entries is None:
                continue
            if not isinstance(entries, list):
                self.fail(place, f"is {_kind(entries)}", 'Write a list: ["provider,model"].')
            refs = []
            for index, entry in enumerate(entries):
                if not isinstance(entry, str):
                    self.fail(
                        f"{place}[{index}]",
                        f"is {_kind(entry)}",
                        'Write text: "provider,model".',
                    )
                provider, _, model = entry.partition(",")
                if provider in listed and model:
                    refs.append(ModelRef(provider, model))
                else:
                    self.warn(f"{place}[{index}]", f"is {entry!r}, which CCR passes over")
            found[str(key)] = tuple(dict.fromkeys(refs))
        return found


def require_key(profiles: Iterable[Profile]) -> None:
    """At least one provider must have its key.

    Raises:
        ConfigError: none has; names the first variable and how to set it.
    """
    providers = [(profile, p) for profile in profiles for p in profile.providers]
    if all(p.unset for _, p in providers):
        profile, provider = providers[0]
        name = provider.unset[0]
        raise ConfigError(
            f"{profile.source}: the provider {provider.name!r} takes its key from {name}, "
            "which is not set, and no other provider is left.",
            f"Write: export {name}=... or have it asked for and kept: synccr init",
        )


def _children(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _nearest(word: str, known: Iterable[str], alike: float = 0.5) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=alike)), None)


def _nearest_route(word: str, listed: _Listed) -> str:
    routes = [str(ModelRef(name, model)) for name, models in listed.items() for model in models]
    models = {ref.partition(",")[2]: ref for ref in routes}
    close = _nearest(word, routes) or models.get(_nearest(word, models) or "")
    return close or next(iter(routes), "provider,model")


def _kind(value: object) -> str:
    words = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "missing",
    }
    return words.get(type(value), type(value).__name__)
