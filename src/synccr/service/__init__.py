"""``synccr service``: start at login, as each system does it.

A renderer is pure: it turns :class:`Surroundings` into files and the commands that
make the system read them. :mod:`synccr.service.manage` writes and runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "synccr"

Command = tuple[str, ...]

_CARRIED = (
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "npm_config_cache",
)
"""Variables without which the service would look elsewhere. None of them holds a secret,
as those of a proxy may."""


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


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """Of an environment, what the service has to have too."""
    return {name: environ[name] for name in _CARRIED if environ.get(name)}


def service_for(platform: str, around: Surroundings) -> Service:
    """The service of a platform, as ``sys.platform`` names it."""
    if platform == "darwin":
        from synccr.service.launchd import render
    elif platform == "win32":
        from synccr.service.windows import render
    else:
        from synccr.service.systemd import render
    return render(around)


def interpreter() -> Command:
    """What starts this very synccr, without a console window on Windows."""
    program = Path(sys.executable)
    if os.name == "nt" and program.with_name("pythonw.exe").exists():
        program = program.with_name("pythonw.exe")
    return (str(program), "-P", "-m", "synccr", "start")
