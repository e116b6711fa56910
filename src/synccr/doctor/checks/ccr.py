"""Node, npm and the packages: the pinned CCR and a global one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from synccr.ccr.generations import generation_of
from synccr.ccr.installation import Installation, Pin
from synccr.ccr.installed import package_root, package_version
from synccr.ccr.node import WHEEL
from synccr.ccr.npm import NAME as _PACKAGE
from synccr.ccr.package_source import (
    UNKNOWN,
    PackageSource,
    named_version,
    own_command,
)
from synccr.config.ccr3.database import DATABASE
from synccr.doctor import lines
from synccr.doctor.context import Blocked, Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, together, warn
from synccr.errors import RuntimeMissing

_ASK_NPM = 12.0
_OWN = "your own command runs Claude Code Router"


def _install_node() -> str:
    return f'{lines.quote(sys.executable)} -m pip install "{WHEEL}"'


def node(context: Context) -> Diagnosis:
    """A Node that can run CCR."""
    try:
        found = context.node_or_error()
    except RuntimeMissing as error:
        if context.settings.ccr_command:
            return skip(f"{_OWN}; {error.what}")
        return fail(error.what, _install_node())
    return ok(f"Node {found.version} from {found.source} ({found.path})")


def npm(context: Context) -> Diagnosis:
    """npm, which brings CCR."""
    if context.settings.ccr_command:
        return skip(f"{_OWN}, and npm is not asked for it")
    found = context.node
    if found.npm:
        return ok(f"npm beside Node ({found.npm[-1]})")
    return fail(
        f"Node {found.version} ({found.path}) has no npm, so Claude Code Router cannot be fetched.",
        _install_node(),
    )


def package(context: Context) -> Diagnosis:
    """The pinned CCR: installed and as its authors published it, or to be had."""
    version, paths = context.settings.ccr_version, context.paths
    if context.settings.ccr_command:
        return _own_command(context)
    try:
        pin = generation_of(version).pins.get(version)
    except RuntimeMissing as error:
        in_environment = "SYNCCR_CCR_VERSION" in context.environ
        return fail(
            error.what,
            lines.unset(["SYNCCR_CCR_VERSION"]) if in_environment else lines.edit(paths.settings),
        )
    installed = Installation(paths.cache, version, pin)
    try:
        found = installed.entry()
    except RuntimeMissing as error:
        return fail(error.what, lines.remove([installed.place]), lambda: _fetch(context))
    if found:
        by = "against what its authors published" if pin else "by npm alone"
        return ok(f"Claude Code Router {version}, checked {by}")
    return _offered(context, version, pin)


def _own_command(context: Context) -> Diagnosis:
    try:
        settings, cache = context.settings, context.paths.cache
        command = own_command(settings.ccr_command, context.environ, cache).command
    except RuntimeMissing as error:
        in_environment = "SYNCCR_CCR_COMMAND" in context.environ
        edit = lines.edit(context.paths.settings)
        return fail(error.what, lines.unset(["SYNCCR_CCR_COMMAND"]) if in_environment else edit)
    return ok(f"{_OWN}, unchecked: {' '.join(command)}")


def _fetch(context: Context) -> str:
    version = context.settings.ccr_version
    asyncio.run(PackageSource(version, context.environ, context.paths.cache).now())
    return f"Claude Code Router {version} was fetched anew."


def _offered(context: Context, version: str, pin: Pin | None) -> Diagnosis:
    """Whether npm's registry has the version; asked without fetching it."""
    if not context.node.npm:
        raise Blocked("npm.present")
    view = ("view", f"{_PACKAGE}@{version}", "dist.integrity")
    asked = subprocess.run(
        [*context.node.npm, *view, "--prefer-offline", "--json"],
        env={
            "npm_config_fetch_retries": "0",
            **context.node.environ(context.environ),
            "npm_config_update_notifier": "false",
        },
        cwd=_neutral(context),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_ASK_NPM,
        check=False,
    )
    try:
        integrity = json.loads(asked.stdout or b"null")
    except ValueError:
        integrity = None
    missing = f"Claude Code Router {version} is not installed yet"
    fetch = f"npm cache add {_PACKAGE}@{version}"
    if asked.returncode or not isinstance(integrity, str):
        code = next(
            (
                line.split()[-1]
                for line in asked.stderr.decode(errors="replace").splitlines()
                if " code " in line
            ),
            f"exit code {asked.returncode}",
        )
        return fail(f"{missing}, and npm cannot get it ({code}).", fetch)
    if pin and pin.integrity != integrity:
        return fail(
            f"{missing}, and npm's registry offers another archive than its authors published.",
            "npm config delete registry",
        )
    return ok(f"{missing}; the first start fetches it")


def _neutral(context: Context) -> Path:
    """A directory without a project's ``.npmrc``."""
    directory = context.paths.cache
    while not directory.is_dir():
        directory = directory.parent
    return directory


def global_ccr(context: Context) -> Diagnosis:
    """A ``ccr`` on the PATH that reads and writes the same directory in another way."""
    wanted = named_version(context.settings.ccr_command)
    if wanted == UNKNOWN:
        wanted = context.settings.ccr_version
    program = shutil.which("ccr", path=context.environ.get("PATH", os.defpath))
    if program is None:
        return ok("no ccr on the PATH that could get in the way")
    root = package_root(Path(program))
    if root is None:
        return ok(f"{program} is not Claude Code Router")
    version = package_version(root) or "of an unknown version"
    if version == wanted:
        return ok(f"{program} is {version}, as here")
    prefix = _prefix(root)
    at = f" --prefix {lines.quote(prefix)}" if prefix else ""
    same = f"npm install -g{at} {_PACKAGE}@{wanted}"
    apart = _is_apart(version)
    if apart and context.generation and context.generation.apart:
        return ok(f"{program} is Claude Code Router {version}, which leaves synccr's alone")
    if not apart:
        return warn(
            f"{program} is Claude Code Router {version}, synccr runs {wanted}: ccr commands that "
            "you type act as that version does.",
            same,
        )
    remove = f"npm uninstall -g{at} {_PACKAGE}"
    habits = "uses the same port and rewrites Claude Code's settings"
    if (context.paths.ccr / DATABASE).exists():
        return warn(f"{program} is Claude Code Router {version}: its start {habits}.", remove)
    return fail(
        f"{program} is Claude Code Router {version}: its first start takes config.json away, "
        f"{habits}.",
        remove,
    )


def _is_apart(version: str) -> bool:
    """Whether this CCR does not use the directory that CCR 2 reads."""
    try:
        return generation_of(version).apart
    except RuntimeMissing:
        return True


def _prefix(root: Path) -> Path | None:
    """npm's global prefix that holds a package."""
    modules = root.parents[1]
    if modules.name != "node_modules":
        return None
    return modules.parent.parent if modules.parent.name == "lib" else modules.parent


def runtime(context: Context) -> Diagnosis:
    """Variables that make Node or CCR behave otherwise than configured."""
    findings = []
    for name, what in _MEDDLING.items():
        if context.environ.get(name) not in _HARMLESS:
            findings.append(warn(f"{name} is set: {what}", lines.unset([name])))
    return together(findings) if findings else ok("no variable changes how CCR runs")


_HARMLESS = (None, "", "1")
_MEDDLING = {
    "NODE_TLS_REJECT_UNAUTHORIZED": "synccr does not follow it; with a bare ccr start "
    "anybody on the way to the provider can read your key.",
    "SERVICE_PORT": "a bare ccr start listens there instead of on its PORT.",
}
