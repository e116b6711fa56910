"""What CCR 3 writes into Claude Code's settings is known, and only that is taken out."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr3_kit import lay_out
from synccr.doctor.claude_settings import is_loopback, is_of_ccr3, without_ccr3

URL = "http://127.0.0.1:3456"
EXEMPT = "127.0.0.1,localhost,::1"
HELPER = "/home/me/.claude-code-router/bin/ccr-claude-code-api-key-default-claude-code"
REMOVED = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK")
MODELS = ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL")


def by_ccr3(settings: dict[str, Any], *, models: bool, login: bool) -> dict[str, Any]:
    """As 3.1.1 changes settings."""
    env = {k: v for k, v in settings.get("env", {}).items() if k not in (*REMOVED, *MODELS)}
    for name in ("NO_PROXY", "no_proxy"):
        former = [word for word in env.get(name, "").split(",") if word]
        env[name] = ",".join(dict.fromkeys([*former, *EXEMPT.split(",")]))
    env |= dict.fromkeys(
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE_URL", "CLAUDE_AGENT_API_BASE_URL"), URL
    )
    env["CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"] = "1"
    env["CLAUDE_CODE_DISABLE_UNKNOWN_MODEL_WINDOW_ENFORCEMENT"] = "1"
    if models:
        names = (*MODELS, "CCR_CLAUDE_CODE_MODEL", "CODEXL_CLAUDE_CODE_MODEL")
        env |= dict.fromkeys(names, "acme/main")
    rest = {k: v for k, v in settings.items() if k not in ("env", "apiKeyHelper")}
    if not login:
        return {**rest, "apiKeyHelper": HELPER, "env": env}
    token = HELPER.replace("api-key", "wif-token")
    env |= {"ANTHROPIC_FEDERATION_RULE_ID": "ccr-local", "ANTHROPIC_ORGANIZATION_ID": "ccr-local"}
    env["ANTHROPIC_IDENTITY_TOKEN_FILE"] = token
    return {**rest, "env": env}


VALUES = st.text(alphabet="abc:/.1,-", min_size=1, max_size=8)
NAMES = (*REMOVED, *MODELS, "FOO", "TZ", "ANTHROPIC_BASE_URL", "NO_PROXY", "no_proxy")
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "model": VALUES,
        "apiKeyHelper": VALUES,
        "statusLine": st.just({"type": "command", "command": "synccr statusline"}),
        "env": st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4),
    },
)


@given(SETTINGS, st.booleans(), st.booleans())
def test_what_was_there_comes_back(original: dict[str, Any], models: bool, login: bool) -> None:
    """All but what CCR 3 took out, which its own copy has."""
    now = by_ccr3(original, models=models, login=login)
    before = copy.deepcopy((now, original))
    assert is_of_ccr3(now)
    mended = without_ccr3(now, original)
    env = {k: v for k, v in original.get("env", {}).items() if models or k not in MODELS}
    expected = dict(original)
    if "env" in original:
        expected["env"] = {k: v for k, v in env.items() if k not in REMOVED}
    if login:
        expected.pop("apiKeyHelper", None)
    assert mended == expected
    assert not is_of_ccr3(mended)
    assert without_ccr3(mended, original) == mended
    assert (now, original) == before


@given(SETTINGS)
def test_settings_of_anybody_else_are_left_alone(settings: dict[str, Any]) -> None:
    assert not is_of_ccr3(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"apiKeyHelper": "/bin/my-key"},
        {"env": {"ANTHROPIC_BASE_URL": URL}},
        {"env": {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_AUTH_TOKEN": "x", "NO_PROXY": EXEMPT}},
        {"env": dict.fromkeys(("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE_URL"), URL)},
        {"env": {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_BASE_URL": "http://127.0.0.1:1",
                 "CLAUDE_AGENT_API_BASE_URL": URL}},
        {"env": dict.fromkeys(("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE_URL",
                               "CLAUDE_AGENT_API_BASE_URL"), "https://gw.test")},
        {"env": ["ANTHROPIC_BASE_URL"]},
        {"env": {"ANTHROPIC_FEDERATION_RULE_ID": "mine"}},
    ],
)  # fmt: skip
def test_whose_settings_they_are(settings: dict[str, Any]) -> None:
    """Of a person, of synccr, of another gateway."""
    assert not is_of_ccr3(settings)


def test_what_the_person_added_since_stays() -> None:
    """Names of Anthropic's models, other hosts without a proxy, an address elsewhere."""
    now = by_ccr3({}, models=True, login=False)
    mine = {
        "ANTHROPIC_MODEL": "claude-opus-4",
        "NO_PROXY": f"{EXEMPT},example.org",
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "0",
    }
    assert without_ccr3({**now, "env": {**now["env"], **mine}}, {}) == {"env": mine}


def test_a_copy_that_is_ccr_3s_itself_is_no_original() -> None:
    now = by_ccr3({"model": "opus"}, models=False, login=False)
    assert without_ccr3(now, now) == {"model": "opus"}


@pytest.mark.parametrize("name", ["native", "upgraded"])
def test_what_the_real_one_wrote(tmp_path: Path, name: str) -> None:
    """There was no file before; nothing is left of it."""
    lay_out(tmp_path, name)
    settings = json.loads((tmp_path / ".claude/settings.json").read_bytes())
    assert is_of_ccr3(settings)
    assert without_ccr3(settings, {}) == {}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        (URL, True),
        ("http://localhost:1", True),
        ("http://[::1]:1/", True),
        ("http://127.9.8.7", True),
        ("http://127.0.0.1.evil.test", False),
        ("https://gw.test", False),
        ("http://[", False),
        (None, False),
        (7, False),
    ],
)
def test_loopback(url: object, here: bool) -> None:
    assert is_loopback(url) is here
