"""The directory of one CCR 3: made for its start, removed at its end, and by the next start
should nobody have been left to remove it.

What CCR keeps is all below it. It holds no provider key and no provider's address.
"""

from __future__ import annotations

import contextlib
import json
import os
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
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
_CHANGE_CCR = (
    *("CCR_", "GATEWAY_", "RAW_TRACE_", "AUTH_", "RATE_LIMIT_", "QUOTA_", "BUDGET_", "PRECHECK_"),
    *("BILLING_", "PROVIDER_EXTERNAL_", "PROVIDER_HEALTH_", "HEALTH_AWARE_", "DEFAULT_TARGET_"),
    *("AGENT_EXTERNAL_", "AGENT_EVENT_", "MCP_GATEWAY_", "UPSTREAM_TIMEOUT_", "BODY_LIMIT_"),
)
"""How variables begin that CCR 3 reads as settings."""


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
        made = cls(Path(tempfile.mkdtemp(prefix="run-", dir=parent)))
        try:
            _write(made.path / _OWNER, json.dumps(owner).encode())
            own_directory(made.ccr)
        except BaseException:
            made.remove()
            raise
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
        self._write_router(routes)
        _write(self.ccr / "config.json", json.dumps(document).encode())

    def write_routes(self, routes: Mapping[str, Any]) -> None:
        """Routes, which hold from the next request on.

        Raises:
            OSError: the former ones stay.
        """
        _write(self._routes, json.dumps(routes).encode())

    def restore(self, routes: Mapping[str, Any]) -> None:
        """Put back what CCR reads for each request, should somebody have removed it.

        Raises:
            OSError: it cannot be written.
        """
        if not (self.router.exists() and self._routes.exists()):
            own_directory(self.path)
            own_directory(self.ccr)
            self._write_router(routes)

    @property
    def _routes(self) -> Path:
        return self.ccr / "routes.json"

    def _write_router(self, routes: Mapping[str, Any]) -> None:
        _write(self.router, ROUTER.read_bytes())
        self.write_routes(routes)

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` for a CCR that keeps all below here, and no prompt at all.

        Its home is here, too: it writes settings of Claude Code, Codex and Claude Desktop below
        ``HOME`` even where its own directory is another. The person's own router gets theirs
        back (`router.cjs`). What else would change CCR, or lead it past the egress, is left out.
        """
        kept = {
            name: value
            for name, value in environ.items()
            if not name.upper().startswith(_CHANGE_CCR) and name.lower() not in _PROXIES
        }
        variable = "USERPROFILE" if os.name == "nt" else "HOME"
        home = environ.get(variable, "")
        npm = {  # for who runs npx
            "npm_config_cache": str(Path(home, ".npm")),
            "npm_config_userconfig": str(Path(home, ".npmrc")),
        }
        return {**npm, **kept} | {
            "SYNCCR_HOME": home,
            variable: str(self.path),
            "XDG_CONFIG_HOME": str(self.path / ".config"),
            "CCR_INTERNAL_HOME_DIR": str(self.path),
            "CCR_INTERNAL_APP_DATA_DIR": str(self.path / "app-data"),
            "CCR_INTERNAL_USER_DATA_DIR": str(self.path / "user-data"),
            "CCR_RAW_TRACE_ENABLED": "0",
            "GATEWAY_UPSTREAM_RETRY_ENABLED": "false",  # else it asks a provider twice
        }

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    """No CCR outlives a power failure, so no request waits for the disk."""
    write_atomic(path, data, durable=False)


def _is_owned(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        return is_alive(ProcessId(*json.loads((path / _OWNER).read_bytes())))
    return False
