"""npx: have it bring a package, and say in one sentence why it did not."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path

from synccr.ccr.node import Node
from synccr.ccr.process_id import descendants, end_now, identify
from synccr.ccr.spawn import guarded
from synccr.errors import RuntimeMissing
from synccr.files import private_directory, write_atomic
from synccr.redact import Redactor

NAME = "@musistudio/claude-code-router"


async def fetch(
    version: str, node: Node, environ: Mapping[str, str], cache: Path, timeout: float
) -> tuple[Path, ...]:
    """Have npx install the package.

    Args:
        version: exact.
        node: with npm.
        environ: where npm's settings come from.
        cache: our own cache directory, for a project that npx works in.
        timeout: seconds.

    Returns:
        every ``node_modules`` on the ``PATH`` that npx made, the package's own first.

    Raises:
        RuntimeMissing: no such version, no network, or npm failed.
    """
    workplace = _workplace(cache)
    defaults = {
        # Two quick tries: npm's own pauses make a person without a network wait 70 s.
        "npm_config_fetch_retries": "2",
        "npm_config_fetch_retry_mintimeout": "500",
        "npm_config_fetch_retry_maxtimeout": "3000",
    }
    settings = {
        **defaults,
        **node.environ(environ),
        "npm_config_ignore_scripts": "true",  # CCR is a bundle: nothing has to be built
        "npm_config_update_notifier": "false",
        "npm_config_audit": "false",
        "npm_config_fund": "false",
    }
    command = (*node.npx, "--yes", f"--package={NAME}@{version}", "--")
    process = await asyncio.create_subprocess_exec(
        *guarded((*command, "node", "-p", "process.env.PATH")),
        cwd=workplace,
        env=settings,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=os.name == "posix",  # Ctrl-C reaches npm through us alone
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        raise RuntimeMissing(
            f"npm did not bring Claude Code Router {version} within {timeout:g} s.",
            "Check the network and npm's cache directory (npm config get cache), then start again.",
        ) from None
    finally:
        if process.returncode is None:
            _end_tree(process.pid)
            await process.wait()
    if process.returncode:
        raise _npm_failure(version, err.decode(errors="replace"))
    lines = out.decode(errors="replace").split("\n")
    directories = [Path(entry) for line in lines for entry in line.strip().split(os.pathsep)]
    return tuple(entry.parent for entry in directories if entry.name == ".bin")


def _workplace(cache: Path) -> Path:
    """A project of our own for npx to run in, so that no project's ``.npmrc`` has a say."""
    try:
        workplace = private_directory(cache / "npm")
        manifest = workplace / "package.json"
        if not manifest.exists():
            write_atomic(manifest, b'{"private": true}\n')
    except OSError as error:
        raise RuntimeMissing(
            f"{cache} cannot be written: {error.strerror}.", "Make it writable, or free space."
        ) from error
    return workplace


def _end_tree(pid: int) -> None:
    root = identify(pid)
    if root:
        for member in (root, *descendants(root)):
            end_now(member)


_CODE = re.compile(r"^npm (?:error|ERR!) code (\S+)", re.MULTILINE)
_WORDS = re.compile(
    r"^npm (?:error|ERR!) (?!code |syscall |errno |path |dest |A complete log|Log files)"
    r"(?:(?:notarget|network|nospc|enoent|\d{3}) )?(\S.*)$",
    re.MULTILINE,
)
_NO_SUCH = {"ETARGET", "E404", "ENOVERSIONS"}
_NO_NETWORK = {
    *("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH"),
    *("EHOSTUNREACH", "ENOTCACHED", "ERR_SOCKET_TIMEOUT", "EPIPE", "ENETDOWN"),
}


def _npm_failure(version: str, stderr: str) -> RuntimeMissing:
    """npm's failure in one sentence."""
    code = match[1] if (match := _CODE.search(stderr)) else ""
    words = match[1] if (match := _WORDS.search(stderr)) else stderr.strip().rpartition("\n")[2]
    detail = Redactor().line(words) or "no reason given"
    if code in _NO_SUCH:
        return RuntimeMissing(
            f"npm has no Claude Code Router {version}: {detail}",
            "Set ccr_version to a version that exists, such as 2.0.0.",
        )
    if code in _NO_NETWORK:
        return RuntimeMissing(
            f"npm cannot reach its registry ({code}), and Claude Code Router {version} is not in "
            "npm's cache.",
            "Connect once, or check the proxy settings of npm, then start again.",
        )
    return RuntimeMissing(
        f"npm could not fetch Claude Code Router {version}: {detail}",
        f"Try it by hand: npx --yes --package={NAME}@{version} -- ccr -v",
    )
