"""Where the CCR to start comes from, looked up anew before each launch.

Between two launches a version manager may have removed Node, and somebody may have changed
or removed what was installed.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synccr.ccr.generations import V2, Generation, generation_of
from synccr.ccr.installation import provide
from synccr.ccr.loss import Loss
from synccr.ccr.node import find_node
from synccr.ccr.npm import NAME
from synccr.ccr.package import Package
from synccr.config.profile import Profile
from synccr.errors import RuntimeMissing
from synccr.settings import Settings

UNKNOWN = "unknown"
"""The version that a person's own command runs, when it does not name one."""

_SPECIFICATION = re.compile(rf"{re.escape(NAME)}(?:@([^\s\"']+))?(?=[\s\"']|$)")
_EXAMPLE = f"Set ccr_command to: npx -y {NAME}@2.0.0"


@dataclass(frozen=True)
class PackageSource:
    """Where the command for the next launch comes from.

    Attributes:
        version: exact, ``X.Y.Z``.
        environ: for npm and Node.
        cache: our own cache directory.
        command: a person's own command line, run as it is written; empty for our installation.
        progress: told in one line when there will be a wait.
    """

    version: str
    environ: Mapping[str, str] = field(repr=False)
    cache: Path
    command: str = ""
    progress: Callable[[str], None] = lambda _: None

    @property
    def named(self) -> str:
        """The version as far as it is known without a look."""
        return (_version_in(self.command) or UNKNOWN) if self.command else self.version

    @property
    def generation(self) -> Generation:
        """Of what will be run; a command that names no version is taken for CCR 2.

        Raises:
            RuntimeMissing: none that synccr knows.
        """
        return V2 if self.named == UNKNOWN else generation_of(self.named)

    async def now(self) -> Package:
        """What to run at this moment; fetched by npm when it is not there as published.

        Raises:
            RuntimeMissing: it cannot be had, or is of a generation that is not supported.
        """
        if self.command:
            return own_command(self.command, self.environ)
        generation = self.generation
        # A shim of a version manager may take its time, and requests go on meanwhile.
        node = await asyncio.to_thread(find_node, self.environ, self.cache)
        entry = await provide(
            self.version,
            generation.pins.get(self.version),
            node,
            self.environ,
            self.cache,
            progress=self.progress,
        )
        command = (str(node.path), str(entry), *generation.arguments)
        return Package(self.version, command, entry, generation.name)


def losses_of(settings: Settings, *profiles: Profile) -> tuple[Loss, ...]:
    """What of some profiles the CCR does not do that settings name, each once; nothing for one
    that is not known."""
    source = PackageSource(settings.ccr_version, {}, Path(), settings.ccr_command)
    try:
        generation = source.generation
    except RuntimeMissing:
        return ()
    return tuple(dict.fromkeys(loss for one in profiles for loss in generation.losses(one)))


def own_command(line: str, environ: Mapping[str, str]) -> Package:
    """A person's own way to run CCR, such as ``npx -y @musistudio/claude-code-router@2.0.0``.

    Args:
        line: words as in a shell, which is not between; ``start`` is added where it is missing.
        environ: where the program is looked for.

    Raises:
        RuntimeMissing: there is no such program, or it would bring a generation that is not
            supported.
    """
    posix = os.name != "nt"
    try:
        words = shlex.split(line, posix=posix)
    except ValueError as error:
        raise RuntimeMissing(f"ccr_command cannot be read: {error}.", _EXAMPLE) from error
    version = _version_in(line)
    if version == "latest":
        raise RuntimeMissing(
            "ccr_command names no version of Claude Code Router, and the latest is not supported: "
            "synccr runs 1.x and 2.x, which read config.json.",
            f"Name the version: {NAME}@2.0.0",
        )
    if version:
        generation_of(version)
    if not posix:  # a backslash is no escape there, and quotes stay in the words
        words = [word.strip('"') for word in words]
    program, *rest = words or [""]
    # Not Path's: it drops the "./", and knows no way out when there is no such person.
    expanded = os.path.expanduser(program)  # noqa: PTH111
    found = shutil.which(expanded, path=environ.get("PATH", os.defpath))
    if found is None:
        raise RuntimeMissing(f"There is no command {program!r}, which ccr_command names.", _EXAMPLE)
    start = () if rest[-1:] == ["start"] else ("start",)
    return Package(version or UNKNOWN, (str(Path(found).absolute()), *rest, *start), None)


def _version_in(line: str) -> str | None:
    """Which CCR a command line asks npm for; None when it asks for none."""
    match = _SPECIFICATION.search(line)
    if match is None:
        return None
    return match[1] if match[1] and match[1][0].isdigit() else "latest"
