"""CCR installed in a directory of our own, and compared with what was published before each start.

``<cache>/ccr/<version>/`` holds ``package.json``, ``package-lock.json`` and ``node_modules``.
For a pinned version the first two are ours: the lock has the hash of every package, and npm
takes them from whatever registry it is set up for. npm works in a directory beside, which is
given the name when it is whole and is what was published.

A version may name packages that no code of it loads as synccr runs it, and that some registries
do not have. Ours did not, so the lock has no hash of them: they come as the registry at hand has
them, with what they depend on, checked by npm against that registry's own word alone, and never
by us. No script of any package is run. Where the registry answers that it does not have one, a
package that is there anyway stands in for it, and a person is told; so with all of them where no
registry can be reached and npm's cache holds the rest alone.

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccr.ccr.node import NPM_HINT, Node
from synccr.ccr.npm import NAME, NoAnswer, NotInRegistry, Npm
from synccr.errors import RuntimeMissing
from synccr.files import own_directory, write_atomic

_MANIFEST, _LOCK = "package.json", "package-lock.json"
_BESIDE, _FORMER = ".new-", "former"
_LEAST_ROOM = 1024 * 1024
"""Bytes; with less, files that are not whole were written on a full disk."""
_OLD_TRASH = 3600.0
_NONE: Mapping[str, str] = {}
_SETTLED = 2.0


@dataclass(frozen=True)
class Pin:
    """What a version is known to be. Paths are below ``node_modules``.

    Attributes:
        lock: the directory with its ``package.json`` and ``package-lock.json``.
        entry: the script that Node runs.
        files: sha256 of each file that runs, on Node or in the browser of ``ccr ui``; of a
            directory, what ``FileHashes.of`` makes of all its files.
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
    overrides: Mapping[str, str] = _NONE,
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
        overrides: npm's, for one that is not pinned.
        progress: told in one line when there will be a wait.
        timeout: seconds for npm.

    Raises:
        RuntimeMissing: it cannot be had, or what lies there is not what was published.
    """
    installed = Installation(cache, version, pin, overrides)
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
            NPM_HINT,
        )
    progress(f"Fetching Claude Code Router {version} with npm (only this once) …")
    return await installed.install(Npm(node, environ, timeout), progress)


class Altered(RuntimeMissing):
    """What is installed is not what was published."""


class Installation:
    """One version in its directory.

    Args:
        cache: our own cache directory.
        version: exact.
        pin: what it is known to be; None for a version that npm alone checks.
        overrides: npm's, for one that is not pinned.
    """

    def __init__(
        self, cache: Path, version: str, pin: Pin | None, overrides: Mapping[str, str] = _NONE
    ) -> None:
        self.place = cache / "ccr" / version
        self._version = version
        self._pin = pin
        self._overrides = overrides
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

    async def install(self, npm: Npm, progress: Callable[[str], None]) -> Path:
        """Install it anew; ``progress`` is told what it is done without.

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
                await self._bring(beside, npm, progress)
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

    async def _bring(self, beside: Path, npm: Npm, progress: Callable[[str], None]) -> None:
        """Have npm install it, by the lock where it is pinned, without what it can do without."""
        not_needed, without, whose = _stand_ins(self._manifest()), frozenset[str](), "registry"
        while True:
            manifest, lock = self._manifest(), _json(self._pin.lock / _LOCK) if self._pin else {}
            for name in not_needed - without:
                del manifest["overrides"][name]
                lock.get("packages", {}).pop(f"node_modules/{name}", None)
            _lay_out(beside, manifest, lock)
            whole = without == not_needed
            try:
                await npm.install(self._version, beside, "ci" if lock and whole else "install")
                break
            except NotInRegistry as error:
                if error.package not in not_needed - without:
                    raise
                without |= {error.package}
            except NoAnswer as error:
                if whole or (error.asked and await npm.reaches_registry(beside)):
                    raise
                without, whose = not_needed, "cache"
        if without:
            names = " and ".join(sorted(without))
            progress(f"Done without {names}: not in npm's {whose}, and not needed to route.")

    def _manifest(self) -> dict[str, Any]:
        if self._pin:
            return _json(self._pin.lock / _MANIFEST)
        wanted = {NAME: self._version}
        return {"private": True, "dependencies": wanted, "overrides": dict(self._overrides)}

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
        hashes = _hashes_in(pin.lock)
        for name in _stand_ins(self._manifest()):
            hashes.pop(f"node_modules/{name}", None)
        if not hashes.items() <= _hashes_in(place).items():
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
        """Of each file's content; None for one that cannot be read.

        Of a directory, of the lines that ``sha256sum`` writes for its files, sorted by name, as in
        ``find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum``.
        """
        before = dict(self._known)
        found = [self._of(path) for path in paths]
        if self._known != before:
            there = {path: known for path, known in self._known.items() if Path(path).exists()}
            with contextlib.suppress(OSError):  # the next start reads the files again
                write_atomic(self._path, json.dumps({"hashes": there}).encode())
        return found

    def _of(self, path: Path) -> str | None:
        return self._of_directory(path) if path.is_dir() else self._of_file(path)

    def _of_directory(self, root: Path) -> str:
        """What is added counts, too: Node may load it in place of something else."""
        digests = {name: self._of_file(root / name) for name in _files_below(root)}
        lines = (f"{digests[name]}  ./{name}\n" for name in sorted(digests, key=str.encode))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _of_file(self, path: Path) -> str | None:
        try:
            stamp, known = _stamp(path.stat()), _dict(self._known.get(str(path)))
            if known.get("stamp") == stamp and isinstance(known.get("sha256"), str):
                return str(known["sha256"])
            with path.open("rb") as file:  # in pieces: a process keeps the memory it once took
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = path.stat()
        except OSError:
            return None
        # A change within one tick of the clock that stamps files would leave no trace.
        if _stamp(after) == stamp and abs(time.time() - after.st_ctime) > _SETTLED:
            self._known[str(path)] = {"stamp": stamp, "sha256": digest}
        return digest


def _stand_ins(manifest: Mapping[str, Any]) -> frozenset[str]:
    """The packages in whose place another one is installed where they cannot be had."""
    overrides = _dict(manifest.get("overrides"))
    return frozenset(name for name, what in overrides.items() if what.startswith("npm:"))


def _lay_out(directory: Path, manifest: Mapping[str, Any], lock: Mapping[str, Any]) -> None:
    """What npm goes by, in a fresh directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    for name, content in ((_MANIFEST, manifest), (_LOCK, lock)):
        if content:
            write_atomic(directory / name, json.dumps(content).encode())


def _files_below(root: Path) -> Iterator[str]:
    """The names of all but directories, from ``root`` on; a link to a directory is none."""
    for place, directories, files in os.walk(root):
        links = (name for name in directories if Path(place, name).is_symlink())
        for name in (*files, *links):
            yield f"{place}/{name}"[len(str(root)) + 1 :].replace(os.sep, "/")


def _hashes_in(place: Path) -> dict[str, object]:
    """Of each package in a lock, by its place."""
    packages = _dict(_json(place / _LOCK).get("packages"))
    return {path: _dict(entry).get("integrity") for path, entry in packages.items()}


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
