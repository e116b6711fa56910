"""CCR installed in a directory of our own, and compared with what was published before each start.

``<cache>/ccr/<version>/`` holds ``package.json``, ``package-lock.json`` and ``node_modules``.
For a pinned version the first two are ours: the lock has the hash of every package, and npm
takes them from whatever registry it is set up for. npm works in a directory beside, which is
given the name when it is whole and is what was published.

npx is not used: it costs 0.6 s at each start, keeps 90 MB, and knows no lock file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccr.ccr.node import INSTALL_HINT, Node
from synccr.ccr.npm import NAME, install
from synccr.errors import RuntimeMissing
from synccr.files import own_directory, write_atomic

_MANIFEST, _LOCK = "package.json", "package-lock.json"
_BESIDE, _FORMER = ".new-", "former"
_LEAST_ROOM = 1024 * 1024
"""Bytes; with less, files that are not whole were written on a full disk."""
_OLD_TRASH = 3600.0
_SETTLED = 2.0


@dataclass(frozen=True)
class Pin:
    """What a version is known to be. Paths are below ``node_modules``.

    Attributes:
        lock: the directory with its ``package.json`` and ``package-lock.json``.
        entry: the script that Node runs.
        files: sha256 of each file that runs, on Node or in the browser of ``ccr ui``.
    """

    lock: Path
    entry: str
    files: Mapping[str, str]

    @property
    def integrity(self) -> str:
        """Of CCR's archive, as npm's registry publishes it (``dist.integrity``)."""
        return str(_json(self.lock / _LOCK)["packages"][f"node_modules/{NAME}"]["integrity"])


async def provide(
    version: str,
    pin: Pin | None,
    node: Node,
    environ: Mapping[str, str],
    cache: Path,
    *,
    progress: Callable[[str], None] = lambda _: None,
    timeout: float = 300.0,
) -> Path:
    """The script that Node runs; npm fetches it when it is not there as it was published.

    Args:
        version: exact, ``X.Y.Z``.
        pin: what it is known to be; None for one that npm alone checks.
        node: whose npm fetches it.
        environ: npm's settings come from here and from the person's ``.npmrc``.
        cache: our own cache directory.
        progress: told in one line when there will be a wait.
        timeout: seconds for npm.

    Raises:
        RuntimeMissing: it cannot be had, or what lies there is not what was published.
    """
    installed = Installation(cache, version, pin)
    await asyncio.to_thread(installed.sweep)
    try:
        if entry := await asyncio.to_thread(installed.entry):
            return entry
    except Altered as altered:
        if not node.npm:
            raise
        progress(altered.what)
    if not node.npm:
        raise RuntimeMissing(
            f"Node {node.version} ({node.path}) has no npm beside it, and Claude Code Router "
            f"{version} is not installed yet.",
            INSTALL_HINT,
        )
    progress(f"Fetching Claude Code Router {version} with npm (only this once) …")
    return await installed.install(node, environ, timeout)


class Altered(RuntimeMissing):
    """What is installed is not what was published."""


class Installation:
    """One version in its directory.

    Args:
        cache: our own cache directory.
        version: exact.
        pin: what it is known to be; None for a version that npm alone checks.
    """

    def __init__(self, cache: Path, version: str, pin: Pin | None) -> None:
        self.place = cache / "ccr" / version
        self._version = version
        self._pin = pin
        self._hashes = FileHashes(cache / "packages.json")

    def entry(self) -> Path | None:
        """The script that Node runs; None when it has to be installed.

        Raises:
            Altered: what is there is not what was published.
        """
        return self._entry_in(self.place)

    def sweep(self) -> None:
        """Remove what a kill in the middle of an installation left."""
        with contextlib.suppress(OSError):
            for path in self.place.parent.glob(f"{_BESIDE}*"):
                if time.time() - path.lstat().st_mtime > _OLD_TRASH:
                    shutil.rmtree(path, ignore_errors=True)

    async def install(self, node: Node, environ: Mapping[str, str], timeout: float) -> Path:
        """Install it anew; arguments as of ``provide``.

        Two may do so at once: each works in a directory of its own, and the first is used.

        Raises:
            RuntimeMissing: npm failed, what it brought is not what was published, or the cache
                cannot be written.
        """
        version, parent = self._version, self.place.parent
        try:
            own_directory(parent)
            with tempfile.TemporaryDirectory(
                prefix=_BESIDE, dir=parent, ignore_cleanup_errors=True
            ) as name:
                # One below, so that it can be given the name while the rest is removed.
                beside = Path(name, version)
                self._lay_out(beside)
                await install(version, beside, node, environ, timeout, locked=bool(self._pin))
                if await asyncio.to_thread(self._brought, beside) is None:
                    raise RuntimeMissing(
                        f"npm fetched Claude Code Router {version}, but there is no program of it "
                        "that can be run.",
                        f"Run: npx --yes --package={NAME}@{version} -- ccr -v",
                    )
                return await self._take(beside)
        except OSError as error:
            raise RuntimeMissing(
                f"{parent} cannot be written: {error.strerror or error}.",
                "Make it writable, or free space.",
            ) from error

    def _brought(self, beside: Path) -> Path | None:
        """The program that npm has just brought; npm passes over a disk that is full by then."""
        try:
            return self._entry_in(beside)
        except Altered as altered:
            if shutil.disk_usage(beside).free < _LEAST_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from altered
            raise

    def _lay_out(self, directory: Path) -> None:
        """What npm goes by, in a directory made for it."""
        directory.mkdir(mode=0o700)
        if self._pin:
            for name in (_MANIFEST, _LOCK):
                write_atomic(directory / name, (self._pin.lock / name).read_bytes())
        else:
            write_atomic(directory / _MANIFEST, b'{"private": true}\n')

    async def _take(self, beside: Path) -> Path:
        """Give a whole installation the name; what is there and good by now stays.

        A thread only reads: it may outlive a Ctrl-C, after which ``beside`` is removed.
        """
        for _ in range(3):
            _try_rename(beside, self.place)  # the system refuses where something is
            with contextlib.suppress(Altered):
                if entry := await asyncio.to_thread(self.entry):
                    return entry
            _try_rename(self.place, beside.with_name(_FORMER))
        raise OSError(f"{self.place} is in the way")

    def _entry_in(self, place: Path) -> Path | None:
        modules = place / "node_modules"
        root = modules / NAME
        manifest = _json(root / _MANIFEST)
        if manifest.get("version") != self._version:
            return None
        if self._pin:
            return self._checked(place, modules, self._pin)
        binaries = manifest.get("bin")
        script = binaries.get("ccr") if isinstance(binaries, dict) else binaries
        entry = root / str(script)
        inside = entry.resolve().is_relative_to(root.resolve())
        return entry if inside and entry.is_file() else None

    def _checked(self, place: Path, modules: Path, pin: Pin) -> Path | None:
        """The program of a pinned version.

        Raises:
            Altered: it is not what was published.
        """
        with contextlib.suppress(OSError):
            if (place / _LOCK).read_bytes() != (pin.lock / _LOCK).read_bytes():
                return None  # installed by a synccr that knew other dependencies
        found = self._hashes.of(modules / name for name in pin.files)
        wanted = zip(pin.files.items(), found, strict=True)
        wrong = [name for (name, sha256), there in wanted if there != sha256]
        if wrong:
            named = ", ".join(name.removeprefix(f"{NAME}/") for name in wrong)
            raise Altered(
                f"Claude Code Router {self._version} in {place} is not what its authors published "
                f"(not the same: {named}), so it is not run.",
                f"Remove {place} and start again.",
            )
        return modules / pin.entry


class FileHashes:
    """sha256 of files, remembered so that a start need not read 12 MB again.

    Args:
        path: where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _dict(_json(path).get("hashes"))

    def of(self, paths: Iterable[Path]) -> list[str | None]:
        """Of each file's content; None for one that cannot be read."""
        before = dict(self._known)
        found = [self._of(path) for path in paths]
        if self._known != before:
            with contextlib.suppress(OSError):  # the next start reads the files again
                write_atomic(self._path, json.dumps({"hashes": self._known}).encode())
        return found

    def _of(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:  # in pieces: a process keeps the memory it once took
                stamp = _stamp(os.fstat(file.fileno()))
                known = _dict(self._known.get(str(path)))
                if known.get("stamp") == stamp and isinstance(known.get("sha256"), str):
                    return str(known["sha256"])
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                after = os.fstat(file.fileno())
        except OSError:
            return None
        # A change within one tick of the clock that stamps files would leave no trace.
        if _stamp(after) == stamp and abs(time.time() - after.st_ctime) > _SETTLED:
            self._known[str(path)] = {"stamp": stamp, "sha256": digest}
        return digest


def _try_rename(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        source.rename(target)


def _stamp(stat: os.stat_result) -> list[int]:
    # The change time is the kernel's own: it cannot be set back.
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _json(path: Path) -> dict[str, Any]:
    try:
        return _dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
