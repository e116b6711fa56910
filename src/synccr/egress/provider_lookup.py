"""Which configured provider a request is for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from synccr.config.keyring import origin
from synccr.config.profile import Provider
from synccr.models.report import ModelRef


@dataclass(frozen=True)
class ProviderLookup:
    """Finds a provider by what its requests carry.

    Attributes:
        providers: each under the name that routes have for it, the primary's first.
    """

    providers: tuple[Provider, ...]

    def find(
        self, url: str, values: Collection[bytes], model: str, wanted: ModelRef | None = None
    ) -> ModelRef | None:
        """The model that a request is for.

        Args:
            url: where it goes, keys in their places.
            values: of its header fields, keys in their places.
            model: as the request names it.
            wanted: the one that the request was sent again to; it decides where nothing else does.

        Returns:
            None when no provider has that origin.
        """
        there = self._by_origin.get(origin(url))
        if not there:
            return None
        if len(there) == 1:
            return ModelRef(there[0].name, model)
        carried = b"\n".join(values).decode("latin-1") + url
        path = urlsplit(url).path
        for narrower in (
            [p for p in there if p.key and p.key in carried],
            [p for p in there if path.startswith(urlsplit(p.url).path)],
            [p for p in there if model in p.models],
            [p for p in there if wanted is not None and p.name == wanted.provider],
        ):
            there = _kept(there, narrower)
        return ModelRef(there[0].name, model)

    @cached_property
    def _by_origin(self) -> dict[str | None, list[Provider]]:
        found: dict[str | None, list[Provider]] = {}
        for provider in self.providers:
            if target := origin(provider.url):
                found.setdefault(target, []).append(provider)
        return found


def _kept(there: Sequence[Provider], narrower: Iterable[Provider]) -> list[Provider]:
    found = [provider for provider in there if any(provider is other for other in narrower)]
    return found or list(there)
