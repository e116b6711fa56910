"""What a supervisor is started with, and what of it may be read again while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccr.clock import utc_now
from synccr.config.profile import Provider
from synccr.config.store import Profiles
from synccr.journal import stamp
from synccr.models.report import Report
from synccr.paths import Paths
from synccr.redact import Redactor
from synccr.settings import Settings
from synccr.supervisor.takeover.protocol import Channel

Reporter = Callable[[str, str, str, bool], None]
"""Shows a line to a person: kind, text, what can be done, whether it is worth a notification."""


@dataclass(frozen=True)
class Context:
    """The surroundings of one run; they do not change.

    Attributes:
        paths, settings, environ: as at the start; the environment holds keys.
        reload: reads the settings again.
        load: reads the profiles; called again when they change.
        tell: shows a line to a person.
        on_probe: hears of each report of the first preflight.
        on_ready: called with the status when the endpoint answers.
        skip_preflight: take every model to serve.
        unseen: nobody looks at what ``tell`` shows, so that a notification is worth it.
        command: starts such a supervisor; for a restart.
        channel: to the supervisor that this one replaces.
        detached: nobody waits for this process to end.
        given: the files that the command line names: ``config`` and ``fallback_config``.
        started_at: when, as in ``--json``.
    """

    paths: Paths
    settings: Settings
    reload: Callable[[], Settings]
    environ: Mapping[str, str] = field(repr=False)
    load: Callable[[], Profiles]
    tell: Reporter
    on_probe: Callable[[Report], None] = lambda _report: None
    on_ready: Callable[[Mapping[str, Any]], None] = lambda _status: None
    skip_preflight: bool = False
    unseen: bool = field(default_factory=lambda: not sys.stderr.isatty())
    command: Sequence[str] = ()
    channel: Channel | None = None
    detached: bool = False
    given: Mapping[str, str | None] = field(default_factory=dict)
    started_at: str = field(default_factory=lambda: stamp(utc_now()))


@dataclass
class CurrentConfig:
    """Settings and profiles that count now: both may be read again while CCR runs.

    Attributes:
        redactor: one for the whole run. It masks the keys of all profiles that counted since the
            start: what repeats one may have begun before an edit, and outlast it.
    """

    settings: Settings
    profiles: Profiles
    redactor: Redactor = field(init=False)

    def __post_init__(self) -> None:
        self.redactor = Redactor(self.profiles.secrets)

    def use(self, profiles: Profiles) -> None:
        """Go on with other profiles."""
        self.profiles = profiles
        self.redactor.add(profiles.secrets)

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Both profiles'."""
        return (*self.profiles.primary.providers, *self.profiles.fallback.providers)
