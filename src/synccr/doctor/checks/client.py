"""Claude Code: there, and led to the router."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from synccr.config.store import keep_copy
from synccr.doctor import lines
from synccr.doctor.claude_settings import ORIGINAL, is_loopback, is_of_ccr3, without_ccr3
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis, fail, ok, together, warn
from synccr.files import write_atomic

_INSTALL = "npm install -g @anthropic-ai/claude-code"
_OTHER_CLOUDS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_ASK_TIMEOUT = 15.0
_CONNECT_TIMEOUT = 2.0


def present(context: Context) -> Diagnosis:
    """``claude`` on the PATH."""
    program = shutil.which("claude", path=context.environ.get("PATH", os.defpath))
    if program is None:
        return warn("Claude Code is not installed (no claude on the PATH).", _INSTALL)
    asked = subprocess.run(
        [program, "--version"],
        env=dict(context.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_ASK_TIMEOUT,
        check=False,
    )
    version = asked.stdout.decode(errors="replace").strip()
    if asked.returncode or not version:
        return fail(f"{program} does not run (exit code {asked.returncode}).", _INSTALL)
    return ok(f"{version.split()[0]} ({program})")


@dataclass(frozen=True)
class Source:
    """Where a setting of Claude Code comes from.

    Attributes:
        path: a settings file; None for the environment.
        env: the variables that it sets.
        helper: it names a program that provides the key.
        of_ccr3: CCR 3 wrote it, and takes nothing of it back at its end.
    """

    path: Path | None
    env: Mapping[str, str]
    helper: bool = False
    of_ccr3: bool = False

    def fix(self, name: str) -> str:
        """What takes a variable out."""
        return lines.edit(self.path) if self.path else lines.unset([name])

    def __str__(self) -> str:
        return str(self.path) if self.path else "the environment"


def sources(context: Context) -> Iterator[Source]:
    """As Claude Code reads them, the strongest first; ``env`` of a file goes before the shell."""
    claude = context.environ.get("CLAUDE_CONFIG_DIR")
    user = Path(claude) if claude else context.home / ".claude"
    project = context.cwd / ".claude"
    files = [
        *context.managed,
        project / "settings.local.json",
        project / "settings.json",
        user / "settings.json",
    ]
    for path in dict.fromkeys(files):
        document = _read(path)
        env = document.get("env")
        texts = {k: str(v) for k, v in env.items()} if isinstance(env, dict) else {}
        helper = bool(document.get("apiKeyHelper"))
        if texts or helper:
            of_ccr3 = path not in context.managed and is_of_ccr3(document)
            yield Source(path, texts, helper, of_ccr3)
    yield Source(None, context.environ)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def points(context: Context) -> Diagnosis:
    """Nothing leads Claude Code past the router."""
    status = context.status
    number = context.profiles.local.port
    here = status["endpoint"] if status else f"http://127.0.0.1:{number}"
    everything = list(sources(context))
    found = [source for source in everything if not source.of_ccr3]
    left = [
        _of_ccr3(s.path, s, here, runs=bool(status)) for s in everything if s.path and s.of_ccr3
    ]
    diagnoses = [*left, *_elsewhere(found, here), *_own_keys(found, here)]
    if diagnoses:
        return together(diagnoses)
    shell = next((s for s in everything if s.env.get("ANTHROPIC_BASE_URL")), None)
    if shell is None:
        return ok("nothing overrides the router; start Claude Code with synccr code")
    return ok(f"ANTHROPIC_BASE_URL of {shell} leads to the router")


def _of_ccr3(path: Path, source: Source, here: str, *, runs: bool) -> Diagnosis:
    """What CCR 3 wrote leads to it as long as it runs, and to a dead port from then on."""
    url = source.env.get("ANTHROPIC_BASE_URL", "")
    to_us = runs and (not url or _same(url, here))
    if url and not to_us and (not is_loopback(url) or _listens(url)):
        return fail(
            f"{path} leads Claude Code to {url} instead of {here}: CCR 3 wrote that. End CCR 3, "
            "then: synccr doctor --fix client.points",
            source.fix("ANTHROPIC_BASE_URL"),
        )
    what = f"leads Claude Code to {url}, where nobody listens"
    if to_us or not url:
        what = "makes Claude Code send CCR 3's key to synccr"
    return fail(
        f"{path} {what}: CCR 3 wrote that, and left it there.",
        lines.synccr("doctor", "--fix", "client.points"),
        lambda: _take_out(path),
    )


def _listens(url: str) -> bool:
    """Whether anybody takes a connection there."""
    try:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or 80)
        with socket.create_connection(address, timeout=_CONNECT_TIMEOUT):
            return True
    except (OSError, ValueError):
        return False


def _take_out(path: Path) -> str:
    document = _read(path)
    if not is_of_ccr3(document):
        return f"{path} has changed meanwhile."
    mended = without_ccr3(document, _read(path.with_name(path.name + ORIGINAL)))
    keep_copy(path)
    content = json.dumps(mended, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, content.encode(), mode=path.stat().st_mode & 0o777, follow=True)
    return f"what CCR 3 wrote is out of {path}; a copy is beside it."


def _elsewhere(found: list[Source], here: str) -> Iterator[Diagnosis]:
    for source in found:
        for name in _OTHER_CLOUDS:
            if source.env.get(name) not in (None, "", "0", "false"):
                yield fail(
                    f"{source} sets {name}, so Claude Code goes to that cloud and not to the "
                    "router.",
                    source.fix(name),
                )
    first = next((s for s in found if s.env.get("ANTHROPIC_BASE_URL")), None)
    if first is None or _same(first.env["ANTHROPIC_BASE_URL"], here):
        return
    url = first.env["ANTHROPIC_BASE_URL"]
    if first.path:
        yield fail(
            f"{first} leads Claude Code to {url} instead of {here}, whatever the shell or synccr "
            "code say.",
            first.fix("ANTHROPIC_BASE_URL"),
        )
    else:
        yield warn(
            f"ANTHROPIC_BASE_URL of this shell is {url} instead of {here} (synccr code sets it "
            "right).",
            lines.export("ANTHROPIC_BASE_URL", lines.quote(here)),
        )


def _own_keys(found: list[Source], here: str) -> Iterator[Diagnosis]:
    """A key of Anthropic's would be sent to the router, or asked about, instead of its own."""
    for source in found:
        if source.helper:
            yield warn(
                f"{source} has an apiKeyHelper, whose key Claude Code sends instead of the "
                "router's.",
                source.fix("apiKeyHelper"),
            )
        if not source.env.get("ANTHROPIC_API_KEY"):
            continue
        if source.path or _same(source.env.get("ANTHROPIC_BASE_URL", ""), here):
            yield warn(
                f"{source} sets ANTHROPIC_API_KEY, which Claude Code prefers to the router's key.",
                source.fix("ANTHROPIC_API_KEY"),
            )


def _same(url: str, here: str) -> bool:
    return url.rstrip("/").replace("//localhost", "//127.0.0.1") == here
