"""The pinned package: brought by npx, checked against what npm published, run without npx.

npx costs 0.6 s at each start and keeps 90 MB, so it only brings the package.
What it brought lies in npm's cache under a name that follows from the package's
name and version, and is run from there by Node itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccr.ccr.node import INSTALL_HINT, Node
from synccr.ccr.npx import NAME, fetch
from synccr.errors import RuntimeMissing
from synccr.files import write_atomic

_WASM = "dedd9a7b5d8d98b44448bedb371ade1c5327f7bb5dd9effe159da816473a415f"


@dataclass(frozen=True)
class Pin:
    """What a version is known to be.

    Attributes:
        integrity: of the archive, as npm's registry publishes it (``dist.integrity``).
        files: sha256 of each file that runs, on Node or in the browser of ``ccr ui``.
            Both versions are bundles: they load nothing else, measured by tracing.
    """

    integrity: str
    files: Mapping[str, str]


PINS: Mapping[str, Pin] = {
    "2.0.0": Pin(
        "sha512-41CRIOgBtYAxY4+xBn+plXv87ghuv0kVcdTUOFcVdf2cwQMY8u+g6DJ9hX9JiSdl"
        "X3xVFpW2UFlx7xRUTx5I5g==",
        {
            "dist/cli.js": "e84ad34983150bf97c0470299acc56ec97dd0e07343fe19d4d383bded9a1eb56",
            "dist/tiktoken_bg.wasm": _WASM,
            "dist/index.html": "b8e1126f1ffbee77759aaf4560f6b30ffa034bdc261e586eb7da16f0d9624b92",
        },
    ),
    "1.0.73": Pin(
        "sha512-t6O5tbBA4BYWuLLTGi0E2Dijk3IZfQxm6t/x64b6Bs8xucDR5+RzketJxvXqbyOg"
        "IqRGMq5dd6fGDOTkRnhzFQ==",
        {
            "dist/cli.js": "8fb0beb3364884b118008bf489179a3594bd5e6adcf932229f7df93890f6e16f",
            "dist/tiktoken_bg.wasm": _WASM,
            "dist/index.html": "2e1f9d9090e60bdbf95ff8f1d90dfbf5b4ee393e750f011eb4dc13e867ee765a",
        },
    ),
}


@dataclass(frozen=True)
class Package:
    """CCR, ready to be started.

    Attributes:
        version: exact.
        command: what to run.
        entry: the script that Node runs; None when only npx can run it, so that
            the command is a tree of processes.
    """

    version: str
    command: tuple[str, ...]
    entry: Path | None


Progress = Callable[[str], None]


async def provide(
    version: str,
    node: Node,
    environ: Mapping[str, str],
    cache: Path,
    *,
    progress: Progress = lambda _: None,
    timeout: float = 300.0,
    pins: Mapping[str, Pin] = PINS,
) -> Package:
    """Find the package in npm's cache, or have npx bring it.

    Args:
        version: exact, ``X.Y.Z``.
        node: what runs it.
        environ: npm's settings come from here and from the person's ``.npmrc``.
        cache: our own cache directory: what was checked, and where npx works.
        progress: told in one line when there will be a wait.
        timeout: seconds for npx; npm 11 was seen to spin for ever on a cache
            directory that cannot be made.
        pins: what versions are known to be; another one is checked by npm alone.

    Raises:
        RuntimeMissing: it cannot be had, or what lies there is not what npm published.
    """
    check_supported(version)
    pin = pins.get(version)
    checked = _Checked(cache / "packages.json")
    for modules in (*checked.places(version), npx_directory(version, environ)):
        try:
            if package := _resolve(modules, version, node, checked, pin):
                return package
        except _Altered as altered:
            # An interrupted npm leaves this, a tampered file looks the same: fetched anew.
            progress(altered.what)
            if not (node.npx and _remove(modules, version)):
                raise
    if not node.npx:
        raise RuntimeMissing(
            f"Node {node.version} ({node.path}) has no npm beside it, and Claude Code Router "
            f"{version} is not in npm's cache.",
            INSTALL_HINT,
        )
    progress(f"Fetching Claude Code Router {version} with npm (only this once) …")
    for _ in range(2):
        places = await fetch(version, node, environ, cache, timeout)
        for modules in places:
            if package := _resolve(modules, version, node, checked, pin):
                return package
        # npm believes its own record of a directory that somebody emptied.
        if not (pin and any(_remove(modules, version) for modules in places)):
            break
    if pin:
        raise RuntimeMissing(
            f"npm fetched Claude Code Router {version}, but it is not where npm says.",
            f"Run: npx --yes --package={NAME}@{version} -- ccr -v",
        )
    command = (*node.npx, "--yes", f"--package={NAME}@{version}", "--", "ccr", "start")
    return Package(version, command, None)


def cached(
    version: str,
    node: Node,
    environ: Mapping[str, str],
    cache: Path,
    *,
    pins: Mapping[str, Pin] = PINS,
) -> Package | None:
    """The package when npm's cache has it; fetches nothing. Arguments as of ``provide``.

    Raises:
        RuntimeMissing: what lies there is not what npm published.
    """
    checked = _Checked(cache / "packages.json")
    for modules in (*checked.places(version), npx_directory(version, environ)):
        if package := _resolve(modules, version, node, checked, pins.get(version)):
            return package
    return None


def check_supported(version: str) -> None:
    """Refuse what this program does not know how to run.

    Raises:
        RuntimeMissing: CCR 3 has another configuration, another log and other routes.
    """
    major = version.partition(".")[0]
    if major not in {"1", "2"}:
        raise RuntimeMissing(
            f"Claude Code Router {version} is not supported: synccr runs 1.x and 2.x, which read "
            "config.json.",
            "Set ccr_version to 2.0.0.",
        )


def npx_directory(version: str, environ: Mapping[str, str]) -> Path:
    """``node_modules`` of this package in npx's cache."""
    settings = {name.lower(): value for name, value in environ.items()}
    root = settings.get("npm_config_cache")
    if not root and os.name == "nt":
        root = str(Path(environ.get("LOCALAPPDATA") or "", "npm-cache"))
    return Path(
        root or Path(environ.get("HOME") or "", ".npm"), "_npx", _npx_name(version), "node_modules"
    )


