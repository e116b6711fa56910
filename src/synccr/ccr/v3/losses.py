"""What of a profile CCR 3 does not do, with its consequence: said before the start. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from synccr.ccr.loss import Loss
from synccr.ccr.v3.asked import Asked, asked
from synccr.config.profile import Profile, variables
from synccr.models.report import ModelRef
from synccr.probe.dialects import CHAT, GEMINI

_LOST: Final = {
    "enhancetool": "tool calls with broken JSON are not mended",
    "forcereasoning": "the model is not made to think aloud",
    "tooluse": "the model is not pressed to call a tool",
}
"""By transformer, what is missing without it."""
_KEEP_NO_CACHE: Final = frozenset({"cleancache", "groq"})


def losses(profile: Profile) -> tuple[Loss, ...]:
    """All of them, those that concern single models first."""
    models = tuple(asked(profile))
    return (*_of_models(models), *_of_providers(profile), *_of_document(profile, models))


def _of_models(models: Sequence[Asked]) -> Iterator[Loss]:
    for one in models:
        if one.why_not:
            yield Loss(_place(one.ref), one.why_not, "it cannot be asked", (one.ref,), True)
    for provider in dict.fromkeys(one.ref.provider for one in models):
        theirs = [one for one in models if one.dialect and one.ref.provider == provider]
        yield from _of_provider(f"Providers.{provider}.transformer", theirs)


def _of_provider(place: str, models: Sequence[Asked]) -> Iterator[Loss]:
    for name, consequence in _LOST.items():
        if refs := _using(models, name):
            yield Loss(place, f"CCR 3 has no {name}", consequence, refs)
    if refs := tuple(one.ref for one in models if _caches(one)):
        what = "CCR 3 leaves cache_control out of OpenAI's form"
        yield Loss(place, what, "no prompt is cached, so each request costs more", refs)
    if refs := tuple(one.ref for one in models if one.dialect is GEMINI):
        what = "CCR 3 asks Google for whole answers"
        yield Loss(place, what, "text comes at the end, all at once", refs)
    for name in dict.fromkeys(
        u.name for one in models for u in one.uses if _has_variable(u.values)
    ):
        what = f"CCR 3 would keep the value of a variable in {name} on disk"
        yield Loss(place, what, "that option is left out", _using(models, name))


def _of_providers(profile: Profile) -> Iterator[Loss]:
    for entry in profile.raw.get("Providers") or profile.raw["providers"]:
        if entry.get("tokenizer"):
            place = f"Providers.{entry['name']}.tokenizer"
            yield Loss(place, "CCR 3 has no tokenizer", "longContext goes by an estimate")


def _of_document(profile: Profile, models: Sequence[Asked]) -> Iterator[Loss]:
    raw, routes = profile.raw, profile.routes
    if "image" in routes:
        what = "CCR 3 has no image agent"
        consequence = "images of earlier turns are not looked at again"
        yield Loss("Router.image", what, consequence)
        if raw.get("forceUseImageAgent"):
            consequence = "a request with an image goes to Router.image as a whole"
            yield Loss("forceUseImageAgent", what, consequence)
    for one in models:
        if one.ref == routes.get("webSearch") and one.dialect in (CHAT, GEMINI):
            what = "CCR 3 leaves the search tool out"
            yield Loss(
                "Router.webSearch", what, "Claude Code's WebSearch finds nothing", (one.ref,)
            )
    if raw.get("CUSTOM_ROUTER_PATH"):
        what = "keys and addresses of providers are kept from CCR 3, which asks listed models only"
        consequence = "your router sees none of them, and what it leads to has to be listed"
        yield Loss("CUSTOM_ROUTER_PATH", what, consequence)
    for name in _enabled_plugins(raw.get("plugins") or raw.get("Plugins")):
        yield Loss("plugins", f"CCR 3 has no plugin {name}", "it does not run")
    line = raw.get("StatusLine")
    if isinstance(line, dict) and line.get("enabled"):
        yield Loss("StatusLine", "CCR 3 has no ccr statusline", "use synccr statusline instead")


def _using(models: Iterable[Asked], name: str) -> tuple[ModelRef, ...]:
    return tuple(one.ref for one in models if any(use.name == name for use in one.uses))


def _caches(one: Asked) -> bool:
    """Whether CCR 2 passes cache marks on to a model that reads them."""
    names = {use.name for use in one.uses}
    return one.dialect is CHAT and "claude" in one.ref.model and not names & _KEEP_NO_CACHE


def _has_variable(value: Any) -> bool:
    return any(variables(value))


def _enabled_plugins(plugins: object) -> Iterator[str]:
    for one in plugins if isinstance(plugins, list) else ():
        if isinstance(one, dict) and one.get("enabled"):
            yield str(one.get("name"))


def _place(ref: ModelRef) -> str:
    return f"Providers.{ref.provider}.models"
