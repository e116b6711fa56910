"""The directory of one CCR 3: made for its start, removed at its end, and by the next start
should nobody have been left to remove it.

What CCR keeps is all below it. It holds no provider key and no provider's address.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synccr.ccr.process import ProcessId, is_alive
from synccr.files import own_directory, write_atomic
from synccr.paths import Paths

ROUTER = Path(__file__).parent / "node_side" / "router.cjs"
"""What routes requests in CCR's process."""

_OWNER = "owner.json"


class RunDirectory:
    """One directory, 0700.

    Attributes:
        path: its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, paths: Paths, owner: ProcessId) -> RunDirectory:
        """An empty one; those whose owner is gone are removed.

        Raises:
            OSError: it cannot be made.
        """
        parent = own_directory(own_directory(paths.instance) / "ccr3")
        for left in parent.iterdir():
            if not _is_owned(left):
                shutil.rmtree(left, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
        write_atomic(path / _OWNER, json.dumps(owner).encode())
        made = cls(path)
        own_directory(made.ccr)
        return made

    @property
    def ccr(self) -> Path:
        """What CCR takes for ``~/.claude-code-router``."""
        return self.path / ".claude-code-router"

    @property
    def router(self) -> Path:
        """Our router, as ``CUSTOM_ROUTER_PATH`` names it."""
        return self.ccr / ROUTER.name

    def write(self, document: Mapping[str, Any], routes: Mapping[str, Any]) -> None:
        """All that CCR reads at its start.

        Raises:
            OSError: the disk is full, for example.
        """
        write_atomic(self.router, ROUTER.read_bytes())
        self.write_routes(routes)
        write_atomic(self.ccr / "config.json", json.dumps(document).encode())

    def write_routes(self, routes: Mapping[str, Any]) -> None:
        """Routes, which hold from the next request on.

        Raises:
            OSError: the former ones stay.
        """
        write_atomic(self.ccr / "routes.json", json.dumps(routes).encode())

    def environ(self) -> dict[str, str]:
        """What makes CCR keep all that is its own below here, and no prompt at all."""
        return {
            "CCR_INTERNAL_HOME_DIR": str(self.path),
            "CCR_INTERNAL_APP_DATA_DIR": str(self.path / "app-data"),
            "CCR_INTERNAL_USER_DATA_DIR": str(self.path / "user-data"),
            "CCR_RAW_TRACE_ENABLED": "0",
        }

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _is_owned(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return is_alive(ProcessId(*json.loads((path / _OWNER).read_bytes())))
    return False
