"""One running CCR 3: goes over to other routes as it runs, and leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from synccr.ccr.backend import Backend
from synccr.ccr.v3.run_directory import RunDirectory
from synccr.ccr.v3.translation import Translation
from synccr.errors import SynccrError

Translate = Callable[[Mapping[str, Any]], Translation]
"""A configuration of CCR 2 in CCR 3's words, for this run."""


class Backend3(Backend):
    """A CCR 3 that serves. ``root`` is its management, ``identity`` the gateway."""

    def __init__(
        self, *args: Any, directory: RunDirectory, serves: Translation, translate: Translate,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **options)
        self.led = True
        self._directory = directory
        self._serves = serves
        self._translate = translate

    def claim(self) -> None:
        """Have its router find its files. See `Backend.claim`."""
        with contextlib.suppress(OSError):
            self._directory.restore(self._serves.routes)

    def applies(self, config: Mapping[str, Any]) -> bool:
        """Whether only routes are others."""
        return self._translate(config).document == self._serves.document

    def apply(self, config: Mapping[str, Any]) -> None:
        """Take these routes, from the next request on. See `Backend.apply`."""
        wanted = self._translate(config)
        try:
            self._directory.write_routes(wanted.routes)
        except OSError as error:
            raise SynccrError(
                f"{self._directory.path} cannot be written: {error.strerror or error}.",
                "Free space on the disk, then try again.",
            ) from error
        self._serves = wanted

    def _ended(self) -> None:
        self._directory.remove()
