"""npm: have it install a package in a directory of ours, and say in one sentence why it did not."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synccr.ccr.node import VANISHED_HINT, Node
from synccr.ccr.process import end_tree_now, identify, with_parent_death_signal
from synccr.errors import RuntimeMissing
from synccr.redact import Redactor

NAME = "@musistudio/claude-code-router"

# On the command line, where they count for more than a person's .npmrc and environment.
_OPTIONS = (
    "--ignore-scripts",  # CCR is a bundle: nothing has to be built
    *("--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier"),
    *("--no-global", "--no-dry-run", "--package-lock", "--install-strategy=hoisted"),
    *("--no-color", "--loglevel=error"),  # its reasons are read
)
_DEFAULTS = {
    # Two quick tries: npm's own pauses make a person without a network wait 70 s.
    "npm_config_fetch_retries": "2",
    "npm_config_fetch_retry_mintimeout": "500",
    "npm_config_fetch_retry_maxtimeout": "3000",
}


class NotInRegistry(RuntimeMissing):
    """npm's registry answers that it has no such package, or no such version of it.

    Attributes:
        package: which; empty when npm does not say.
    """

    def __init__(self, what: str, todo: str, package: str) -> None:
        super().__init__(what, todo)
        self.package = package


class NoAnswer(RuntimeMissing):
    """npm's registry does not answer, and npm's cache does not hold what is asked for.

    Attributes:
        asked: False when npm is set up to work without a network.
    """

    def __init__(self, what: str, todo: str, *, asked: bool) -> None:
        super().__init__(what, todo)
        self.asked = asked


@dataclass(frozen=True)
class Npm:
    """npm as one person has set it up.

    Attributes:
        node: whose npm it is.
        environ: npm's settings come from here and from the person's ``.npmrc``.
        timeout: seconds; npm 11 was seen to spin for ever on a cache directory that cannot be
            made.
    """

    node: Node
    environ: Mapping[str, str] = field(repr=False)
    timeout: float

    async def install(self, version: str, directory: Path, *arguments: str) -> None:
        """Install CCR in a directory that has a ``package.json``.

        What npm's cache holds is taken from there without asking the registry.

        Args:
            version: exact.
            directory: its ``package.json`` keeps npm from looking for a project further up.
            arguments: ``ci``, where a ``package-lock.json`` lies that has everything, or
                ``install`` and what.

        Raises:
            NotInRegistry: no such version, or something that it names is not there.
            NoAnswer: no network.
            RuntimeMissing: npm failed, or it is no longer there.
        """
        command = (*self.node.npm, *arguments, *_OPTIONS)
        settings = {**_DEFAULTS, **self.node.environ(self.environ)}
        try:
            async with asyncio.timeout(self.timeout):
                said = await _run((*command, "--prefer-offline"), directory, settings)
                if said and _record_may_be_old(said):
                    said = await _run((*command, "--prefer-online"), directory, settings)
        except TimeoutError:
            raise RuntimeMissing(
                f"npm did not bring Claude Code Router {version} within {self.timeout:g} s.",
                "Check the network and npm's cache directory (npm config get cache), then start "
                "again.",
            ) from None
        if said is not None:
            raise _vanished(version, self.node) or _failure(version, said)

    async def reaches_registry(self, directory: Path) -> bool:
        """Whether the registry answers at this moment, be it with an error."""
        settings = {**self.node.environ(self.environ), "npm_config_fetch_retries": "0"}
        try:
            async with asyncio.timeout(self.timeout):
                said = await _run((*self.node.npm, "ping"), directory, settings)
        except TimeoutError:
            return False
        return said is None or _code(said) not in _NO_NETWORK


async def _run(command: tuple[str, ...], directory: Path, environ: Mapping[str, str]) -> str | None:
    """Run npm, with all that it starts; what it, or the system, said when it failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *with_parent_death_signal(command),
            cwd=directory,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=os.name == "posix",  # Ctrl-C reaches npm through us alone
            umask=0o077 if os.name == "posix" else -1,
        )
    except OSError as error:
        return f"{command[0]} could not be run: {error.strerror or error}"
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            if root := identify(process.pid):
                end_tree_now(root)
            await process.wait()
    return said.decode(errors="replace") if process.returncode else None


_CODE = re.compile(r"^npm (?:error|ERR!) code (\S+)", re.MULTILINE)
_WORDS = re.compile(
    r"^npm (?:error|ERR!) (?!code |syscall |errno |path |dest |A complete log|Log files)"
    r"(?:(?:notarget|network|nospc|enoent|\d{3}) )?(\S.*)$",
    re.MULTILINE,
)
_PACKAGE = re.compile(r"(?:'|found for |available for )((?:@[^\s/@']+(?:/|%2f))?[^\s/@']+)")
_REMEDY = re.compile(r"^npm (?:error|ERR!) +(sudo chown .+)$", re.MULTILINE)
_NO_SUCH = {"ETARGET", "E404", "ENOVERSIONS"}
_NO_NETWORK = {
    *("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH"),
    *("EHOSTUNREACH", "ENOTCACHED", "ERR_SOCKET_TIMEOUT", "EPIPE", "ENETDOWN"),
}


def _code(stderr: str) -> str:
    return match[1] if (match := _CODE.search(stderr)) else ""


def _package(stderr: str) -> str:
    """Which package npm did not find; empty when it does not say."""
    match = _PACKAGE.search(stderr)
    return match[1].replace("%2f", "/") if match else ""


def _record_may_be_old(stderr: str) -> bool:
    """Whether npm has looked for a version in its own record, which may be from before it."""
    code = _code(stderr)
    return code in _NO_SUCH and not (code == "E404" and _package(stderr) not in ("", NAME))


def _vanished(version: str, node: Node) -> RuntimeMissing | None:
    """That a version manager took away what was found a moment ago, whatever was said of it."""
    gone = next((word for word in node.npm if not Path(word).exists()), None)
    if gone is None:
        return None
    return RuntimeMissing(
        f"{gone} is no longer there: Node {node.version}, or its npm, was removed before it could "
        f"fetch Claude Code Router {version}.",
        VANISHED_HINT,
    )


def _failure(version: str, stderr: str) -> RuntimeMissing:
    """npm's failure in one sentence."""
    code, line = _code(stderr), Redactor().line
    words = match[1] if (match := _WORDS.search(stderr)) else stderr.strip().rpartition("\n")[2]
    detail = line(words) or "no reason given"
    if code in _NO_SUCH:
        todo = "Set ccr_version to a version that exists, such as 2.0.0."
        if "with a date before" in words:
            todo = "Your .npmrc keeps back young packages (before, min-release-age): relax that."
        what = f"npm has no Claude Code Router {version}: {detail}"
        return NotInRegistry(what, todo, _package(stderr))
    if code in _NO_NETWORK:
        return NoAnswer(
            f"npm cannot reach its registry ({code}), and Claude Code Router {version} is not in "
            "npm's cache.",
            "Connect once, or check the proxy settings of npm, then start again.",
            asked=code != "ENOTCACHED",
        )
    remedy = match[1] if (match := _REMEDY.search(stderr)) else None
    return RuntimeMissing(
        f"npm could not fetch Claude Code Router {version}: {detail}",
        f"npm says: {line(remedy)}"
        if remedy
        else f"Try it by hand: npm cache add {NAME}@{version}",
    )
