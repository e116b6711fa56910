"""Each check of the doctor provoked in a home of its own: its result is seen, its line is
pasted (or ``--fix`` given), and the check is seen in order afterwards."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from home import KEY, LONG, MAIN, SPARE, Home, free_port
from synccr.paths import Paths
from synccr.sandbox import ProviderThread

pytestmark = pytest.mark.integration

PROGRAMS = Path(sys.executable).parent


@dataclass
class Stage:
    """A home with a provider, and what a case has put there."""

    home: Home
    provider: ProviderThread
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


@pytest.fixture
def stage(home: Home, provider: ProviderThread) -> Iterator[Stage]:
    stage = Stage(home, provider)
    with stage.held:
        yield stage


@dataclass(frozen=True)
class Case:
    """One trouble.

    Attributes:
        check: which check sees it.
        provoke: brings it about.
        level: how bad it is.
        words: of the detail.
        paste: whether the line mends it; else ``then`` does, as a person would.
        typed, editor: what the person types, or does in the editor, while it is pasted.
        fix: ``--fix`` mends it too (and is tried first, on a second provocation).
        after: the state in the end.
    """

    check: str
    provoke: Callable[[Stage], Any]
    level: str
    words: tuple[str, ...] = ()
    paste: bool = True
    typed: str = ""
    editor: str = "false"
    fix: bool = False
    then: Callable[[Stage], Any] | None = None
    after: str = "ok"


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


def stranger(stage: Stage) -> None:
    """A process that has nothing to do with CCR, named in CCR's pid file."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def gone() -> None:
        assert process.poll() is None, "a stranger was ended"
        process.kill()
        process.wait()

    stage.held.callback(gone)
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
    """A socket that nobody listens on, and half a file, an hour old."""
    with socket.socket(socket.AF_UNIX) as dead:
        stage.instance.mkdir(mode=0o700, parents=True)
        dead.bind(str(stage.instance / "control.sock"))
    half = stage.put(".claude-code-router/.config.json.abc.tmp", "{")
    os.utime(half, (1e9, 1e9))


def not_cached(stage: Stage) -> None:
    """An empty npm cache and no registry."""
    stage.home.env["npm_config_cache"] = str(stage.home.root / "npm")
    stage.home.env["npm_config_registry"] = "http://127.0.0.1:9"


def altered(stage: Stage) -> None:
    """A file of the package that is not what its authors published."""
    mine = stage.home.root / "npm" / "_npx"
    for place in (stage.home.npm_cache / "_npx").iterdir():
        if (place / "node_modules/@musistudio/claude-code-router").is_dir():
            shutil.copytree(place, mine / place.name, symlinks=True)
    stage.home.env["npm_config_cache"] = str(mine.parent)
    found = 0
    for script in mine.glob("*/node_modules/@musistudio/claude-code-router/dist/cli.js"):
        script.write_text(script.read_text() + "\n// altered")
        found += 1
    if not found:
        pytest.skip("Claude Code Router is not in npm's cache yet")


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
        stage.provider.quotas = document  # type: ignore[attr-defined]

    return tell


LEAKED = json.dumps(
    {"level": 20, "time": 1, "pid": 1, "headers": {"authorization": f"Bearer {KEY}"}}
)
OLD_LEAK = json.dumps(
    {"level": 20, "msg": json.dumps({"headers": {"authorization": "Bearer formerkey-19d2"}})}
)
NEW_LOG = ".claude-code-router/logs/ccr-20250101000000.log"

