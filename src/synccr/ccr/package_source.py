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

from synccr.ccr.generations import V2, V3, generation_of
from synccr.ccr.installation import provide
from synccr.ccr.installed import package_root, package_version
from synccr.ccr.loss import Loss
from synccr.ccr.node import Node, find_node, needed, new_enough, node_on_path
from synccr.ccr.npm import NAME, NotInRegistry
from synccr.ccr.package import Generation, Package
from synccr.config.profile import Profile
from synccr.errors import RuntimeMissing
from synccr.settings import Settings

UNKNOWN = "unknown"
"""The version that a person's own command runs, when it does not name one."""

_SPECIFICATION = re.compile(rf"{re.escape(NAME)}(?:@([^\s\"']+))?(?=[\s\"']|$)")
_MAJOR = re.compile(r"[\^~=v]*(\d+(?:\.\S*)?)")
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
        origin: says that version or command "is the default", or by what it "is set"; empty
            when that goes without saying.
    """

    version: str
    environ: Mapping[str, str] = field(repr=False)
    cache: Path
    command: str = ""
    progress: Callable[[str], None] = lambda _: None
    origin: Callable[[], str] = lambda: ""

    @property
    def named(self) -> str:
        """The version as far as it is known without a look."""
        return named_version(self.command) if self.command else self.version

    @property
    def generation(self) -> Generation:
        """Of what will be run.

        Raises:
            RuntimeMissing: none that synccr knows.
        """
        try:
            return configured_generation(self.version, self.command)
        except RuntimeMissing as error:
            raise self._with_origin(error, "The command" if self.command else "It") from error

    @property
    def pinned(self) -> bool:
        """Whether it is a version whose lock file comes with synccr, so that npm has it."""
        return not self.command and any(self.version in one.pins for one in (V2, V3))

    async def check(self) -> None:
        """See to it, in a moment, that this machine can run what is named; npm is not asked.

        Raises:
            RuntimeMissing: it cannot.
        """
        if self.command:
            await self._own_command()
        else:
            await self._node()

    async def now(self) -> Package:
        """What to run at this moment; fetched by npm when it is not there as published.

        Raises:
            RuntimeMissing: it cannot be had, or is of a generation that is not supported.
        """
        if self.command:
            return await self._own_command()
        generation, node = await self._node()
        try:
            entry = await provide(
                self.version,
                generation.pins.get(self.version),
                node,
                self.environ,
                self.cache,
                overrides=generation.overrides,
                progress=self.progress,
            )
        except NotInRegistry as error:
            raise self._with_origin(error, "It") from error
        command = (str(node.path), str(entry), *generation.arguments)
        return Package(self.version, command, entry, generation)

    async def _own_command(self) -> Package:
        try:
            return await asyncio.to_thread(own_command, self.command, self.environ, self.cache)
        except RuntimeMissing as error:
            raise self._with_origin(error, "The command") from error

    async def _node(self) -> tuple[Generation, Node]:
        generation = self.generation
        try:
            # A shim of a version manager may take its time, and requests go on meanwhile.
            node = await asyncio.to_thread(
                find_node, self.environ, self.cache, generation.oldest_node
            )
        except RuntimeMissing as error:
            subject = f"Claude Code Router {self.version} needs it; that version"
            raise self._with_origin(error, subject) from error
        return generation, node

    def _with_origin(self, error: RuntimeMissing, subject: str) -> RuntimeMissing:
        if not (origin := self.origin()):
            return error
        return RuntimeMissing(f"{error.what} {subject} {origin}.", error.todo)


def losses_of(settings: Settings, *profiles: Profile) -> tuple[Loss, ...]:
    """What of some profiles the CCR does not do that settings name, each once; nothing for one
    that is not known."""
    generation = known_generation(settings)
    if generation is None:
        return ()
    return tuple(dict.fromkeys(loss for one in profiles for loss in generation.losses(one)))


def configured_version(settings: Settings) -> str:
    """Which CCR settings name, as far as that is known without a look."""
    command = settings.ccr_command
    return named_version(command) if command else settings.ccr_version


def known_generation(settings: Settings) -> Generation | None:
    """The generation that the settings name; None when synccr knows none such."""
    try:
        return configured_generation(settings.ccr_version, settings.ccr_command)
    except RuntimeMissing:
        return None


def configured_generation(version: str, command: str = "") -> Generation:
    """The generation that the settings name; 2.x for a command that does not tell.

    Args:
        version: ``ccr_version``.
        command: ``ccr_command``; goes before it unless empty.

    Raises:
        RuntimeMissing: none that synccr knows.
    """
    return _generation_in(command) if command else generation_of(version)


def own_command(line: str, environ: Mapping[str, str], cache: Path | None = None) -> Package:
    """A person's own way to run CCR, such as ``npx -y @musistudio/claude-code-router@2.0.0``.

    Args:
        line: words as in a shell, which is not between; what makes CCR serve is added where it
            is missing, in place of a ``start`` that would go to the background.
        environ: where the program, and Node for it, is looked for.
        cache: our own cache directory.

    Raises:
        RuntimeMissing: there is no such program, or it would bring a generation that is not
            supported, or run it on a Node that is too old.
    """
    posix = os.name != "nt"
    try:
        words = shlex.split(line, posix=posix)
    except ValueError as error:
        raise RuntimeMissing(f"ccr_command cannot be read: {error}.", _EXAMPLE) from error
    path = environ.get("PATH", os.defpath)
    generation = _generation_in(line, path)
    if not posix:  # a backslash is no escape there, and quotes stay in the words
        words = [word.strip('"') for word in words]
    program, *rest = words or [""]
    # Not Path's: it drops the "./", and knows no way out when there is no such person.
    expanded = os.path.expanduser(program)  # noqa: PTH111
    found = shutil.which(expanded, path=path)
    if found is None:
        raise RuntimeMissing(f"There is no command {program!r}, which ccr_command names.", _EXAMPLE)
    command, version = Path(found).absolute(), named_version(line, path)
    if version != UNKNOWN:
        _check_node(command, generation, environ, cache)
    if rest[-1:] == ["start"]:
        rest.pop()
    missing = (word for word in generation.arguments if word not in rest)
    return Package(version, (str(command), *rest, *missing), None, generation)


def _check_node(
    command: Path,
    generation: Generation,
    environ: Mapping[str, str],
    cache: Path | None,
) -> None:
    """The Node that npx gets has to be new enough."""
    path = os.pathsep.join((str(command.parent), environ.get("PATH", os.defpath)))
    node = node_on_path({**environ, "PATH": path}, cache)
    if node and not new_enough(node.version, generation.oldest_node):
        raise RuntimeMissing(
            f"ccr_command would run on Node {node.version} ({node.path}), and Claude Code Router "
            f"{generation.name} needs {needed(generation.oldest_node, node.version)}.",
            "Put a newer Node first on PATH, or set ccr_version in place of ccr_command.",
        )


def named_version(line: str, path: str | None = None) -> str:
    """Which CCR a command line asks npm for, in its own words, or has installed; ``UNKNOWN``
    when neither can be told.

    Args:
        line: ``ccr_command``.
        path: where its program is looked for; by default ``PATH``.
    """
    match = _SPECIFICATION.search(line)
    if match:
        return match[1] or "latest"
    programs = (Path(shutil.which(word, path=path) or word) for word in line.split())
    roots = (package_root(program) for program in programs if program.is_file())
    found = next((root for root in roots if root), None)
    return (package_version(found) if found else None) or UNKNOWN


def _generation_in(line: str, path: str | None = None) -> Generation:
    version = named_version(line, path)
    match = _MAJOR.fullmatch(version)
    if match is None:
        return V2 if version == UNKNOWN else V3  # npm's latest
    try:
        return generation_of(match[1])
    except RuntimeMissing as error:
        raise RuntimeMissing(error.what, f"Name another one, such as {NAME}@2.0.0") from error
