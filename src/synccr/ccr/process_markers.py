"""How a process is known for a CCR, and for ours."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from synccr.ccr.process import ProcessId

# Not SYNCCR_…: those are settings, and whatever CCR starts inherits these.
INSTANCE = "_SYNCCR_INSTANCE"
"""Environment variable: which CCR directory's supervisor started this."""

SUPERVISOR = "_SYNCCR_SUPERVISOR"
"""Environment variable: identity of that supervisor."""

# node …/@musistudio/claude-code-router/dist/cli.js start, npm exec @musistudio/…@2.0.0 -- ccr
# start, sh -c "ccr start", node …/.bin/ccr start; npm joins its words into one. CCR 3's is
# node …/claude-code-router/dist/main/cli.js serve --no-open --port 24000.
_CCR_START = re.compile(
    r"(?:@musistudio[/\\]claude-code-router\b|(?:^|[\s/\\\"'])ccr(?:\.cmd|\.js)?[\"']?\s)"
    r".*\b(?:start|serve --no-open(?: --port \d+)?)[\"']?\s*$",
    re.DOTALL,
)


def is_ccr(command: Sequence[str]) -> bool:
    """Whether a command line is that of a CCR that serves, or of what npx runs it through."""
    return bool(_CCR_START.search(" ".join(command)))


def command_of(identity: ProcessId) -> list[str]:
    """The command line; empty when it cannot be read."""
    import psutil

    try:
        return psutil.Process(identity.pid).cmdline()
    except psutil.Error:
        return []


def environment_of(identity: ProcessId) -> dict[str, str] | None:
    """The environment it was started with; None when it cannot be read (another person's)."""
    import psutil

    try:
        return psutil.Process(identity.pid).environ()
    except (psutil.Error, OSError):
        return None


def is_mine(identity: ProcessId) -> bool:
    """Whether it belongs to the same person; Windows shows others' processes to nobody."""
    import psutil

    mine = True
    if sys.platform != "win32":
        try:
            mine = psutil.Process(identity.pid).uids().real == os.getuid()
        except psutil.Error:
            mine = False
    return mine


def is_ccr_of(identity: ProcessId, directory: Path) -> bool:
    """Whether this is a CCR of the same person that reads ``directory``.

    One whose environment cannot be read is taken for one that does.
    """
    if not (is_ccr(command_of(identity)) and is_mine(identity)):
        return False
    environment = environment_of(identity)
    if environment is None:
        return True
    usual = environment.get("USERPROFILE" if os.name == "nt" else "HOME")
    home = environment.get("CCR_INTERNAL_HOME_DIR") or usual
    return bool(home) and Path(str(home), directory.name).resolve() == directory.resolve()


def listening_ports(identities: Iterable[ProcessId]) -> set[int] | None:
    """TCP ports on which any of these processes listens; None when that cannot be seen."""
    import psutil

    ports: set[int] = set()
    for identity in identities:
        try:
            connections = psutil.Process(identity.pid).net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:
            return None
        ports |= {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return ports
