"""A home for the doctor's tests: troubles are put into it, and lines are pasted in it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from ccr3_kit import lay_out
from home import KEY, Home
from processes import started
from provider import FakeProvider
from synccr.paths import Paths

PROGRAMS = Path(sys.executable).parent


@dataclass
class Stage:
    """A home with a provider, and what a case has put there."""

    home: Home
    provider: FakeProvider
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.home.env["PATH"] = f"{PROGRAMS}{os.pathsep}{self.home.env['PATH']}"
        self.home.use(self.provider)
        self.home.config.chmod(0o700)
        self.profile.chmod(0o600)

    @property
    def profile(self) -> Path:
        return self.home.config / "ccr-config.json"

    @property
    def instance(self) -> Path:
        return Paths(
            ccr=self.home.ccr,
            config=self.home.config,
            state=self.home.root / ".local/state/synccr",
            cache=self.home.root / ".cache/synccr",
            log=self.home.root,
        ).instance

    def change(self, **changes: Any) -> None:
        """Other top-level values in the profile."""
        document = json.loads(self.profile.read_bytes()) | changes
        self.profile.write_text(json.dumps(document))

    def replace(self, old: str, new: str) -> None:
        """Other words in the profile."""
        text = self.profile.read_text()
        assert old in text
        self.profile.write_text(text.replace(old, new))

    def put(self, name: str, content: str, mode: int = 0o600) -> Path:
        """A file below the home."""
        path = self.home.root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        return path

    def doctor(self, *arguments: str) -> dict[str, Any]:
        """One run: its document."""
        done = self.home.run("doctor", "--json", *arguments)
        assert "Traceback" not in done.stderr, done.stderr
        assert KEY not in done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if document["summary"]["fail"] else 0)
        return document

    def check(self, name: str, *arguments: str) -> dict[str, Any]:
        """One check's result."""
        rows = self.doctor(*arguments, name)["checks"]
        assert [row["id"] for row in rows] == [name]
        return dict(rows[0])

    def paste(self, line: str, *, typed: str = "", editor: str = "false") -> str:
        """Type a line into a shell; what it exports or unsets stays."""
        after = self.home.root / "environment"
        env = self.home.env | {"EDITOR": editor}
        done = subprocess.run(
            ["bash", "-c", f'{line}\n[ $? = 0 ] || exit 1\nenv -0 >"$0"', str(after)],
            env=env,
            cwd=self.home.root,
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        pairs = (p.partition("=") for p in after.read_text().split("\0") if p)
        kept = {n: v for n, _, v in pairs if n not in {"EDITOR", "_", "SHLVL", "PWD", "OLDPWD"}}
        after.unlink()
        self.home.env.clear()
        self.home.env.update(kept)
        return done.stdout + done.stderr


def env(**variables: str) -> Callable[[Stage], None]:
    return lambda stage: stage.home.env.update(variables)


def unset(name: str) -> Callable[[Stage], None]:
    return lambda stage: stage.home.env.__delitem__(name)


def file(name: str, content: str, mode: int = 0o600) -> Callable[[Stage], Any]:
    return lambda stage: stage.put(name, content, mode)


def words(old: str, new: str) -> Callable[[Stage], None]:
    return lambda stage: stage.replace(old, new)


def config(**changes: Any) -> Callable[[Stage], Any]:
    """A configuration of CCR's that a person wrote."""

    def write(stage: Stage) -> None:
        document = json.loads(stage.profile.read_bytes()) | changes
        text = "// mine\n" + json.dumps(document, indent=1)
        stage.put(".claude-code-router/config.json", text)

    return write


def behave(model: str, behaviour: str) -> Callable[[Stage], None]:
    return lambda stage: stage.provider.set(model, behaviour)


def listener(stage: Stage) -> None:
    """Somebody else on the port."""
    taken = socket.create_server(("127.0.0.1", stage.home.port))
    stage.held.callback(taken.close)


def global_ccr(version: str) -> Callable[[Stage], None]:
    """A global CCR as npm installs it."""

    def install(stage: Stage) -> None:
        prefix = stage.home.root / "prefix"
        root = prefix / "lib/node_modules/@musistudio/claude-code-router"
        manifest = {"name": "@musistudio/claude-code-router", "version": version}
        manifest |= {"bin": {"ccr": "dist/cli.js"}}  # type: ignore[dict-item]
        base = root.relative_to(stage.home.root)
        stage.put(f"{base}/package.json", json.dumps(manifest))
        stage.put(f"{base}/dist/cli.js", "#!/usr/bin/env node\n", 0o700)
        (prefix / "bin").mkdir()
        (prefix / "bin" / "ccr").symlink_to(root / "dist/cli.js")
        stage.home.env["PATH"] = f"{prefix / 'bin'}{os.pathsep}{stage.home.env['PATH']}"

    return install


def upgraded(stage: Stage) -> None:
    """CCR 3 has taken over the config.json of CCR 2, and there is no profile of synccr's."""
    stage.profile.unlink()
    lay_out(stage.home.root, "upgraded", origin=stage.provider.base_url, port=stage.home.port)


def ccr3_has_left(stage: Stage) -> None:
    """Claude Code's settings as CCR 3 leaves them."""
    lay_out(stage.home.root, "native")


def stranger(stage: Stage) -> None:
    """A process that has nothing to do with CCR, named in CCR's pid file."""
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = stage.held.enter_context(started(sleeps))

    def lives() -> None:
        assert process.poll() is None, "a stranger was ended"

    stage.held.callback(lives)
    stage.put(".claude-code-router/.claude-code-router.pid", str(process.pid))


def dead_pid(stage: Stage) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    stage.put(".claude-code-router/.claude-code-router.pid", process.stdout.strip())


def leftovers(stage: Stage) -> None:
    """The address of a supervisor that is gone, and half a file, years old."""
    stage.put(str((stage.instance / "control.json").relative_to(stage.home.root)), "{}")
    half = stage.put(".claude-code-router/.config.json.abc.tmp", "{")
    os.utime(half, (1e9, 1e9))


def project(stage: Stage, name: str, default: str) -> None:
    """Routes of a project or session, which CCR reads when Claude Code knows it."""
    stage.put(".claude/projects/-srv-project/0f3a.jsonl", "")
    routes = json.dumps({"Router": {"default": default}})
    stage.put(f".claude-code-router/-srv-project/{name}", routes)


def not_cached(stage: Stage) -> None:
    """Nothing installed, an empty npm cache and no registry."""
    shutil.rmtree(stage.home.cache / "ccr")
    stage.home.env["npm_config_cache"] = str(stage.home.root / "npm")
    stage.home.env["npm_config_registry"] = "http://127.0.0.1:9"


def altered(stage: Stage) -> None:
    """A file of the package that is not what its authors published."""
    (script,) = stage.home.cache.glob("ccr/2.0.0/node_modules/@*/*/dist/cli.js")
    text = script.read_text()
    script.unlink()  # the file is shared with other homes
    script.write_text(text + "\n// altered")


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers 404 with the time of a clock that may be wrong."""

    ahead = timedelta()

    def do_GET(self) -> None:
        self.send_response_only(404)
        self.send_header("Date", format_datetime(datetime.now(UTC) + self.ahead, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


def serve(stage: Stage, handler: type[_Server], tls: ssl.SSLContext | None = None) -> str:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    stage.held.callback(end)
    return f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"


def clock(stage: Stage) -> None:
    handler = type("Wrong", (_Server,), {"ahead": timedelta(days=1)})
    stage.held.callback(lambda: None)
    stage.wrong = handler  # type: ignore[attr-defined]
    stage.replace(stage.provider.url("openai"), f"{serve(stage, handler)}/v1/chat/completions")


def right_clock(stage: Stage) -> None:
    stage.wrong.ahead = timedelta()  # type: ignore[attr-defined]


def self_signed(stage: Stage) -> None:
    """A provider whose certificate comes from an authority that nobody knows."""
    key, cert = stage.home.root / "key.pem", stage.home.root / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    url = serve(stage, _Server, context)
    stage.replace(stage.provider.url("openai"), f"{url}/v1/chat/completions")


def claude(stage: Stage, script: str = "echo '2.1.197 (Claude Code)'") -> None:
    path = stage.put("bin/claude", f"#!/bin/sh\n{script}\n", 0o700)
    stage.home.env["PATH"] = f"{path.parent}{os.pathsep}{stage.home.env['PATH']}"


def settings(**document: Any) -> str:
    return json.dumps(document, indent=1)


def quota(used: int) -> Callable[[Stage], None]:
    renews = "2031-01-01T00:00:00Z"
    document = {"subscription": {"limit": 100, "requests": used, "renewsAt": renews}}

    def tell(stage: Stage) -> None:
        stage.provider.quotas = document

    return tell


def registry(stage: Stage) -> str:
    """The registry that npm uses on this machine."""
    env = {n: v for n, v in os.environ.items() if n != "npm_config_cache"}
    asked = subprocess.run(["npm", "config", "get", "registry"], env=env, capture_output=True,
                           text=True, check=True, cwd=stage.home.root)  # fmt: skip
    return asked.stdout.strip()
