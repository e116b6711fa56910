"""The real Claude Code."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from once import once
from synccr.ccr.node import find_node


@pytest.fixture(scope="session")
def claude(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Path:
    """The directory of the ``claude`` program, of the version that package.json names."""

    def install(target: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(Path(__file__).with_name(name), target)
        node = find_node(os.environ)
        environ = node.environ(os.environ) | {"npm_config_cache": str(npm_cache)}
        subprocess.run(
            [*node.npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=target,
            env=environ,
            check=True,
            timeout=800,
        )

    return once(tmp_path_factory, "claude", install) / "node_modules" / ".bin"
