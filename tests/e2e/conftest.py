"""The real Claude Code, in two versions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from once import once
from synccr.ccr.node import find_node

HERE = Path(__file__).parent


def _installed(source: Path, factory: pytest.TempPathFactory, npm_cache: Path) -> Path:
    """The directory of the ``claude`` program, of the version that ``source`` names."""

    def install(target: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, target)
        node = find_node(os.environ)
        environ = node.environ(os.environ) | {"npm_config_cache": str(npm_cache)}
        subprocess.run(
            [*node.npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=target,
            env=environ,
            check=True,
            timeout=800,
        )

    return once(factory, f"claude-{source.name}", install) / "node_modules" / ".bin"


@pytest.fixture(scope="session")
def claude(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Path:
    """The version that package.json names."""
    return _installed(HERE, tmp_path_factory, npm_cache)


@pytest.fixture(scope="session")
def newest_claude(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Path:
    """The version that newest/package.json names. It asks for Node 22 and is a program of its
    own, so that npm installs it on Node 20 with a warning.
    """
    return _installed(HERE / "newest", tmp_path_factory, npm_cache)
