"""What of a profile a generation of CCR does not do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synccr.models.report import ModelRef


@dataclass(frozen=True)
class Loss:
    """One thing that is otherwise than on CCR 2.

    Attributes:
        place: in the profile, e.g. ``Providers.acme.transformer``.
        what: why it is otherwise.
        consequence: what a person will notice.
        models: those that it is about; empty for all.
        unservable: these models cannot be asked at all, so that no route may lead there.
    """

    place: str
    what: str
    consequence: str
    models: tuple[ModelRef, ...] = ()
    unservable: bool = False

    def __str__(self) -> str:
        about = f" ({', '.join(map(str, self.models))})" if self.models else ""
        return f"{self.place}: {self.what}; {self.consequence}{about}."


def unservable(losses: Iterable[Loss]) -> Mapping[ModelRef, str]:
    """The models that cannot be asked, each with the reason."""
    return {ref: loss.what for loss in losses if loss.unservable for ref in loss.models}
