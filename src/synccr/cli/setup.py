"""What nearly every command needs: paths, settings, and, when asked for, the profiles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccr.config.keys import with_keys
from synccr.config.store import Profiles, load_profiles
from synccr.errors import SynccrError
from synccr.paths import Paths
from synccr.redact import Redactor, is_secret_variable
from synccr.settings import Settings, load


@dataclass(frozen=True)
class Setup:
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
    def make(cls, **options: Any) -> Setup:
        """Read the surroundings; ``options`` are settings given on the command line.

        Raises:
            ConfigError: no home directory, or ``keys.env`` cannot be read.
            UsageError: a wrong setting.
        """
        paths = Paths.from_environment()
        settings = load(paths.settings, os.environ, **options)
        return cls(paths, settings, with_keys(os.environ, paths.keys))

    def profiles(
        self,
        config: Path | None = None,
        fallback_config: Path | None = None,
        port: int | None = None,
        log_level: str | None = None,
    ) -> Profiles:
        """Both profiles; see :func:`synccr.config.store.load_profiles`."""
        return load_profiles(
            self.paths,
            self.environ,
            config=config,
            fallback_config=fallback_config,
            port=port,
            log_level=log_level,
        )


def redactor() -> Redactor:
    """Masks every key that can be known here: those of the profiles, of the configuration that
    CCR runs with, and what the environment calls a key."""
    from synccr.config.reader import understand
    from synccr.config.store import read_written

    secrets = [value for name, value in os.environ.items() if is_secret_variable(name)]
    with contextlib.suppress(SynccrError):
        setup = Setup.make()
        if written := read_written(setup.paths):
            secrets += understand(written.document, "", written.role, setup.environ).secrets()
        profiles = setup.profiles()
        secrets += [*profiles.primary.secrets(), *profiles.fallback.secrets()]
    return Redactor(secrets)
