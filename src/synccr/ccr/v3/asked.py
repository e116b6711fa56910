"""In which form CCR 3 asks each model of a CCR 2 profile, and which ones it cannot ask. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from synccr.config.profile import Profile, Provider
from synccr.models.report import ModelRef
from synccr.probe.dialects import (
    SHARED_TRANSFORMERS,
    TRANSFORMERS,
    ProbeDialect,
    TransformerUse,
    dialect_of,
    used,
)


@dataclass(frozen=True)
class Asked:
    """One model, as CCR 3 asks it.

    Attributes:
        ref: its name in the profile.
        uses: what CCR 2 has its requests go through: the provider's, then the model's.
        dialect: the form; None when it cannot be asked.
        why_not: the reason, and what to do; empty when it can.
    """

    ref: ModelRef
    uses: tuple[TransformerUse, ...]
    dialect: ProbeDialect | None
    why_not: str = ""

    @property
    def key(self) -> str:
        """What our router finds it by: names count whatever their capitals."""
        return str(self.ref).lower()


def asked(profile: Profile) -> Iterator[Asked]:
    """Every model of a profile, listed or only named by a route, in the order of providers."""
    own = bool(profile.raw.get("transformers"))
    refs = profile.models()
    keys: dict[str, ModelRef] = {}
    for provider in profile.providers:
        named = [ref.model for ref in refs if ref.provider == provider.name]
        for model in dict.fromkeys([*provider.models, *named]):
            ref = ModelRef(provider.name, model)
            uses = (*used(provider.transformer), *used(provider.transformer.get(model)))
            dialect, why_not = _form(provider, model, uses, own)
            if "," in model:
                why_not = "CCR 3 takes no model whose name has a comma"
            first = keys.setdefault(f"{ref}".strip().lower(), ref)
            if first != ref:
                why_not = f"CCR 3 does not tell it from {first}"
            yield Asked(ref, uses, None if why_not else dialect, why_not)


def _form(
    provider: Provider, model: str, uses: tuple[TransformerUse, ...], own: bool
) -> tuple[ProbeDialect | None, str]:
    """The form, or why there is none.

    Args:
        own: the profile has transformers of its own, files that CCR 2 loads.
    """
    unknown = [use.name for use in uses if use.name not in TRANSFORMERS]
    if unknown and own:
        return None, f"CCR 3 loads no transformer from a file, so {unknown[0]} is missing"
    if vertex := next((use.name for use in uses if use.name.startswith("vertex")), ""):
        return None, f"CCR 3 cannot log in to Vertex AI ({vertex})"
    if given := next((u.name for u in uses if u.options and u.name in SHARED_TRANSFORMERS), ""):
        return None, f"the transformer {given} takes no options, and CCR 2 drops such a provider"
    known = replace(provider, transformer=_known(provider.transformer))
    dialect = dialect_of(known, model)
    if dialect is None:
        return None, "the transformer that sets the form stands at the model, not at the provider"
    return dialect, ""


def _known(transformer: Mapping[str, Any]) -> dict[str, Any]:
    """Without names that CCR 2 passes over, because nothing is called so."""

    def known(section: Any) -> Any:
        use = section.get("use") if isinstance(section, Mapping) else None
        if not isinstance(use, list):
            return section
        return {"use": [one for one in use if _name(one) in TRANSFORMERS]}

    found = {name: known(section) for name, section in transformer.items() if name != "use"}
    return {**found, "use": known({"use": transformer.get("use")}).get("use")}


def _name(use: Any) -> Any:
    return use[0] if isinstance(use, list) and use else use
