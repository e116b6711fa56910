"""What a command line says of the profiles."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ProfileOptions(NamedTuple):
    """What a command line says of the profiles; None for what it does not name."""

    config: Path | None = None
    fallback_config: Path | None = None
    port: int | None = None
    log_level: str | None = None

    def resolved(self) -> ProfileOptions:
        """With paths that count in every directory."""
        return self._replace(
            config=self.config and self.config.resolve(),
            fallback_config=self.fallback_config and self.fallback_config.resolve(),
        )

    def or_else(self, other: ProfileOptions) -> ProfileOptions:
        """What is not named here is as in ``other``."""
        return ProfileOptions(
            self.config or other.config,
            self.fallback_config or other.fallback_config,
            self.port or other.port,
            self.log_level or other.log_level,
        )
