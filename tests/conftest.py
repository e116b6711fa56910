"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from home import KEY, LONG, MAIN, SPARE, Home
from synccr.sandbox import ProviderThread


@pytest.fixture(scope="session")
def npm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """npm's cache: the user's own, so that CCR is fetched once; else a temporary one."""
    named = os.environ.get("SYNCCR_TEST_NPM_CACHE") or os.environ.get("npm_config_cache")
    own = Path(named) if named else Path.home() / ".npm"
    try:
        own.mkdir(parents=True, exist_ok=True)
        usable = os.access(own, os.W_OK)
    except OSError:
        usable = False
    return own if usable else tmp_path_factory.mktemp("npm")


@pytest.fixture
def provider() -> Iterator[ProviderThread]:
    """An embedded provider with three models that serve."""
    with ProviderThread({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=KEY) as provider:
        yield provider


@pytest.fixture
def home(tmp_path: Path, npm_cache: Path) -> Iterator[Home]:
    """An empty home; whatever runs in it at the end is a failure."""
    home = Home(tmp_path / "home", npm_cache)
    yield home
    left = home.processes()
    for process in left:
        process.kill()
    assert left == []
