"""CCR's process: started so that it ends with us, and known for ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from synccr.ccr.backend import Backend
from synccr.ccr.node import VANISHED_HINT
from synccr.ccr.orphans import Register
from synccr.ccr.output import Output
from synccr.ccr.package import Package
from synccr.ccr.process import (
    ProcessId,
    identify,
    spawn_options,
    tree,
    with_parent_death_signal,
)
from synccr.ccr.process_markers import INSTANCE, SUPERVISOR, listening_ports
from synccr.errors import RuntimeMissing
from synccr.files import own_directory
from synccr.paths import Paths


class Spawned(NamedTuple):
    """A process that was just started."""

    process: asyncio.subprocess.Process
    root: ProcessId
    output: Output


async def spawn(
    package: Package,
    command: tuple[str, ...],
    directory: Path,
    environ: Mapping[str, str],
    *,
    register: Register | None,
) -> Spawned:
    """Start a command of a package.

    Args:
        package: what is started, in whose words failures are told.
        command: the package's, with what is added to it.
        directory: to run it in.
        environ: for it.
        register: keeps what was started.

    Raises:
        RuntimeMissing: it could not be run.
    """
    if shutil.which(package.command[0]) is None:  # the wrapper would only fail to run it
        todo = VANISHED_HINT if package.entry else "Mend ccr_command, then try again."
        raise RuntimeMissing(f"{package.command[0]} is no longer there.", todo)
    output = Output()
    started = False
    try:
        process = await asyncio.create_subprocess_exec(
            *with_parent_death_signal(command),
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output.writing,
            stderr=output.writing,
            **spawn_options(),
        )
        started = True
    except OSError as error:
        raise RuntimeMissing(
            f"{package.command[0]} could not be run: {error.strerror}.",
            "See: synccr doctor",
        ) from error
    finally:
        if started:
            output.start()
        else:
            output.abandon()
    # It is our child and not yet waited for, so the number is its own even if it is dead.
    root = identify(process.pid) or ProcessId(process.pid, "ended")
    if register:
        register.add(root)
    return Spawned(process, root, output)


def environ_of(package: Package, environ: Mapping[str, str], paths: Paths) -> dict[str, str]:
    """``environ`` with what makes a process known for ours, and Node quicker."""
    found = {
        **_compile_cache(paths),
        **environ,
        INSTANCE: str(paths.instance),
        SUPERVISOR: str(identify(os.getpid())),
    }
    if package.entry is None:  # npm starts CCR by the name node, which need not be on PATH
        beside = str(Path(package.command[0]).parent)
        found["PATH"] = os.pathsep.join((beside, environ.get("PATH", os.defpath)))
    return found


def serving(backend: Backend) -> ProcessId | None:
    """Who of this backend listens on its port; None when somebody else answered there."""
    ports = listening_ports([backend.root])
    if ports is None or backend.port in ports:  # None: not shown here, the answer has to do
        return backend.root
    members = (m for m in tree(backend.root) if backend.port in (listening_ports([m]) or ()))
    return next(members, None)


def _compile_cache(paths: Paths) -> dict[str, str]:
    """Where Node 22.1 and later keep compiled code: CCR is up in 6/7 of the time.

    It is code that will run, so it lies where only this user can write.
    See https://nodejs.org/api/module.html#module-compile-cache
    """
    with contextlib.suppress(OSError):
        own_directory(paths.cache)
        return {"NODE_COMPILE_CACHE": str(own_directory(paths.cache / "node"))}
    return {}
