"""What CCR 3 writes into Claude Code's settings and leaves there at its end. Pure.

It is known by its form: three addresses of which Claude Code reads one, and a program that prints
CCR 3's key. Before it changed a file for the first time, it kept a copy (``.ccr-original``).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

ORIGINAL = ".ccr-original"
"""What CCR 3 adds to the name of its copy."""

_ADDRESSES = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE_URL", "CLAUDE_AGENT_API_BASE_URL")
_HELPER = "ccr-claude-code-api-key-"
_LOGIN = {
    "ANTHROPIC_FEDERATION_RULE_ID": "ccr-local",
    "ANTHROPIC_ORGANIZATION_ID": "ccr-local",
    "ANTHROPIC_IDENTITY_TOKEN_FILE": "ccr-claude-code-wif-token-",
}
"""In the place of that program; the last one is in a path."""
_SWITCHES = (
    "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY",
    "CLAUDE_CODE_DISABLE_UNKNOWN_MODEL_WINDOW_ENFORCEMENT",
)
_OWN_MODELS = ("CCR_CLAUDE_CODE_MODEL", "CODEXL_CLAUDE_CODE_MODEL")
_MODELS = (
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
)
"""CCR 3 writes ``provider/model`` there; names of Anthropic's models have no slash."""
_PROXIES = ("NO_PROXY", "no_proxy")
_EXEMPT = ("127.0.0.1", "localhost", "::1")


def is_of_ccr3(document: Mapping[str, Any]) -> bool:
    """Whether CCR 3 has left its mark in a settings file."""
    env = _env(document)
    first, *others = (env.get(name) for name in _ADDRESSES)
    return (
        _HELPER in str(document.get("apiKeyHelper"))
        or _is_login(env, "ANTHROPIC_FEDERATION_RULE_ID")
        or (is_loopback(first) and all(other == first for other in others))
    )


def without_ccr3(document: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what CCR 3 put there; what it put something in the place of is as in
    ``original``, its copy (empty when there was no file)."""
    if is_of_ccr3(original):
        original = {}
    mended = copy.deepcopy(dict(document))
    if _HELPER in str(mended.get("apiKeyHelper")):
        _restore(mended, "apiKeyHelper", original)
    env, before = dict(_env(mended)), _env(original)
    for name in tuple(env):
        if _is_ccr3s(name, env, before):
            _restore(env, name, before)
    if env or "env" in original:
        mended["env"] = env
    else:
        mended.pop("env", None)
    return mended


def is_loopback(url: object) -> bool:
    """Whether an address leads to this machine."""
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return False
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d+){3}", host or ""))


def _is_ccr3s(name: str, env: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    value = env[name]
    if name in _ADDRESSES:
        return is_loopback(value)
    if name in _LOGIN:
        return _is_login(env, name)
    if name in _PROXIES:
        former = str(before.get(name) or "")
        written = dict.fromkeys([*filter(None, former.split(",")), *_EXEMPT])
        return str(value) == ",".join(written)
    if name in _MODELS:
        return "/" in str(value)
    return name in _OWN_MODELS or (name in _SWITCHES and value == "1")


def _is_login(env: Mapping[str, Any], name: str) -> bool:
    return _LOGIN[name] in str(env.get(name))


def _restore(section: dict[str, Any], name: str, original: Mapping[str, Any]) -> None:
    if name in original:
        section[name] = original[name]
    else:
        section.pop(name, None)


def _env(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("env")
    return found if isinstance(found, dict) else {}
