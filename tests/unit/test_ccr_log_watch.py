"""The log of a CCR that runs, followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ccr_kit import Scene, scene_in, until

from synccr.ccr.v2 import dir_watch as wake
from synccr.ccr.v2.backend import Backend2
from synccr.ccr.v2.log_watch import follow
from synccr.classify.logged import LoggedFailure, ProviderFailed


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_in(tmp_path) as scene:
        yield scene


async def following(backend: Backend2, seen: list[LoggedFailure]) -> asyncio.Task[None]:
    task = asyncio.create_task(follow(backend, seen.append))
    await asyncio.sleep(0.05)
    return task


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def failure(pid: int, model: str) -> bytes:
    entry = {"level": 50, "time": 1, "pid": pid, "hostname": "h"}
    entry["msg"] = f"[provider_response_error] Error from provider(p,{model}: 402): no"
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def models(seen: list[LoggedFailure]) -> list[str | None]:
    return [trouble.model for trouble in seen if isinstance(trouble, ProviderFailed)]


async def test_following_a_backend(scene: Scene) -> None:
    """Errors from the backend's start on are reported once, through a rotation, others' are not."""
    backend = await scene.launch()
    log = backend.log_path
    assert log is not None
    seen: list[LoggedFailure] = []
    with log.open("ab") as file:
        file.write(failure(backend.pid, "before") + failure(backend.pid + 1, "another"))
    task = await following(backend, seen)
    with log.open("ab") as file:
        file.write(failure(backend.pid, "now"))
    await until(lambda: len(seen) == 2)
    log.rename(log.with_name("ccr-20260101000000_1.log"))
    log.write_bytes(failure(backend.pid, "after"))
    await until(lambda: len(seen) == 3)
    assert models(seen) == ["before", "now", "after"]
    await end(task)
    await backend.stop(5)


@pytest.mark.slow
async def test_following_without_notifications(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system tells of no changes, a look each second finds them."""

    @contextlib.asynccontextmanager
    async def deaf(directory: Path) -> AsyncIterator[asyncio.Event]:
        yield asyncio.Event()

    monkeypatch.setattr("synccr.ccr.v2.log_watch.changes", deaf)
    backend = await scene.launch()
    assert backend.log_path is not None
    seen: list[LoggedFailure] = []
    task = await following(backend, seen)
    with backend.log_path.open("ab") as file:
        file.write(failure(backend.pid, "m"))
    await until(lambda: len(seen) == 1)
    await end(task)
    await backend.stop(5)


async def test_following_a_backend_without_a_log(scene: Scene) -> None:
    """A log that is opened later is found then."""
    backend = await scene.launch()
    log, backend._log = backend.log_path, None
    assert log is not None
    with pytest.MonkeyPatch.context() as patch:
        found: list[Path] = []
        patch.setattr("synccr.ccr.v2.backend.find_log", lambda *_: found[0] if found else None)
        seen: list[LoggedFailure] = []
        task = await following(backend, seen)
        found.append(log)
        with log.open("ab") as file:
            file.write(failure(backend.pid, "m"))
        await until(lambda: len(seen) == 1)
        await end(task)
    await backend.stop(5)


@pytest.mark.parametrize("platform", [sys.platform, "darwin"])
async def test_wake_up(tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing, creating and renaming in a directory wake whoever waits, on each platform's way."""
    monkeypatch.setattr(sys, "platform", platform)
    async with wake.changes(tmp_path) as changed:
        await asyncio.sleep(0.3)
        for change in (
            lambda: (tmp_path / "a").write_text("x"),
            lambda: (tmp_path / "a").rename(tmp_path / "b"),
            lambda: (tmp_path / "b").write_text("y"),
        ):
            changed.clear()
            change()
            async with asyncio.timeout(10):
                await changed.wait()


async def test_no_wake_up_without_a_directory(tmp_path: Path) -> None:
    """A directory that is not there cannot wake anybody, and raises nothing."""
    async with wake.changes(tmp_path / "none") as changed:
        assert not changed.is_set()
