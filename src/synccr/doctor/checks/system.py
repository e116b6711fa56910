"""The machine and synccr's own files: platform, settings, disk, modes, what was left behind."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from synccr import __version__
from synccr.control import user_id
from synccr.doctor import lines
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, together, warn

_MIB = 1024 * 1024
LEAST = 50 * _MIB
"""Bytes: less, and a configuration or a log may no longer be written."""
COMFORTABLE = 500 * _MIB
"""Bytes: CCR's log alone was seen to grow by 282 MB in a day at level debug."""
MANY_LOGS = 500 * _MIB
_ABANDONED = 600.0
"""Seconds after which a temporary file is no write under way."""
_SHOWN = 6


def system(context: Context) -> Diagnosis:
    """Python, the system, and WSL's traps."""
    facts = (
        f"synccr {__version__}, Python {platform.python_version()} ({sys.executable}), "
        f"{platform.system()} {platform.release()} {platform.machine()}"
    )
    if not is_wsl(context.environ, platform.release()):
        return ok(facts)
    if str(context.home).startswith("/mnt/"):
        return warn(
            f"{facts}. WSL with a home on the Windows disk ({context.home}): file modes do not "
            "hold there, so others may read your keys.",
            'export HOME="$(getent passwd "$(id -u)" | cut -d: -f6)"',
        )
    return ok(f"{facts}, in WSL")


def is_wsl(environ: Mapping[str, str], release: str) -> bool:
    """Whether this Linux runs in Windows."""
    return sys.platform == "linux" and (
        "microsoft" in release.lower() or "WSL_DISTRO_NAME" in environ
    )


def settings(context: Context) -> Diagnosis:
    """synccr.toml and SYNCCR_ variables."""
    error = context.settings_error
    if error is None:
        where = context.paths.settings
        return ok(f"read from {where}" if where.exists() else "all at their defaults")
    if context.paths.settings.exists() and str(context.paths.settings) in error.what:
        return fail(str(error), lines.edit(context.paths.settings))
    named = [n for n in context.environ if n.startswith("SYNCCR_") and n in error.what]
    guilty = named or [
        n for n in context.environ if n.startswith("SYNCCR_") and n.lower()[7:] in error.what
    ]
    return fail(str(error), lines.unset(guilty or ["SYNCCR_..."]))


def disk(context: Context) -> Diagnosis:
    """Leave and room to write the configuration, the log and npm's cache."""
    paths = context.paths
    needed = (paths.ccr, paths.config, paths.state, paths.cache, paths.log)
    places = dict.fromkeys(_existing(path) for path in needed)
    closed = [place for place in places if not context.writable(place)]
    if closed:
        fix = f"ls -ld -- {' '.join(map(lines.quote, closed))}"
        return fail(f"{_listed(closed)} cannot be written, so synccr cannot start here.", fix)
    logs = sum(_size(path) for path in context.paths.ccr_logs.glob("*.log"))
    space = {place: context.free(place) for place in places}
    place, free = min(space.items(), key=lambda item: item[1])
    room = f"{_amount(free)} free at {place}"
    delete = lines.remove(context.paths.ccr_logs.glob("*.log"))
    if free < LEAST:
        fix = delete if logs > LEAST else f"du -xsh {lines.quote(context.home)}/.[!.]* | sort -h"
        return fail(f"Only {room}: configurations and logs cannot be written.", fix)
    if logs > MANY_LOGS:
        return warn(f"CCR's logs take {_amount(logs)}; {room}.", delete)
    grows = context.generation is None or context.generation.log
    if free < COMFORTABLE:
        return warn(
            f"Only {room}" + "; CCR's log may fill that in a day" * grows + ".",
            f"du -xsh {lines.quote(context.home)}/.[!.]* | sort -h",
        )
    return ok(room)


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _amount(size: int) -> str:
    return f"{size / 1024**3:.1f} GB" if size >= 1024**3 else f"{size / _MIB:.0f} MB"


def modes(context: Context) -> Diagnosis:
    """Keys, prompts and the control channel are for one person only."""
    if os.name == "nt":
        return skip("Windows keeps a user's profile directory from others by itself.")
    mine: list[Path] = []
    others: list[Path] = []
    secret: list[Path] = []
    for path in _private(context):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if not found.st_mode & 0o077 or not found.st_size:  # a lock is empty
            continue
        (mine if found.st_uid == user_id() else others).append(path)
        if path.is_file() and context.secrets.in_file(path):
            secret.append(path)
    diagnoses = []
    if others:
        diagnoses.append(
            fail(
                f"{_listed(others)} belongs to another user.",
                f"sudo chown -R {user_id()} -- {' '.join(map(lines.quote, others[:_SHOWN]))}",
            )
        )
    if mine:
        say = fail if secret else warn
        what = f"others may look into {_listed(mine)}" + (
            f"; {_listed(secret)} holds a key" if secret else ""
        )
        diagnoses.append(
            say(what[0].upper() + what[1:] + ".", lines.close(mine), lambda: _close(mine))
        )
    return together(diagnoses) if diagnoses else ok("only you can read CCR's and synccr's files")


def _private(context: Context) -> Iterator[Path]:
    """Everything that may hold a key, a prompt or a way to give orders."""
    paths = context.paths
    yield paths.ccr
    yield from (paths.ccr_logs, paths.ccr_pid)
    yield from context.key_files()
    yield from paths.ccr_logs.glob("*.log")
    yield from paths.ccr.glob("*.log")
    yield from (paths.config, paths.settings, paths.keys, paths.instance)
    if paths.instance.is_dir():
        yield from (p for p in paths.instance.iterdir() if p.is_file())
    yield from paths.log.glob("*.log*")


def _close(paths: list[Path]) -> str:
    for path in paths:
        path.chmod(path.stat().st_mode & 0o700)
    return f"only you can look into {_listed(paths)} now."


def _listed(paths: list[Path]) -> str:
    names = ", ".join(map(str, paths[:_SHOWN]))
    return names + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def leftovers(context: Context) -> Diagnosis:
    """What an interrupted write or a killed supervisor leaves behind."""
    found = [
        path
        for directory in (context.paths.ccr, context.paths.config, context.paths.instance)
        for path in directory.glob(".*.tmp")
        if time.time() - _modified(path) > _ABANDONED
    ]
    if context.status is None:
        channel = [context.paths.instance / name for name in ("control.sock", "control.json")]
        found += [path for path in channel if path.exists()]
    if not found:
        return ok("nothing was left behind")
    return warn(
        f"Left behind by something that was killed: {_listed(found)}.",
        lines.remove(found),
        lambda: _remove(found),
    )


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _remove(paths: list[Path]) -> str:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return f"removed {_listed(paths)}."