def _npx_name(version: str) -> str:
    """libnpmexec: the first 16 hex digits of the sha512 of the sorted package specifications."""
    return hashlib.sha512(f"{NAME}@{version}".encode()).hexdigest()[:16]


def _resolve(
    modules: Path, version: str, node: Node, checked: _Checked, pin: Pin | None
) -> Package | None:
    """What to run from a ``node_modules``; None when the package is not (wholly) there."""
    root = modules / NAME
    manifest = _json(root / "package.json")
    if manifest.get("version") != version:
        return None
    binaries = manifest.get("bin")
    script = binaries.get("ccr") if isinstance(binaries, dict) else binaries
    entry = root / ("dist/cli.js" if pin else str(script))
    if pin:
        _check(modules, root, version, checked, pin)
    elif not entry.is_file() or not entry.resolve().is_relative_to(root.resolve()):
        return None
    checked.remember(version, modules)
    return Package(version, (str(node.path), str(entry), "start"), entry)


def _check(modules: Path, root: Path, version: str, checked: _Checked, pin: Pin) -> None:
    """Compare what is installed with what was published.

    Raises:
        _Altered: they differ.
    """
    lock = _json(modules / ".package-lock.json").get("packages", {})
    entry = lock.get(f"node_modules/{NAME}", {}) if isinstance(lock, dict) else {}
    installed = entry.get("integrity") if isinstance(entry, dict) else None
    wrong = [] if installed in (None, pin.integrity) else ["the archive npm installed"]
    wrong += [name for name, sha256 in pin.files.items() if checked.sha256(root / name) != sha256]
    if wrong:
        raise _Altered(
            f"Claude Code Router {version} in {modules.parent} is not what its authors published "
            f"(not the same: {', '.join(wrong)}), so it is not run.",
            f"Remove {modules.parent} and start again.",
        )


class _Altered(RuntimeMissing):
    """What is installed is not what was published."""


def _remove(modules: Path, version: str) -> bool:
    """Take this package, and nothing else, out of npx's cache."""
    place = modules.parent
    if place.parts[-2:] != ("_npx", _npx_name(version)) or place.is_symlink():
        return False
    shutil.rmtree(place, ignore_errors=True)
    return not place.exists()


class _Checked:
    """What was found and hashed before, so that a start need not read 12 MB again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = _json(path)
        self._places: dict[str, Any] = _dict(known.get("places"))
        self._hashes: dict[str, Any] = _dict(known.get("hashes"))

    def places(self, version: str) -> Iterator[Path]:
        """Where this version was the last time (``.npmrc`` may have moved npm's cache)."""
        place = self._places.get(version)
        if isinstance(place, str):
            yield Path(place)

    def remember(self, version: str, modules: Path) -> None:
        if self._places.get(version) != str(modules):
            self._places[version] = str(modules)
            self._save()

    def sha256(self, path: Path) -> str | None:
        """Of the file's content; None when it cannot be read."""
        try:
            stat = path.stat()
            # The change time is the kernel's own: it cannot be set back.
            stamp = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            known = _dict(self._hashes.get(str(path)))
            if known.get("stamp") == stamp and isinstance(known.get("sha256"), str):
                return str(known["sha256"])
            with path.open("rb") as file:  # in pieces: a process keeps the memory it once took
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        self._hashes[str(path)] = {"stamp": stamp, "sha256": digest}
        self._save()
        return digest

    def _save(self) -> None:
        document = {"places": self._places, "hashes": self._hashes}
        with contextlib.suppress(OSError):  # the next start reads the files again
            write_atomic(self._path, json.dumps(document).encode())


def _json(path: Path) -> dict[str, Any]:
    try:
        return _dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
