"""What CCR itself shows of its providers: its log, and requests that it leaves unanswered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from synccr.background import Background
from synccr.ccr.backend import Backend
from synccr.policy import events as e
from synccr.supervisor.context import CurrentConfig

_SILENCE_LOOKS = 5.0
"""Seconds between looks for a silent request, at most."""


@dataclass
class CcrWatcher:
    """Makes events of it.

    Attributes:
        config: what counts now.
        post: takes events to the policy.
        on_error: hears of the provider and model of each error.
        background: reads the log.
    """

    config: CurrentConfig
    post: Callable[[e.PolicyEvent], None]
    on_error: Callable[[str, str | None], None]
    background: Background
    _following: asyncio.Task[None] | None = None

    def follow(self, backend: Backend) -> None:
        """Hear of the failures that the backend that serves from now on reports."""
        if self._following:
            self._following.cancel()
        limit = self.config.settings.ccr_log_limit
        self._following = self.background.spawn(backend.report_failures(self._logged, limit))

    async def watch_silence(self, waited: Callable[[], float | None]) -> None:
        """Notice an upstream that never answers long before CCR's own 301 s.

        Args:
            waited: seconds for which the oldest request without an answer has waited.
        """
        while True:
            await asyncio.sleep(min(_SILENCE_LOOKS, self.config.settings.silence_timeout / 4))
            age = waited()
            if age is not None and age > self.config.settings.silence_timeout:
                self.post(e.UpstreamSilent())  # the policy bounds what follows

    def _logged(self, failure: e.LoggedFailure) -> None:
        """Keys that a provider repeats go no further."""
        if isinstance(failure, e.ProviderFailed):
            self.on_error(failure.provider, failure.model)
        self.post(failure.redacted(self.config.redactor))
