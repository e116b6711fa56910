"""Where the keys of CCR 3 go: values into ``keys.env``, and ``$NAME`` into the profile. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from synccr.config.keyring import holds_placeholder, restore
from synccr.config.keys import is_key, variable_for
from synccr.config.profile import variables

LOCAL = "CCR_LOCAL_KEY"
"""The variable of the local port's key."""


@dataclass
class KeptKeys:
    """Keys as they are met.

    Attributes:
        known: variables that are set already; their values stay.
        found: what to add to ``keys.env``, for services that do not have this environment.
        left: sentences on keys that were not taken.
    """

    known: Mapping[str, str] = field(repr=False)
    found: dict[str, str] = field(default_factory=dict, repr=False)
    left: list[str] = field(default_factory=list)

    def of_provider(self, provider: str, value: str) -> str:
        """What stands in the profile for a provider's key. One that is the provider's own name,
        as with ``ollama``, is no key; nor is one that is missing."""
        if not value or value == provider:
            return provider
        return self.named(variable_for(provider), value, f"provider {provider}")

    def named(self, wanted: str, value: str, whose: str) -> str:
        """``$NAME`` for a value, ``wanted`` being the name unless it holds another one."""
        value = restore(value)
        if _variable(value):  # which CCR 3 does not replace; it was meant for CCR 2
            return value
        if not is_key(value):
            self.left.append(f"{whose}: its key has signs that no key has")
            return f"${wanted}"
        name, number = wanted, 1
        while self._holds(name) not in ("", value):
            number += 1
            name = f"{wanted}_{number}"
        self.found[name] = value
        return f"${name}"

    def keep(self, text: str, value: str, whose: str) -> None:
        """The value that CCR 3 has for ``$NAME``, under that name."""
        name, value = _variable(text), restore(value)
        if not name or not is_key(value) or _variable(value):
            return
        if self._holds(name) not in ("", value):
            self.left.append(f"{whose}: {name} has another value here than in CCR 3, and counts")
            return
        self.found[name] = value

    def _holds(self, name: str) -> str:
        value = self.found.get(name) or self.known.get(name) or ""
        return "" if holds_placeholder(value) else value


def _variable(text: str) -> str | None:
    """The name in ``$NAME``; None for anything else."""
    names = list(variables(text))
    return names[0] if names and text in (f"${names[0]}", f"${{{names[0]}}}") else None
