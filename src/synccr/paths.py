"""Where things are: CCR's directory and our own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from synccr.errors import ConfigError


class Paths(NamedTuple):
    """All directories and files, made from the environment once.

    Attributes:
        ccr: CCR's directory.
        config, state, cache, log: synccr's own, as platformdirs says.
    """

    ccr: Path
    config: Path
    state: Path
    cache: Path
    log: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """Find every directory; creates none.

        CCR looks for its directory below ``os.homedir()`` of Node, which is
        ``HOME`` (``USERPROFILE`` on Windows) and nothing else.

        Raises:
            ConfigError: there is no home directory.
        """
        import platformdirs

        environ = os.environ if environ is None else environ
        variable = "USERPROFILE" if os.name == "nt" else "HOME"
        home = environ.get(variable)
        if not home or not Path(home).is_absolute():
            raise ConfigError(
                f"{variable} is not set to an absolute path, so CCR's directory cannot be found.",
                f"Set {variable} to your home directory.",
            )
        dirs = platformdirs.PlatformDirs("synccr", appauthor=False)
        return cls(
            ccr=Path(home, ".claude-code-router"),
            config=dirs.user_config_path,
            state=dirs.user_state_path,
            cache=dirs.user_cache_path,
            log=dirs.user_log_path,
        )

    @property
    def ccr_config(self) -> Path:
        """The configuration CCR reads at its start."""
        return self.ccr / "config.json"

    @property
    def ccr_pid(self) -> Path:
        """CCR's pid file."""
        return self.ccr / ".claude-code-router.pid"

    @property
    def ccr_logs(self) -> Path:
        """The directory of CCR's logs."""
        return self.ccr / "logs"

    @property
    def settings(self) -> Path:
        """synccr's own settings."""
        return self.config / "synccr.toml"

    @property
    def keys(self) -> Path:
        """Keys for shells and services that do not have them in their environment."""
        return self.config / "keys.env"

    @property
    def instance(self) -> Path:
        """State that belongs to one CCR directory: lock, journal, records, control socket."""
        return _instance(self.state, self.ccr)


@lru_cache
def _instance(state: Path, ccr: Path) -> Path:
    """The directory that ``ccr`` led to when it was first asked for."""
    return state / f"ccr-{hashlib.sha256(os.fsencode(ccr.resolve())).hexdigest()[:12]}"
