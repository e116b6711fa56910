"""One provider of CCR 3 as CCR 2 writes it. Pure.

CCR 3 has a base address and the protocol beside it, CCR 2 the whole address and a transformer.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from synccr.config.profile import variables

_LOGIN = "ccr-local-agent-login"
"""In the place of a key: CCR 3 uses the login of another program."""
_SAMPLING = frozenset({"max_tokens", "temperature", "top_p", "top_k", "repetition_penalty"})
"""What CCR 2's transformer of that name takes; ``customparams`` takes anything."""

_CHAT, _RESPONSES, _ANTHROPIC, _GEMINI = (
    "openai_chat_completions",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate_content",
)
_TRANSFORMERS: Mapping[str, str] = {
    _CHAT: "",
    _RESPONSES: "openai-responses",
    _ANTHROPIC: "Anthropic",
    _GEMINI: "gemini",
}
"""Each protocol that both know, with CCR 2's transformer for it."""
_PROTOCOL_NAMES = {"openai": _RESPONSES, "openai_chat": _CHAT, "anthropic": _ANTHROPIC} | {
    "gemini": _GEMINI
}
_ENDINGS = re.compile(
    r"/(?:chat/completions|responses|messages|models(?:/[^/]*)?)/*$", re.IGNORECASE
)
_ADDRESSES = ("api_base_url", "baseUrl", "baseurl")
_KEYS = ("api_key", "apiKey", "apikey")


@dataclass(frozen=True)
class Provider3:
    """What CCR 2 needs of a provider.

    Attributes:
        name: as in CCR 3.
        id: CCR 3's own, by which its rules may name it, too.
        models: as listed.
        url: the whole address.
        key: its key; empty when it has none.
        transformer: CCR 2's section; empty when it needs none.
        off: it is switched off.
        left: sentences on what of it CCR 2 has no place for.
    """

    name: str
    id: str
    models: tuple[str, ...]
    url: str = field(repr=False)
    key: str = field(repr=False)
    transformer: Mapping[str, Any]
    off: bool
    left: tuple[str, ...]

    def entry(self, key: str) -> dict[str, Any]:
        """In CCR 2's form; ``key`` is what stands for its key."""
        made = {
            "name": self.name,
            "api_base_url": self.url,
            "api_key": key,
            "models": list(self.models),
        }
        return made | ({"transformer": dict(self.transformer)} if self.transformer else {})


def read_provider(entry: object) -> Provider3 | str:
    """One entry of CCR 3's ``Providers``; a sentence why not when it cannot be one of CCR 2's."""
    if not isinstance(entry, dict):
        return "a provider that is no object"
    name = _text(entry, ("name",))
    if not name:
        return "a provider without a name"
    whose = f"provider {name}"
    models = tuple(dict.fromkeys(_texts(entry.get("models"))))
    key, more = _key(entry)
    if key == _LOGIN:
        return f"{whose}: it uses the login of another program, which only CCR 3 does"
    form = _form(entry)
    if form is None:
        return f"{whose}: CCR 2 does not speak its protocol"
    url = _whole(*form)
    if url is None:
        return f"{whose}: it has no address that can be asked"
    if "," in name or any(variables([name, url, *models])):
        return f"{whose}: CCR 2 would read its name, its address or a model otherwise"
    left = [f"{whose}: {more} more keys"] if more else []
    if headers := entry.get("extraHeaders"):
        named = ", ".join(map(str, headers)) if isinstance(headers, dict) else "all"
        left.append(f"{whose}: its own headers ({named})")
    section, lost = _transformer(entry, form.transformer, models)
    return Provider3(
        name=name,
        id=_text(entry, ("id",)) or name,
        models=models,
        url=url,
        key=key,
        transformer=section,
        off=entry.get("enabled") is False,
        left=(*left, *(f"{whose}: {what}" for what in lost)),
    )


class _Form(NamedTuple):
    """How a provider is asked.

    Attributes:
        protocol: one that both know; empty for a provider that is in CCR 2's form already.
        address: as CCR 3 has it.
    """

    protocol: str
    address: str

    @property
    def transformer(self) -> str | None:
        """CCR 2's; None when its own section says it."""
        return _TRANSFORMERS.get(self.protocol)


