"""What a predecessor left running, and nothing else, ended.

A supervisor that was killed may leave a CCR: where the system does not end
children with their parent, or under npx. Three things have to agree before one
is ended: it carries our mark (or is in our register), it is a CCR by its command
line, and it belongs to the same person.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from synccr.ccr.process import ProcessId, end, identify, is_alive
from synccr.ccr.process_markers import INSTANCE, command_of, environment_of, is_ccr, is_mine
from synccr.files import write_atomic
from synccr.paths import Paths


@dataclass(frozen=True)
class Register:
    """The processes that were started, on disk: the proof where environments are not shown."""

    path: Path

    @classmethod
    def of(cls, paths: Paths) -> Register:
        """The register of one CCR directory."""
        return cls(paths.instance / "backends.json")

    def entries(self) -> list[ProcessId]:
        """Oldest first; what cannot be read is none."""
        try:
            known = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return []
        found = []
        for entry in known if isinstance(known, list) else []:
            match entry:
                case [int(pid), str(started)]:
                    found.append(ProcessId(pid, started))
        return found

    def add(self, identity: ProcessId) -> None:
        """Remember a process; forgets those that have ended."""
        self._write([*(e for e in self.entries() if is_alive(e) and e != identity), identity])

    def discard(self, identity: ProcessId) -> None:
        """Forget a process."""
        self._write([entry for entry in self.entries() if entry != identity])

    def _write(self, entries: list[ProcessId]) -> None:
        # Without it the mark in the environment still tells whose a process is.
        with contextlib.suppress(OSError):
            write_atomic(self.path, json.dumps(entries).encode())


def find_orphans(paths: Paths, ours: Collection[ProcessId] = ()) -> list[ProcessId]:
    """CCR processes of a predecessor of this supervisor.

    Args:
        paths: whose.
        ours: processes that are not to be taken for orphans.
    """
    import psutil

    registered = set(Register.of(paths).entries())
    found = []
    for process in psutil.process_iter():
        identity = identify(process.pid)
        if identity is None or identity in ours or not is_ccr(command_of(identity)):
            continue
        if not is_mine(identity):
            continue
        environment = environment_of(identity)
        marked = environment is not None and environment.get(INSTANCE) == str(paths.instance)
        if marked or identity in registered:
            found.append(identity)
    return found


async def end_orphans(
    paths: Paths, ours: Collection[ProcessId] = (), grace: float = 2.0
) -> list[ProcessId]:
    """End what a predecessor left; nobody reads its answers any more, so it gets little time.

    Args:
        paths: whose.
        ours: processes that are not to be taken for orphans.
        grace: seconds between SIGTERM and SIGKILL.

    Returns:
        those that were there and are gone now.
    """
    orphans = find_orphans(paths, ours)
    await end(orphans, grace)
    ended = [orphan for orphan in orphans if not is_alive(orphan)]
    register = Register.of(paths)
    for orphan in ended:
        if orphan in register.entries():
            register.discard(orphan)
    return ended
