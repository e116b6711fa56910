"""Each check of the doctor provoked in a home of its own: its result is seen, its line is
pasted (or ``--fix`` given), and the check is seen in order afterwards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from doctor_kit import (
    Stage,
    altered,
    behave,
    ccr3_has_left,
    claude,
    clock,
    config,
    dead_pid,
    env,
    file,
    global_ccr,
    leftovers,
    listener,
    not_cached,
    project,
    quota,
    registry,
    right_clock,
    self_signed,
    settings,
    stranger,
    unset,
    upgraded,
    words,
)
from home import KEY, LONG, MAIN, SPARE, Home
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def stage(home: Home, provider: FakeProvider) -> Iterator[Stage]:
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


LEAKED = json.dumps(
    {"level": 20, "time": 1, "pid": 1, "headers": {"authorization": f"Bearer {KEY}"}}
)
OLD_LEAK = json.dumps(
    {"level": 20, "msg": json.dumps({"headers": {"authorization": "Bearer formerkey-19d2"}})}
)
DATABASE = ".claude-code-router/config.sqlite"
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
    Case("ccr.package", env(SYNCCR_CCR_VERSION="4.1.1"), "fail", ("4.1.1", "not supported")),
    Case(
        "ccr.package",
        not_cached,
        "fail",
        ("not installed yet",),
        paste=False,
        then=lambda s: s.home.env.update(npm_config_registry=registry(s)),
    ),
    Case("ccr.package", altered, "fail", ("dist/cli.js",), fix=True),
    Case("ccr.global", global_ccr("3.1.1"), "fail", ("3.1.1", "takes config.json away")),
    Case("ccr.global", global_ccr("1.0.73"), "warn", ("1.0.73",), paste=False,
         then=lambda s: shutil.rmtree(s.home.root / "prefix")),
    Case("ccr.generation3", upgraded, "warn", ("dropped its routes",)),
    Case("ccr.generation3", lambda s: (s.profile.unlink(), s.put(DATABASE, "no database")), "warn",
         ("no configuration of CCR 3",)),
    Case("config.valid", words('"acme,vendor/main', '"acne,vendor/main'), "fail",
         ("Router.default", "acme,"), editor="sed -i s/acne/acme/"),
    Case("config.valid", words('"default": "acme,vendor/main-480b"',
                               '"default": "acme,vendor/main-48b"'), "warn",
         ("Router.default", MAIN), editor="sed -i s/main-48b/main-480b/"),
    Case("config.valid", words("/openai/v1/chat/completions", ""), "warn",
         ("lacks its path",), editor="sed -i -E s#(http://[0-9.:]+)#\\1/v1/chat/completions#"),
    Case("config.valid", lambda s: s.put(".claude-code-router/config.json", "{"), "fail",
         ("config.json",), editor="cp .config/synccr/ccr-config.json"),
    Case("config.valid",
         lambda s: os.mkfifo(s.put("x", "").parent / ".config/synccr/ccr-config-fallback.json"),
         "fail", ("is no file",)),
    Case("config.written", lambda s: s.put(".claude-code-router/config.json", "{"), "fail",
         ("config.json",), editor="cp .config/synccr/ccr-config.json"),
    Case("fallback.inflight", lambda s: s.change(
        Providers=[json.loads(s.profile.read_bytes())["Providers"][0] | {"models": [MAIN]}],
        Router={"default": f"acme,{MAIN}"}), "warn", ("one model",),
         editor='sed -i s#480b"]#480b","x"]#'),
    Case("keys.set", unset("ACME_KEY"), "fail", ("ACME_KEY",), typed=f"{KEY}\n"),
    Case("keys.set", env(ACME_KEY=f'"{KEY}"\n'), "fail", ("quotes",)),
    Case("keys.clear", words('"$ACME_KEY"', f'"{KEY}"'), "fail", ("a key in clear",), fix=True),
    Case("keys.set", file(".config/synccr/keys.env", "no line\n"), "fail", ("line 1",),
         editor="sed -i d"),
    Case("files.modes", file(".config/synccr/keys.env", f"ACME_KEY={KEY}\n", 0o644), "fail",
         ("keys.env", "holds a key"), fix=True),
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
    Case("profile.literal_key", words("$ACME_KEY", "another-key-in-clear"), "warn", ("acme",),
         editor="sed -i s/another-key-in-clear/$ACME_KEY/"),
    Case("profile.exposed_key", lambda s: s.change(APIKEY="$ACME_KEY"), "warn", ("ACME_KEY",),
         editor="sed -i s/APIKEY/x/"),
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
    Case("log.level", config(LOG_LEVEL="debug"), "fail", ("every prompt",), fix=True),
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
    Case("state.leftovers", leftovers, "warn", ("control.json", ".tmp"), fix=True),
    Case("client.present", lambda s: claude(s, "exit 1"), "fail", ("does not run",), paste=False,
         then=claude),
    Case(
        "client.points",
        file(".claude/settings.json", settings(env={"ANTHROPIC_BASE_URL": "https://x.test"})),
        "fail",
        ("https://x.test", "settings.json"),
        editor="sed -i s/ANTHROPIC_BASE_URL/X/",
    ),
    Case("client.points", ccr3_has_left, "fail", ("where nobody listens", "settings.json"),
         fix=True),
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
    Case("provider.connect", self_signed, "fail", ("TLS",), typed="{home}/ca.pem\n"),
    Case("provider.proxy",
         lambda s: (s.replace(s.provider.url("openai"), "https://provider.invalid/v1/messages"),
                    env(HTTPS_PROXY="ftp://127.0.0.1:9", NO_PROXY="127.0.0.1")(s)),
         "fail", ("HTTPS_PROXY", "ftp://")),
    Case("provider.proxy", lambda s: s.change(PROXY_URL="http://127.0.0.1:9"), "fail",
         ("on this machine",), editor="sed -i s/PROXY_URL/X/"),
    Case("provider.proxy", lambda s: s.change(HTTPS_PROXY="socks5://127.0.0.1:9"), "fail",
         ("on this machine",), editor="sed -i s/HTTPS_PROXY/X/"),
    Case("provider.proxy", env(HTTP_PROXY="http://127.0.0.1:9"), "warn", ("NO_PROXY",)),
    Case("provider.proxy", lambda s: s.change(PROXY_URL="ftp://127.0.0.1:9"), "fail",
         ("proxy",), editor="sed -i s/PROXY_URL/X/"),
    Case("provider.clock", clock, "fail", ("behind",), paste=False, then=right_clock),
    Case("key.accepted", env(ACME_KEY="wrong-key-77ab"), "fail", ("refuses the key",),
         typed=f"{KEY}\n"),
    Case("models.state", behave(MAIN, "billing"), "fail",
         ("billing (402)", f"instead: acme,{SPARE}"), editor="sed -i s/main-480b/spare-32b/g"),
    Case("models.state", behave(MAIN, "missing"), "fail", ("missing",),
         editor="sed -i s/main-480b/spare-32b/g"),
    Case("models.state", behave(MAIN, "auth"), "fail", ("auth",), paste=False,
         then=behave(MAIN, "ok")),
    Case("models.tools", behave(MAIN, "no_tools"), "fail", ("calls no tools",),
         editor="sed -i s/main-480b/spare-32b/g"),
    Case("routes.served", behave(LONG, "missing"), "warn", ("Router.longContext",),
         editor="sed -i s/long-v3/spare-32b/g"),
    Case("routes.overrides",
         lambda s: project(s, "config.json", "acne,x"),
         "fail", ("acne",), editor=f"sed -i s#acne,x#acme,{MAIN}#"),
    Case("routes.overrides",
         lambda s: (behave(LONG, "billing")(s), project(s, "0f3a.json", f"acme,{LONG}")),
         "fail", ("billing",), editor=f"sed -i s#acme,{LONG}#acme,{MAIN}#"),
    Case("quota.left", quota(100), "fail", ("0 of 100",), paste=False, then=quota(1)),
    Case("quota.left", quota(95), "warn", ("5 of 100",), paste=False, then=quota(1)),
]  # fmt: skip


def _name(case: Case) -> str:
    what = case.words[0] if case.words else case.level
    what = what.replace(str(os.getpid()), "N")  # workers have to agree on the names
    return f"{case.check}-{what}".replace(" ", "_")[:48]


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
        stage.paste(seen["fix"], typed=case.typed.format(home=stage.home.root), editor=case.editor)
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