def _form(entry: Mapping[str, Any]) -> _Form | None:
    """As CCR 3 takes it: the first of the provider's capabilities, else what type and address
    say. Those that CCR 2 does not know are passed over; None when no other is left."""
    told = list(_capabilities(entry.get("capabilities")))
    if told:
        return next((form for form in told if form.protocol in _TRANSFORMERS), None)
    address = _text(entry, _ADDRESSES)
    named = _protocol(entry.get("protocol") or entry.get("type") or entry.get("provider"))
    section = entry.get("transformer")
    if not named and isinstance(section, dict) and section:
        return _Form("", address)
    form = _Form(named or _guessed(address), address)
    return form if form.protocol in _TRANSFORMERS else None


def _capabilities(value: object) -> Iterator[_Form]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict):
            form = _Form(_protocol(one.get("type") or one.get("protocol")), _text(one, _ADDRESSES))
            if form.protocol and form.address:
                yield form


def _protocol(value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    return _PROTOCOL_NAMES.get(word, word)


def _guessed(address: str) -> str:
    """As CCR 3 does: the address's words decide."""
    url = address.lower()
    if url.startswith("https://generativelanguage.googleapis.com/v1beta/openai"):
        return _CHAT
    if "/interactions" in url:
        return ""
    if "generativelanguage.googleapis.com" in url:
        return _GEMINI
    return _ANTHROPIC if "anthropic" in url else _CHAT


def _whole(protocol: str, address: str) -> str | None:
    """The address that CCR 3 asks; None when there is none."""
    if not address:
        return None
    if not re.match(r"[a-z][a-z0-9+.-]*://", address, re.IGNORECASE):
        local = re.match(r"localhost|127\.|0\.0\.0\.0|\[::1\]", address, re.IGNORECASE)
        address = f"{'http' if local else 'https'}://{address}"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        return None
    if not usable:
        return None
    if not protocol:
        return address
    path = _ENDINGS.sub("", parts.path).rstrip("/")
    if protocol == _ANTHROPIC:
        path = re.sub(r"/v1(?:beta)?$", "", path) + "/v1/messages"
    elif protocol == _GEMINI:
        path = (path if re.search(r"/v1(?:beta)?$", path) else f"{path}/v1beta") + "/models/"
    else:
        path += "/responses" if protocol == _RESPONSES else "/chat/completions"
    return parts._replace(path=path, query="", fragment="").geturl()


def _transformer(
    entry: Mapping[str, Any], transformer: str | None, models: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    """CCR 2's section, and what has no place in it. What came from CCR 2 is kept."""
    given = entry.get("transformer")
    section = copy.deepcopy(given) if isinstance(given, dict) else {}
    if transformer is not None:
        section.pop("use", None)
        if transformer:
            section = {"use": [transformer], **section}
    lost = []
    for model, body in _bodies(entry.get("extraBody"), models):
        if model == "use":  # CCR 2 would take it for the provider's own list
            lost.append(f"the parameters of {model}")
            continue
        own = section.get(model)
        use = own.get("use") if isinstance(own, dict) else None
        section[model] = {"use": [*(use if isinstance(use, list) else ()), *_as_use(body)]}
    return section, lost


def _bodies(extra: object, models: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What CCR 3 adds to the requests of each model."""
    if not isinstance(extra, dict):
        return
    apart = "default" in extra or any(model in extra for model in models)
    common = extra.get("default") if apart else extra
    for model in models:
        own = extra.get(model) if apart else None
        body = {**(common if isinstance(common, dict) else {})}
        body |= own if isinstance(own, dict) else {}
        if body:
            yield model, body


def _as_use(body: Mapping[str, Any]) -> Iterator[list[Any]]:
    sampling = {key: value for key, value in body.items() if key in _SAMPLING}
    others = {key: value for key, value in body.items() if key not in _SAMPLING}
    if sampling:
        yield ["sampling", sampling]
    if others:
        yield ["customparams", others]


def _key(entry: Mapping[str, Any]) -> tuple[str, int]:
    """The key that CCR 3 asks with first, and how many more there are."""
    pool = entry.get("credentials")
    rows = [c for c in pool if isinstance(c, dict)] if isinstance(pool, list) else []
    rows = [c for c in rows if c.get("enabled") is not False]
    keys = [key for row in sorted(rows, key=_priority) if (key := _text(row, _KEYS))]
    if own := _text(entry, _KEYS):
        keys = [own, *(key for key in keys if key != own)]
    return (keys[0], len(keys) - 1) if keys else ("", 0)


def _priority(row: Mapping[str, Any]) -> float:
    value = row.get("priority")
    return value if isinstance(value, int | float) else 0


def _text(entry: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of these that is text and not blank."""
    found = (entry.get(name) for name in names)
    return next((value.strip() for value in found if isinstance(value, str) and value.strip()), "")


def _texts(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str) and item.strip():
            yield item.strip()