CASES = [
    Case("settings.valid", env(SYNCCR_SWAP_COLDOWN="3"), "fail", ("SYNCCR_SWAP_COOLDOWN",)),
    Case(
        "settings.valid",
        file(".config/synccr/synccr.toml", "swap_coldown = 3\n"),
        "fail",
        ("swap_cooldown", "synccr.toml"),
        editor="sed -i s/coldown/cooldown/",
    ),
    Case("node.environment", env(NODE_TLS_REJECT_UNAUTHORIZED="0"), "warn", ("NODE_TLS",)),
    Case("node.environment", env(SERVICE_PORT="4000"), "warn", ("SERVICE_PORT",)),
    Case("ccr.package", env(SYNCCR_CCR_VERSION="3.1.1"), "fail", ("3.1.1", "not supported")),
    Case(
        "ccr.package",
        not_cached,
        "fail",
        ("not in npm's cache",),
        paste=False,
        then=lambda s: s.home.env.update(npm_config_registry=registry(s)),
    ),
    Case("ccr.package", altered, "fail", ("dist/cli.js",), fix=True),
    Case("ccr.global", global_ccr("3.1.1"), "fail", ("3.1.1", "takes config.json away")),
    Case("ccr.global", global_ccr("1.0.73"), "warn", ("1.0.73",), paste=False,
         then=lambda s: shutil.rmtree(s.home.root / "prefix")),
    Case("ccr.generation3", file(".claude-code-router/config.sqlite", ""), "fail",
         ("taken config.json away",)),
    Case(
        "ccr.generation3",
        lambda s: (config()(s), s.put(".claude-code-router/config.sqlite-wal", "")),
        "warn",
        ("removes it",),
    ),
    Case("config.valid", words('"acme,vendor/main', '"acne,vendor/main'), "fail",
         ("Router.default", "acme,"), editor="sed -i s/acne/acme/"),
    Case("config.valid", words('"default": "acme,vendor/main-480b"',
                               '"default": "acme,vendor/main-48b"'), "warn",
         ("Router.default", MAIN), editor="sed -i s/main-48b/main-480b/"),
    Case("config.valid", words("/openai/v1/chat/completions", ""), "warn",
         ("lacks its path",), editor="sed -i -E s#(http://[0-9.:]+)#\\1/v1/chat/completions#"),
    Case("config.valid", lambda s: s.put(".claude-code-router/config.json", "{"), "fail",
         ("config.json",), editor="cp .config/synccr/ccr-config.json"),
    Case("config.written", lambda s: s.put(".claude-code-router/config.json", "{"), "fail",
         ("config.json",), editor="cp .config/synccr/ccr-config.json"),
    Case("fallback.inflight", config(), "warn", ("fallback.default",)),
    Case("fallback.inflight", lambda s: s.change(
        Providers=[json.loads(s.profile.read_bytes())["Providers"][0] | {"models": [MAIN]}],
        Router={"default": f"acme,{MAIN}"}), "warn", ("one model",),
         editor="sed -i 's#\"models\": \\[#&\"vendor/spare-32b\",#'"),
    Case("fallback.inflight", env(SYNCCR_CCR_VERSION="1.0.73"), "warn", ("1.0.73",)),
    Case("keys.set", unset("ACME_KEY"), "fail", ("ACME_KEY",), typed=f"{KEY}\n"),
    Case("keys.set", env(ACME_KEY=f'"{KEY}"\n'), "fail", ("quotes",)),
    Case("keys.clear", words('"$ACME_KEY"', f'"{KEY}"'), "fail", ("a key in clear",), fix=True),
    Case(
        "keys.clear",
        lambda s: (s.replace('"$ACME_KEY"', f'"{KEY}"'), unset("ACME_KEY")(s)),
        "fail",
        ("ACME_API_KEY",),
        typed=f"{KEY}\n",
    ),
    Case("keys.clear", file(".claude-code-router/config.json.2024.bak", f'{{"x": "{KEY}"}}'),
         "fail", (".bak",), fix=True),
    Case("keys.clear", file(".claude/settings.json", settings(env={"X": KEY})), "fail",
         ("settings.json",), editor="sed -i s/canary.*[0-9]//"),
    Case("keys.clear", file(".claude-code-router/presets/mine/manifest.json",
                            settings(Providers=[{"api_key": "another-key-in-clear"}])),
         "fail", ("presets",), editor="sed -i s/another-key-in-clear/$ACME_KEY/"),
    Case("apikey.local", lambda s: None, "warn", ("no APIKEY",), fix=True),
    Case("files.modes", lambda s: s.profile.chmod(0o644), "warn", ("ccr-config.json",), fix=True),
    Case("files.modes", file(NEW_LOG, "x", 0o644), "warn", (".log",), fix=True),
    Case(
        "files.modes",
        lambda s: (s.replace('"$ACME_KEY"', f'"{KEY}"'), s.profile.chmod(0o640)),
        "fail",
        ("holds a key",),
        fix=True,
    ),
    Case("log.level", config(LOG_LEVEL="debug"), "fail", ("key and every prompt",), fix=True),
    Case("log.level", config(), "fail", ("no LOG_LEVEL",), fix=True),
    Case("log.level", config(LOG_LEVEL="info"), "warn", ("prompt",), fix=True),
    Case("log.leaks", file(NEW_LOG, LEAKED), "fail", ("A key stands in",), fix=True),
    Case("log.leaks", file(NEW_LOG, OLD_LEAK), "fail", ("A key stands in",), fix=True),
    Case("port.free", listener, "fail", (f"pid {os.getpid()}",), paste=False,
         then=lambda s: s.held.pop_all().close()),
    Case("pidfile.stale", stranger, "fail", ("no Claude Code Router",), fix=True),
    Case("pidfile.stale", dead_pid, "warn", ("does not run",), fix=True),
    Case("pidfile.stale", file(".claude-code-router/.claude-code-router.pid", "x"), "warn",
         ("no number",), fix=True),
    Case("state.leftovers", leftovers, "warn", ("control.sock", ".tmp"), fix=True),
    Case("client.present", lambda s: claude(s, "exit 1"), "fail", ("does not run",), paste=False,
         then=claude),
    Case(
        "client.points",
        file(".claude/settings.json", settings(env={"ANTHROPIC_BASE_URL": "https://x.test"})),
        "fail",
        ("https://x.test", "settings.json"),
        editor="sed -i s/ANTHROPIC_BASE_URL/X/",
    ),
    Case("client.points", file(".claude/settings.json", settings(apiKeyHelper="/bin/true")),
         "warn", ("apiKeyHelper",), editor="sed -i s/apiKeyHelper/X/"),
    Case("client.points", file(".claude/settings.json",
                               settings(env={"CLAUDE_CODE_USE_BEDROCK": "1"})),
         "fail", ("BEDROCK",), editor="sed -i s/CLAUDE/X/"),
    Case("client.points", env(ANTHROPIC_BASE_URL="https://x.test"), "warn", ("https://x.test",)),
    Case("client.points",
         lambda s: s.home.env.update(ANTHROPIC_BASE_URL=f"http://127.0.0.1:{s.home.port}",
                                     ANTHROPIC_API_KEY="of-anthropic-9d81"),
         "warn", ("ANTHROPIC_API_KEY",)),
    Case("provider.dns", words("http://127.0.0.1", "http://no-such-host.invalid"), "fail",
         ("no-such-host.invalid",), editor="sed -i s/no-such-host.invalid/127.0.0.1/"),
    Case("provider.connect", words("http://127.0.0.1:", "http://127.0.0.1:1/"), "fail",
         ("refused",), editor="sed -i s#127.0.0.1:1/#127.0.0.1:#"),
    Case("provider.connect", self_signed, "fail", ("TLS",), typed="ca.pem\n"),
    Case("provider.proxy", env(HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.1"), "fail",
         ("on this machine",)),
    Case("provider.proxy", env(HTTPS_PROXY="socks5://127.0.0.1:9", NO_PROXY="127.0.0.1"), "fail",
         ("SOCKS",)),
    Case("provider.proxy", env(HTTP_PROXY="http://127.0.0.1:9"), "warn", ("NO_PROXY",)),
    Case("provider.clock", clock, "fail", ("behind",), paste=False, then=right_clock),
    Case("key.accepted", env(ACME_KEY="wrong-key-77ab"), "fail", ("refuses the key",),
         typed=f"{KEY}\n"),
    Case("models.state", behave(MAIN, "billing"), "fail", ("billing (402)", f"instead: acme,{SPARE}"),
         editor="sed -i s/main-480b/spare-32b/g"),
    Case("models.state", behave(MAIN, "missing"), "fail", ("missing",),
         editor="sed -i s/main-480b/spare-32b/g"),
    Case("models.state", behave(MAIN, "auth"), "fail", ("auth",), paste=False,
         then=behave(MAIN, "ok")),
    Case("models.tools", behave(MAIN, "no_tools"), "fail", ("calls no tools",),
         editor="sed -i s/main-480b/spare-32b/g"),
    Case("routes.served", behave(LONG, "missing"), "warn", ("Router.longContext",),
         editor="sed -i s/long-v3/spare-32b/g"),
    Case("routes.overrides",
         file(".claude-code-router/-srv-project/config.json",
              settings(Router={"default": "acne,x"})),
         "fail", ("acne",), editor=f"sed -i s#acne,x#acme,{MAIN}#"),
    Case("routes.overrides",
         lambda s: (behave(LONG, "billing")(s), file(
             ".claude-code-router/-srv-project/0f3a.json",
             settings(Router={"default": f"acme,{LONG}"}))(s)),
         "fail", ("billing",), editor=f"sed -i s#acme,{LONG}#acme,{MAIN}#"),
    Case("quota.left", quota(100), "fail", ("0 of 100",), paste=False, then=quota(1)),
    Case("quota.left", quota(95), "warn", ("5 of 100",), paste=False, then=quota(1)),
]  # fmt: skip


def registry(stage: Stage) -> str:
    """The registry that npm uses on this machine."""
    env = {n: v for n, v in os.environ.items() if n != "npm_config_cache"}
    asked = subprocess.run(["npm", "config", "get", "registry"], env=env, capture_output=True,
                           text=True, check=True, cwd=stage.home.root)  # fmt: skip
    return asked.stdout.strip()


def _name(case: Case) -> str:
    return f"{case.check}-{case.words[0] if case.words else case.level}".replace(" ", "_")[:48]


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_provoked_pasted_and_in_order(stage: Stage, case: Case) -> None:
    """The trouble is seen, the line that stands under it is pasted, and it is gone."""
    case.provoke(stage)
    seen = stage.check(case.check)
    assert seen["status"] == case.level, seen
    for word in case.words:
        assert word in seen["detail"]
    assert seen["fix"]
    assert seen["fixable"] == case.fix
    if case.paste:
        stage.paste(seen["fix"], typed=case.typed, editor=case.editor)
    if case.then:
        case.then(stage)
    after = stage.check(case.check)
    assert after["status"] == case.after, (seen, after)


@pytest.mark.parametrize("case", [c for c in CASES if c.fix], ids=_name)
def test_provoked_and_mended_by_fix(stage: Stage, case: Case) -> None:
    """``--fix`` mends it, says so only after it has looked again, and it stays so."""
    case.provoke(stage)
    mended = stage.check(case.check, "--fix")
    assert mended["status"] == "ok", mended
    assert mended["detail"].startswith("Mended: ")
    assert stage.check(case.check)["status"] == "ok"
