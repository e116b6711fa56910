"""Writing a service's file and telling the system; what it said comes back as words."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from synccr.ccr.node import OLDEST, OldestNode, find_node
from synccr.ccr.package_source import configured_generation
from synccr.errors import SynccrError
from synccr.files import private_directory, write_atomic
from synccr.paths import Paths
from synccr.service.definition import NAME, Command, Service, Surroundings
from synccr.settings import load

_TIMEOUT = 60.0
"""Seconds for one command of the system."""

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

Run = Callable[[Command], tuple[int, str]]
"""Runs a command; its exit code and what it said."""


@dataclass(frozen=True)
class State:
    """What ``service status`` found.

    Attributes:
        installed: the file is there.
        current: it is what an install would write now.
        active: the system says that the service runs; None when it cannot be asked.
    """

    installed: bool
    current: bool
    active: bool | None


def run(command: Command) -> tuple[int, str]:
    """Run a command of the system; 127 when there is no such program."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        return 127, f"there is no {command[0]} on the PATH"
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {_TIMEOUT:.0f} s"
    return done.returncode, " ".join((done.stderr or done.stdout).split())


def surroundings(paths: Paths, environ: Mapping[str, str]) -> Surroundings:
    """What the service has to know of this user and this synccr.

    Raises:
        RuntimeMissing: there is no Node that is new enough, so the service could not start CCR.
    """
    home = paths.ccr.parent
    node = find_node(environ, paths.cache, _oldest_node(paths))
    directories = [str(node.path.parent), str(Path(sys.executable).parent)]
    directories += ["/usr/local/bin", "/usr/bin", "/bin"] if os.name != "nt" else []
    xdg = (paths.config, paths.state, paths.cache, paths.log)
    npm = [Path(environ["npm_config_cache"])] if environ.get("npm_config_cache") else []
    outside = [path for path in (*xdg, *npm) if not path.is_relative_to(home)]
    return Surroundings(
        command=interpreter(),
        path=os.pathsep.join(dict.fromkeys(directories)),
        environ=carried(environ),
        keys=paths.keys,
        home=home,
        config_home=Path(environ.get("XDG_CONFIG_HOME") or home / ".config"),
        writable=(home, Path("/tmp"), *outside),  # noqa: S108  # the control socket may be there
        log=paths.log,
        user=_user(environ),
    )


def _oldest_node(paths: Paths) -> OldestNode:
    """For the CCR that the service will run, which has none of this shell's settings."""
    try:
        settings = load(paths.settings, {})
        return configured_generation(settings.ccr_version, settings.ccr_command).oldest_node
    except SynccrError:  # the start will say so
        return OLDEST


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """Of an environment, what the service has to have too."""
    return {name: environ[name] for name in _CARRIED if environ.get(name)}


def interpreter() -> Command:
    """What starts this very synccr, without a console window on Windows."""
    program = Path(sys.executable)
    if os.name == "nt" and program.with_name("pythonw.exe").exists():
        program = program.with_name("pythonw.exe")
    return (str(program), "-P", "-m", "synccr", "start")


def _user(environ: Mapping[str, str]) -> str:
    if sys.platform == "win32":
        name = environ.get("USERNAME", "")
        domain = environ.get("USERDOMAIN", "")
        return f"{domain}\\{name}" if domain else name
    else:
        return str(os.getuid())


def install(service: Service, around: Surroundings, run: Run = run) -> None:
    """Write the file and have the system start it; again, and it is what it was.

    Raises:
        SynccrError: the file is written, and the system could not be told; says what to run.
    """
    for path in around.writable:
        private_directory(path)  # a sandbox leaves out what is not there
    private_directory(around.log)
    file = service.file
    before = file.path.read_bytes() if file.path.exists() else None
    if before is not None and before != file.content:
        for command in service.uninstall:
            run(command)
    if before != file.content:
        write_atomic(file.path, file.content, mode=file.mode)
    elif run(service.status)[0] == 0:
        return
    for at, command in enumerate(service.install):
        code, words = run(command)
        if code:
            rest = " && ".join(" ".join(step) for step in service.install[at:])
            raise SynccrError(
                f"{file.path} is written, but {command[0]} did not take it: {words}.",
                f"Run in a session of your own: {rest}",
            )


def uninstall(service: Service, around: Surroundings, run: Run = run) -> bool:
    """End the service and remove what ``install`` wrote; False when there was nothing."""
    there = service.file.path.exists()
    for command in service.uninstall if there else ():
        run(command)  # one that is not loaded cannot be unloaded
    wanted = service.file.path.parent / "default.target.wants" / f"{NAME}.service"
    for path in (service.file.path, wanted, around.log / "service.log"):
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        wanted.parent.rmdir()
    return there


def state(service: Service, run: Run = run) -> State:
    """What is installed and whether it runs."""
    try:
        content = service.file.path.read_bytes()
    except OSError:
        content = None
    active = None
    if shutil.which(service.needs):
        code, words = run(service.status)
        active = None if code and "bus" in words else code == 0
    return State(content is not None, content == service.file.content, active)
