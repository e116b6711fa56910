"""What nearly every command needs: paths, settings, and, when asked for, the profiles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synccr.cli.profile_options import ProfileOptions
from synccr.config.keys import below, with_keys
from synccr.config.reader import understand
from synccr.config.store import Profiles, load_profiles, offered_keys, read_written
from synccr.errors import SynccrError
from synccr.paths import Paths
from synccr.redact import Redactor, is_secret_variable
from synccr.settings import Settings, load


@dataclass(frozen=True)
class CommandContext:
    """The surroundings of one call.

    Attributes:
        paths: where things are.
        settings: option over environment over file over default.
        environ: the environment, and below it the keys of ``keys.env``.
    """

    paths: Paths
    settings: Settings
    environ: Mapping[str, str]

    @classmethod
    def make(cls, **options: Any) -> CommandContext:
        """Read the surroundings; ``options`` are settings given on the command line.

        Raises:
            ConfigError: no home directory, or ``keys.env`` cannot be read.
            UsageError: a wrong setting.
        """
        paths = Paths.from_environment()
        settings = load(paths.settings, os.environ, **options)
        return cls(paths, settings, with_keys(os.environ, paths.keys))

    def with_offered_keys(self, config: Path | None) -> CommandContext:
        """With the keys that a first start takes from CCR 3 and that keys.env is going to have."""
        keys = offered_keys(self.paths, self.environ, config)
        return replace(self, environ=below(self.environ, keys))

    def profiles(self, options: ProfileOptions) -> Profiles:
        """Both profiles; see :func:`synccr.config.store.load_profiles`."""
        return load_profiles(self.paths, self.environ, **options._asdict())


def redactor() -> Redactor:
    """Masks every key that can be known here: those of the profiles, of the configuration that
    CCR runs with, and what the environment calls a key."""
    secrets = [value for name, value in os.environ.items() if is_secret_variable(name)]
    with contextlib.suppress(SynccrError):
        context = CommandContext.make()
        if written := read_written(context.paths):
            secrets += understand(written.document, "", written.role, context.environ).secrets()
        profiles = context.profiles(ProfileOptions())
        secrets += [*profiles.primary.secrets(), *profiles.fallback.secrets()]
    return Redactor(secrets)
