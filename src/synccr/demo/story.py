"""The demonstration: the whole main job on the demo's provider, in a directory of its own.

What a user would type is run as a user would run it, each command a process;
only the provider is ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccr.ccr.package_source import PackageSource
from synccr.config.profile import Role
from synccr.config.store import FILES, shipped
from synccr.demo.provider import CHAT_PATH, DemoProvider
from synccr.errors import SynccrError
from synccr.ports import free_port
from synccr.settings import load

MAIN = "hf:Qwen/Qwen3-Coder-480B-A35B-Instruct"
FALLBACK = "hf:Qwen/Qwen2.5-Coder-32B-Instruct"
LONG = "hf:deepseek-ai/DeepSeek-V3"

_PATIENCE = 30.0
_RECOVERY = "2"


def run_demo(*, keep: bool = False, ccr: str | None = None) -> int:
    """Show it. Returns the exit code: 0 when everything went as told.

    Args:
        keep: the directory stays.
        ccr: which version of CCR is shown; None for the one that synccr runs by itself.

    Raises:
        UsageError: that is no version.
        RuntimeMissing: it cannot be run here.
    """
    home = Path(tempfile.mkdtemp(prefix="synccr-demo-"))
    key = f"demo-{secrets.token_hex(12)}"
    environ = environment(home, key, ccr)
    try:
        if ccr is not None:
            load(Path(os.devnull), {}, ccr_version=ccr)
            named = PackageSource(ccr, environ, home / ".cache", origin=lambda: "is set by --ccr")
            asyncio.run(named.check())
        with DemoProvider([MAIN, FALLBACK, LONG], key=key) as provider:
            return _show(Demo(home, provider, environ))
    finally:
        if keep:
            _say(f"Kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


def _show(demo: Demo) -> int:
    try:
        demo.play()
    except SynccrError as error:
        _say(f"\nThe demo did not go as it should: {error}")
        return 1
    finally:
        demo.synccr("stop", shown=False)
    return 0


@dataclass
class Demo:
    """One showing.

    Attributes:
        home: the directory that stands for a user's home.
        provider: what stands in for synthetic.new.
        environ: the environment of every command.
    """

    home: Path
    provider: DemoProvider
    environ: dict[str, str]

    def play(self) -> None:
        """Start, answer, run out of credit, swap, top up, come back."""
        write_profiles(self.home, self.provider.base_url + CHAT_PATH)
        _say("An embedded provider stands in for synthetic.new; everything else is real.\n")
        self.synccr("start", "--detach")
        self.ask("What is 1 + 1? echo:two", MAIN)
        _say("\n# The main model runs out of credit: the provider answers 402 from now on.")
        self.provider.unpaid.add(MAIN)
        self.ask("And 2 + 2? echo:four", FALLBACK)
        status = self.wait_for("fallback")
        swap = status["last_swap"]
        _say(
            f"# {swap['from']} -> {swap['to']}: {swap['model']} is {swap['reason']}; "
            f"swapped in {swap['took_ms']} ms."
        )
        self.ask("And 3 + 3? echo:six", FALLBACK)
        self.synccr("status")
        _say("\n# Somebody tops up. synccr notices by itself (here it looks every 2 s).")
        self.provider.unpaid.remove(MAIN)
        self.wait_for("primary")
        self.ask("And 4 + 4? echo:eight", MAIN)
        self.synccr("events")
        self.synccr("stop")

    def ask(self, prompt: str, model: str) -> None:
        """Send a prompt; the answer and the model must be the right ones."""
        done = self.synccr("ask", prompt)
        expected = prompt.partition("echo:")[2]
        if done.stdout.strip() != expected or model not in done.stderr:
            raise SynccrError(f"{model} should have answered {expected!r}.")

    def wait_for(self, profile: str) -> dict[str, Any]:
        """Wait until a profile serves; its status."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            done = self.synccr("status", "--json", shown=False)
            status: dict[str, Any] = json.loads(done.stdout or "{}")
            if status.get("profile") == profile and status.get("state") == "running":
                return status
            time.sleep(0.1)
        raise SynccrError(f"The {profile} profile should serve by now.")

    def synccr(self, *arguments: str, shown: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command and show it as a terminal would."""
        if shown:
            _say(f"$ synccr {' '.join(a if ' ' not in a else repr(a) for a in arguments)}")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "synccr", *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if shown:
            _say((done.stdout + done.stderr).rstrip())
            if done.returncode:
                raise SynccrError(f"synccr {arguments[0]} ended with {done.returncode}.")
        return done


def write_profiles(home: Path, api_base_url: str) -> None:
    """The shipped profiles, with a provider's address and a free port."""
    port = free_port()
    directory = home / ".config" / "synccr"
    directory.mkdir(parents=True)
    roles: tuple[Role, ...] = ("primary", "fallback")
    for role in roles:
        document = json.loads(shipped(role).read_bytes())
        document["PORT"] = port
        document["Providers"][0]["api_base_url"] = api_base_url
        (directory / FILES[role]).write_text(json.dumps(document, indent=2))


def environment(home: Path, key: str, ccr: str | None = None) -> dict[str, str]:
    """The user's, but for the home, synccr's own settings and the provider's key."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SYNCCR_", "XDG_", "ANTHROPIC_"))
    }
    real_home = os.environ.get("HOME") or os.environ.get("USERPROFILE") or str(home)
    npm = Path(os.environ.get("npm_config_cache") or Path(real_home, ".npm"))  # noqa: SIM112
    return {
        **kept,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_STATE_HOME": str(home / ".state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "SYNTHETIC_API_KEY": key,
        "SYNCCR_RECOVERY_INTERVAL": _RECOVERY,
        "SYNCCR_SWAP_COOLDOWN": "1",
        **({"SYNCCR_CCR_VERSION": ccr} if ccr else {}),
        "NO_COLOR": "1",
        **({"npm_config_cache": str(npm)} if os.access(npm, os.W_OK) else {}),
    }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
