"""Claude Code Router as something that can be started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synccr.ccr.installation import Pin
from synccr.ccr.loss import Loss
from synccr.config.profile import Profile


@dataclass(frozen=True, eq=False)
class Generation:
    """Versions that are run in one way.

    Attributes:
        name: for people.
        majors: first numbers of its versions.
        pins: its known versions.
        oldest_node: major and minor of the oldest Node that it runs on.
        arguments: what makes its program serve.
        overrides: npm's, for versions that are not pinned.
        apart: it runs in a directory that a ``ccr`` which a person types does not use, and its
            port is opened by a key of synccr's own, whatever the profile says.
        losses: what of a profile it does not do.
        presets: it serves CCR 2's presets.
        log: it keeps a log on disk, as detailed as ``LOG_LEVEL`` says.
    """

    name: str
    majors: frozenset[str]
    pins: Mapping[str, Pin] = field(repr=False)
    oldest_node: tuple[int, int]
    arguments: tuple[str, ...]
    overrides: Mapping[str, str] = field(default_factory=dict, repr=False)
    apart: bool = False
    losses: Callable[[Profile], tuple[Loss, ...]] = lambda _profile: ()
    presets: bool = True
    log: bool = True


@dataclass(frozen=True)
class Package:
    """CCR, ready to be started.

    Attributes:
        version: exact; what a person's own command runs may be unknown.
        command: what to run.
        entry: the script that Node runs; None for a person's own command, which may be a
            tree of processes.
        generation: how it is run.
    """

    version: str
    command: tuple[str, ...]
    entry: Path | None
    generation: Generation
