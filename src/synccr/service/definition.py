"""What a service is made of: the user and synccr that it is for, files and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "synccr"

Command = tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A file to write.

    Attributes:
        path: where.
        content: what.
        mode: its permissions.
    """

    path: Path
    content: bytes
    mode: int = 0o600


@dataclass(frozen=True)
class Service:
    """How one system is told to start synccr at login.

    Attributes:
        file: the unit, agent or task.
        install, uninstall: commands, in order. Those of ``uninstall`` may fail.
        status: exits 0 when it runs.
        log: how to read what the service says.
        needs: the program whose commands these are.
    """

    file: File
    install: tuple[Command, ...]
    uninstall: tuple[Command, ...]
    status: Command
    log: str
    needs: str


@dataclass(frozen=True)
class Surroundings:
    """What a renderer needs to know.

    Attributes:
        command: what starts synccr, absolute.
        path: ``PATH`` of the service; Node is on it.
        environ: further variables, none of them secret.
        keys: the file that the keys come from.
        home: the user's.
        config_home: where systemd's user units are, ``~/.config`` as a rule.
        writable: directories that synccr, CCR and npm write to.
        log: the directory for logs of systems that have no journal.
        user: ``DOMAIN\\name`` on Windows, else the numeric user id.
    """

    command: Command
    path: str
    environ: Mapping[str, str]
    keys: Path
    home: Path
    config_home: Path
    writable: tuple[Path, ...]
    log: Path
    user: str
