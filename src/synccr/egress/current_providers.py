"""Providers and keys of the profiles that count now, and of the few before them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from synccr.config.keyring import Keyring
from synccr.config.profile import Profile, Provider
from synccr.egress.provider_lookup import ProviderLookup

_KEYRINGS: Final = 4
"""A CCR that drains may have been started with the profiles before the last edits."""
_OLD_PROVIDERS: Final = 64


class CurrentProviders:
    """What the egress knows of providers.

    Args:
        environ: with the keys.

    Attributes:
        lookup: finds the provider of a request.
        places: what stands for each provider's address in a path of the egress, by the names
            that count; it stays the same as long as name, address and key do.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.lookup = ProviderLookup(())
        self._environ = environ
        self._keyrings: deque[Keyring] = deque(maxlen=_KEYRINGS)
        self._known: dict[tuple[str, str, str], Provider] = {}
        self._places: dict[tuple[str, str, str], str] = {}
        self._numbers = itertools.count(1)
        self.places: Mapping[str, str] = {}

    def use(self, *profiles: Profile) -> None:
        """These profiles count from now on; the first one's names of providers come first."""
        self._keyrings.appendleft(Keyring.of([one.raw for one in profiles], self._environ))
        found = {(p.name, p.url, p.key): p for one in profiles for p in one.providers}
        self._known = dict(islice((found | self._known).items(), len(found) + _OLD_PROVIDERS))
        self.lookup = ProviderLookup(tuple(self._known.values()))
        self._places = {
            one: self._places.get(one) or f"p{next(self._numbers)}" for one in self._known
        }
        self.places = {p.name: self._places[one] for one, p in found.items()}

    def at(self, place: str) -> Provider | None:
        """The provider whose address this stands for."""
        found = (self._known[one] for one, known in self._places.items() if known == place)
        return next(found, None)

    @property
    def keyring(self) -> Keyring:
        """That of the latest profiles."""
        return self._keyrings[0]

    def substitute(
        self, url: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[str, Sequence[tuple[bytes, bytes]]]:
        """Put keys in the place of placeholders, in an address and in header values."""
        for keyring in self._keyrings:
            url, headers = keyring.substitute(url, headers)
        return url, headers
