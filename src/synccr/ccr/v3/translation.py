"""A configuration of CCR 2 in CCR 3's words. Pure.

CCR 3 has no ``Router``, and it takes the form of a provider from the *text* of ``transformer``.
So routes go to our own router (``node_side/router.cjs``) as data, ``protocol`` is written, and
``transformer`` is left out: see ``transformers``. What has no counterpart is in ``losses``.

CCR 3 sets ``extraBody`` whatever the client sends. What CCR 2 sets only when the client wants the
model to think is in further entries of the same provider, of which the router takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from synccr.ccr.v3.asked import Asked, asked
from synccr.ccr.v3.transformers import EFFORTS, NONE, Edits, edits
from synccr.config.profile import PROXY_NAMES
from synccr.config.reader import understand
from synccr.paths import Paths
from synccr.probe.dialects import CHAT, GEMINI, MESSAGES, RESPONSES, ProbeDialect

KEY: Final = "synccr"
"""What CCR 3 has in the place of every provider's key."""

_FORMS: Final[Mapping[ProbeDialect, tuple[str, str]]] = {
    CHAT: ("openai_chat_completions", "/v1/chat/completions"),
    MESSAGES: ("anthropic", "/v1/messages"),
    RESPONSES: ("openai_responses", "/v1/responses"),
    GEMINI: ("gemini", ""),
}
"""CCR 3's protocol, and the path from which it surely asks in that form; for Google it adds
``/v1beta/models/...`` itself."""

_PATIENCE: Final = 3_600_000
"""Milliseconds, as long as CCR 2 waits: the egress holds answers back, and ends them itself."""
_KEPT_BACK: Final = ("api_key", "api_base_url")
_NOT_SHOWN: Final = ("Router", "Providers", "providers", "APIKEY", *PROXY_NAMES)


@dataclass(frozen=True)
class Translation:
    """What CCR 3 reads.

    Attributes:
        document: its configuration, without ports, key and the router's place.
        routes: what our router reads.
    """

    document: dict[str, Any]
    routes: dict[str, Any]


def translate(
    config: Mapping[str, Any],
    address: Callable[[str], str],
    paths: Paths,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Translation:
    """Put a configuration into CCR 3's words.

    Args:
        config: as CCR 2 has it, its variables not replaced.
        address: where the egress takes requests to a provider, by its name.
        paths: for routes of projects and sessions.
        environ: what names of providers and models have their variables from.

    Raises:
        ConfigError: it cannot be used by CCR 2, either.
    """
    profile = understand(dict(config), "CCR's configuration", "primary", environ)
    groups: dict[tuple[str, ProbeDialect], list[Asked]] = {}
    for one in asked(profile):
        if one.dialect:
            groups.setdefault((one.ref.provider, one.dialect), []).append(one)
    entries: list[dict[str, Any]] = []
    models: dict[str, dict[str, Any]] = {}
    # In an order of our own: profiles that list the same ones in another are the same to CCR 3.
    ordered = sorted(groups.items(), key=lambda group: (group[0][0].lower(), group[0][1].name))
    for number, ((provider, dialect), theirs) in enumerate(ordered, 1):
        theirs.sort(key=lambda one: one.ref.model)
        made = _Entries(f"synccr-{number}", address(provider), dialect, theirs)
        entries += made.documents()
        models |= made.targets()
    return Translation(
        {
            "Providers": entries,
            "API_TIMEOUT_MS": _PATIENCE,
            "profile": {"enabled": False},
            "observability": {"requestLogs": False},
        },
        {
            "routes": dict(config.get("Router") or {}),
            "models": models,
            "projects": str(paths.ccr),
            "sessions": str(paths.ccr.parent / ".claude" / "projects"),
            **_own_files(config, paths.ccr),
        },
    )


class _Entries:
    """What CCR 3 has for one provider in one form: an entry for each way of thinking that is
    told apart.

    Args:
        name: of the first one; the others' begin so.
        address: where the egress takes requests to the provider.
        dialect: the form.
        models: those that are asked in it.
    """

    def __init__(
        self, name: str, address: str, dialect: ProbeDialect, models: Sequence[Asked]
    ) -> None:
        self._address = address
        self._dialect = dialect
        self._models = models
        self._edits = {effort: [_edits(one, effort) for one in models] for effort in EFFORTS}
        self._names: dict[str, str] = {}
        for effort in EFFORTS:
            same = (e for e in self._names if self._extra(e) == self._extra(effort))
            alike = next(same, None)
            own = f"{name}-{effort}" if effort else name
            self._names[effort] = own if alike is None else self._names[alike]

    def documents(self) -> Iterator[dict[str, Any]]:
        """The entries of CCR 3's ``Providers``."""
        protocol, path = _FORMS[self._dialect]
        for effort, name in self._names.items():
            if name in (self._names[e] for e in EFFORTS[: EFFORTS.index(effort)]):
                continue
            extra = self._extra(effort)
            yield {
                "id": name,
                "name": name,
                "api_base_url": self._address + path,
                "api_key": KEY,
                "models": [one.ref.model for one in self._models],
                "protocol": protocol,
                **({"extraBody": extra} if extra else {}),
            }

    def targets(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What our router does with a request to each model."""
        for one, done in zip(self._models, self._edits[""], strict=True):
            to = {effort: f"{name},{one.ref.model}" for effort, name in self._names.items()}
            told_apart = {effort: name for effort, name in to.items() if name != to[""]}
            found = {
                "to": to[""],
                "thinking": told_apart,
                "cap": done.cap,
                "drop": sorted(done.drop),
                "schemas": done.schemas,
                "anthropic": self._dialect is MESSAGES,
            }
            yield one.key, {name: value for name, value in found.items() if value}

    def _extra(self, effort: str) -> dict[str, Any]:
        both = zip(self._models, self._edits[effort], strict=True)
        return {one.ref.model: dict(done.extra) for one, done in both if done.extra}


def _edits(one: Asked, effort: str) -> Edits:
    return NONE if one.dialect is MESSAGES else edits(one.uses, one.ref.model, effort)


def _own_files(config: Mapping[str, Any], ccr: Path) -> dict[str, Any]:
    """What a person wrote for CCR 2 to run, or to read, for each request."""
    found: dict[str, Any] = {}
    text, custom = config.get("REWRITE_SYSTEM_PROMPT"), config.get("CUSTOM_ROUTER_PATH")
    if text and isinstance(text, str):
        found["rewrite"] = str(ccr / text)
    if custom and isinstance(custom, str):
        listed = config.get("Providers") or config["providers"]
        shown = [{k: v for k, v in one.items() if k not in _KEPT_BACK} for one in listed]
        rest = {name: value for name, value in config.items() if name not in _NOT_SHOWN}
        found |= {"custom": custom, "config": {**rest, "Providers": shown, "providers": shown}}
    return found
