"""Makes tests/unit/data/ccr3-*.zip: homes in which the real CCR 3 has run.

    python tests/ccr3_capture.py NODE CLI

NODE is a Node that CCR 3 runs on, CLI its ``dist/main/cli.js``. The homes are beneath
``/tmp/ccr3-capture`` meanwhile, which stands in some of the files.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

HOME = "/tmp/ccr3-capture"
ORIGIN = "http://127.0.0.1:9"
"""Of every provider; nothing listens there."""
PORT = 39456
DATA = Path(__file__).parent / "unit" / "data"
_ROOMS = (".claude", ".claude-code-router")
_LEFT_OUT = "ccr-codex-cli-middleware.js"
"""Of 300 kB."""
_PATIENCE = 60.0


def _sets(model: str) -> list[dict[str, str]]:
    return [{"key": "request.body.model", "operation": "set", "value": model}]


def _rule(number: int, name: str, condition: str, model: str) -> dict[str, Any]:
    left, operator, *right = condition.split(" ")
    at = {"left": left, "operator": operator, "right": " ".join(right)}
    kind = {"id": f"r{number}", "name": name, "enabled": True, "type": "condition"}
    return kind | {"condition": at, "rewrites": _sets(model)}


NATIVE: dict[str, Any] = {
    "PORT": PORT,
    "APIKEY": "key-of-the-port-3f1d",
    "Providers": [
        {
            "id": "one",
            "name": "acme",
            "api_base_url": f"{ORIGIN}/openai/v1",
            "api_key": "key-of-acme-7a1c",
            "models": ["vendor/main-480b", "vendor/spare-32b", "vendor/long-v3"],
            "protocol": "openai_chat_completions",
            "extraBody": {"default": {"top_p": 0.9}, "vendor/main-480b": {"temperature": 0.3}},
        },
        {
            "id": "two",
            "name": "anth",
            "api_base_url": f"{ORIGIN}/anthropic",
            "api_key": "key-of-anth-19be",
            "models": ["am"],
            "protocol": "anthropic",
        },
        {
            "name": "pool",
            "api_base_url": f"{ORIGIN}/pool/v1",
            "models": ["pm"],
            "credentials": [
                {"id": "c2", "name": "second", "api_key": "key-of-pool-2d2d", "priority": 2},
                {"id": "c1", "name": "first", "api_key": "key-of-pool-1c1c", "priority": 1},
            ],
        },
        {
            "id": "off",
            "name": "off",
            "api_base_url": f"{ORIGIN}/off/v1",
            "api_key": "key-of-off-0f0f",
            "models": ["om"],
            "enabled": False,
        },
    ],
    "Router": {
        "rules": [
            _rule(1, "small", "request.body.model contains haiku", "acme/vendor/spare-32b"),
            _rule(2, "long", "request.tokenCount > 60000", "one/vendor/long-v3"),
            _rule(3, "odd", "request.header.x-any == v", "anth/am"),
            _rule(4, "all", "request.body.model != ", "acme/vendor/main-480b"),
        ],
        "fallback": {
            "mode": "model-chain",
            "models": ["acme/vendor/spare-32b", "anth/am"],
            "retryCount": 1,
        },
    },
}
"""As a person has it who configured CCR 3 on its page."""

UPGRADED: dict[str, Any] = {
    "PORT": PORT,
    "APIKEY": "key-of-the-port-3f1d",
    "LOG": True,
    "API_TIMEOUT_MS": 600000,
    "Providers": [
        {
            "name": "acme",
            "api_base_url": f"{ORIGIN}/openai/v1/chat/completions",
            "api_key": "$ACME_KEY",
            "models": ["vendor/main-480b", "vendor/spare-32b", "vendor/long-v3"],
            "transformer": {"vendor/main-480b": {"use": [["sampling", {"temperature": 0.5}]]}},
        },
        {
            "name": "anth",
            "api_base_url": f"{ORIGIN}/anthropic/v1/messages",
            "api_key": "key-of-anth-19be",
            "models": ["am"],
            "transformer": {"use": ["Anthropic"]},
        },
    ],
    "Router": {
        "default": "acme,vendor/main-480b",
        "background": "acme,vendor/spare-32b",
        "longContext": "acme,vendor/long-v3",
        "longContextThreshold": 70000,
    },
    "fallback": {"default": ["acme,vendor/spare-32b"]},
}
"""A configuration of CCR 2, at which somebody typed the name of the package without a version."""


def capture(name: str, config: dict[str, Any], node: str, cli: str) -> None:
    """Run CCR 3 in a fresh home, and keep the home."""
    home = Path(HOME)
    shutil.rmtree(home, ignore_errors=True)
    own = home / ".claude-code-router"
    own.mkdir(parents=True, mode=0o700)
    (own / "config.json").write_text(json.dumps(config, indent=1))
    with (home / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [node, cli, "serve", "--no-open", "--port", str(PORT + 10)],
            cwd=home,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": HOME,
                "XDG_CONFIG_HOME": f"{HOME}/.config",
                "ACME_KEY": "canary-2f7d90b1c4e85a36",
                "CCR_RAW_TRACE_ENABLED": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            umask=0o077,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while "management is running" not in (home / "output.txt").read_text():
            assert process.poll() is None, (home / "output.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    _pack(home, DATA / f"ccr3-{name}.zip")
    shutil.rmtree(home)


def _pack(home: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for room in _ROOMS for path in (home / room).rglob("*")):
            if path.name != _LEFT_OUT:
                archive.write(path, path.relative_to(home))


if __name__ == "__main__":
    for which, document in {"native": NATIVE, "upgraded": UPGRADED}.items():
        capture(which, document, *sys.argv[1:3])
