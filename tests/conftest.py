"""What all tests share."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from home import DEFAULT_CCR, KEY, LONG, MAIN, SPARE, Home
from once import once
from provider import FakeProvider
from synccr.ccr.package_source import PackageSource

# No deadlines: what takes 200 ms on a quiet machine takes a second on a busy one.
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=30)
settings.load_profile("quick")

# What runs in the background (``nohup``, ``&``) may have these ignored, and so has what it starts.
for _name in ("SIGINT", "SIGHUP"):
    if (_number := getattr(signal, _name, None)) and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

WORKERS = 4
"""At most; much of what tests do is waiting."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than cores, since tests wait, too; none for a few tests that are named: their own
    output, and no time to start workers."""
    named = any("::" in name or name.endswith(".py") for name in config.args)
    return 0 if named else min(WORKERS, 1 + (os.cpu_count() or 1))


@pytest.fixture(scope="session")
def npm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """npm's cache with CCR in it: the user's own, so that CCR is fetched once; else a temporary
    one."""
    named = os.environ.get("SYNCCR_TEST_NPM_CACHE") or os.environ.get("npm_config_cache")
    own = Path(named) if named else Path.home() / ".npm"
    try:
        own.mkdir(parents=True, exist_ok=True)
        usable = os.access(own, os.W_OK)
    except OSError:
        usable = False

    cache = own if usable else once(tmp_path_factory, "npm", lambda _: None)
    _install(DEFAULT_CCR, cache, tmp_path_factory)
    return cache


def _install(version: str, npm_cache: Path, factory: pytest.TempPathFactory) -> None:
    """Homes have this version from now on."""
    environ = {**os.environ, "npm_config_cache": str(npm_cache)}
    Home.installed[version] = once(
        factory,
        f"ccr-{version}",
        lambda place: asyncio.run(PackageSource(version, environ, place).now()),
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked ``ccr`` runs on each version that the mark nearest to it names; with
    ``seeds``, which has a number for each version, with so many values of its ``seed``."""
    mark = metafunc.definition.get_closest_marker("ccr")
    if mark is None:
        return
    others = pytest.mark.long if mark.kwargs.get("long", True) else ()
    marks = {version: () if version == DEFAULT_CCR else others for version in mark.args}
    if seeds := mark.kwargs.get("seeds"):
        metafunc.parametrize(
            ("ccr_version", "seed"),
            [
                pytest.param(version, seed, marks=marks[version])
                for version, count in zip(mark.args, seeds, strict=True)
                for seed in range(count)
            ],
            indirect=["ccr_version"],
        )
    else:
        metafunc.parametrize(
            "ccr_version",
            [pytest.param(version, marks=marks[version]) for version in mark.args],
            indirect=True,
        )


@pytest.fixture
def ccr_version(
    request: pytest.FixtureRequest, npm_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The version of CCR that the test is about; homes have it installed."""
    version: str = getattr(request, "param", DEFAULT_CCR)
    _install(version, npm_cache, tmp_path_factory)
    return version


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """An embedded provider with three models that serve."""
    with FakeProvider({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=KEY) as provider:
        yield provider


@pytest.fixture
def home(tmp_path: Path, npm_cache: Path, ccr_version: str) -> Iterator[Home]:
    """An empty home; whatever runs in it at the end is a failure."""
    home = Home(tmp_path / "home", npm_cache, ccr_version)
    yield home
    left = home.processes()
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture
def quiet_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No callback of the loop fails unseen."""
    yield
    assert [
        record.message for record in caplog.get_records("call") if record.name == "asyncio"
    ] == []
