"""Shapes in which profiles of CCR 2 are written: read and healed by synccr, each leads to the
same models on both real CCRs, or a loss says why not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ccr_pair import Pair, provider_entry, running_pair
from synccr.ccr.v3.losses import losses
from synccr.config.profile import Local
from synccr.config.reader import parse_profile
from synccr.heal import heal_supervised

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
]

VARIABLES = {"SHAPE_PROVIDER": "of-a-variable", "SHAPE_MODEL": "vendor/of-a-variable"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path_factory, npm_cache, VARIABLES) as running:
        yield running


def say(model: str = "claude-sonnet-4-5", *, text: str = "hi", **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": model, "max_tokens": 100, "messages": [message], **more}


async def differences(
    pair: Pair, text: str, requests: Mapping[str, dict[str, Any]]
) -> dict[str, str]:
    """Where requests come out otherwise on CCR 3, after the profile was read and healed. Models of
    which a loss says that they cannot be asked do not count."""
    profile = parse_profile(text, "test", "primary", VARIABLES)
    lost = {str(ref) for loss in losses(profile) if loss.unservable for ref in loss.models}
    healed = heal_supervised(profile, profile, {}, Local(port=3456))
    await pair.use(healed.config)
    found = {}
    for name, body in requests.items():
        second, third = await pair.ask(body)
        if second.seen.target not in (third.seen.target, *lost):
            found[name] = f"{second.seen.target or second.text[:90]} on CCR 2, "
            found[name] += third.seen.target or f"{third.status} {third.text[:90]}"
    return found


# ------------------------------------------------------------ names, and what stands beside them

SHARED: Mapping[str, tuple[str, list[str], dict[str, Any]]] = {
    "ordinary": ("acme", ["big-1"], {}),
    "spaces": ("My Provider", ["a model", "x"], {}),
    "not ASCII": ("\u63d0\u4f9b\u5546", ["\u6a21\u578b", "\u00c4"], {}),
    "signs": ("a.b@c-d_e+f", ["org/m:free@v1", "m#1", "m?x=1&y", "m%2F", "m\"q'"], {}),
    "a slash in the provider": ("z/ai", ["glm/4"], {}),
    "numbers": ("302", ["4", "5.1"], {}),
    "as CCR 3's entries are called": ("synccr-1", ["synccr-2", "none"], {}),
    "words of JavaScript": ("constructor", ["__proto__", "toString"], {}),
    "variables": ("$SHAPE_PROVIDER", ["${SHAPE_MODEL}"], {}),
    "capitals": ("OpenAI", ["GPT-5", "gpt-4o"], {}),
    "capitals alone tell them apart": ("twin", ["Model", "model"], {}),
    "a comma": ("comma", ["a,b", "c"], {}),
    "a model twice": ("twice", ["m", "m"], {}),
    "Claude's names": ("own", ["claude-3-5-haiku", "claude-sonnet-4-5"], {}),
    "null transformer": ("null", ["m"], {"transformer": None}),
    "empty transformer": ("empty", ["m"], {"transformer": {"use": []}}),
    "unknown transformer": ("unknown", ["m"], {"transformer": {"use": ["no-such"]}}),
    "a transformer of one model": ("one", ["m", "n"], {"transformer": {"m": {"use": ["groq"]}}}),
    "transformers of an unlisted model": ("un", ["m"], {"transformer": {"x": {"use": ["groq"]}}}),
    "further fields": ("more", ["m"], {"enabled": True, "note": 1, "tokenizer": {"type": "x"}}),
    "Anthropic's form": ("claude", ["m"], {"transformer": {"use": ["Anthropic"]}}),
    "Anthropic's form, small": ("claude2", ["m"], {"transformer": {"use": ["anthropic"]}}),
    "a key that is not set": ("keys", ["m"], {"api_key": "$NOT_SET_ANYWHERE"}),
}  # fmt: skip
"""Shape: provider, models, further fields of its entry; all in one profile."""


def named() -> dict[str, dict[str, Any]]:
    """Each model, as it is written, in small letters, and by a subagent's tag."""
    found = {}
    for provider, models, _ in SHARED.values():
        for written in dict.fromkeys(models):
            name = f"{provider},{written}"
            for variable, value in VARIABLES.items():
                name = name.replace(f"${{{variable}}}", value).replace(f"${variable}", value)
            found[name] = say(name)
            tag = f"<CCR-SUBAGENT-MODEL>{name}</CCR-SUBAGENT-MODEL>be brief"
            found[f"subagent {name}"] = say(name) | {
                "model": "claude-sonnet-4-5",
                "system": [{"type": "text", "text": "one"}, {"type": "text", "text": tag}],
            }
    return found


async def test_models_whatever_they_are_called(pair: Pair) -> None:
    """Whether a request names them or a subagent does."""
    entries = []
    for provider, models, more in SHARED.values():
        form = "anthropic" if "nthropic" in json.dumps(more) else "openai"
        entries.append(provider_entry(pair.fake, provider, models, form, **more))
    document = {"Providers": entries, "Router": {"default": "acme,big-1"}}
    assert await differences(pair, json.dumps(document), named()) == {}


# ------------------------------------------------------------------------------ whole documents

PROVIDERS = """[
    {"name": "acme", "api_base_url": "URL/of/acme/v1/chat/completions", "api_key": "key",
     "models": ["big", "small", "long", "Seeker", "eyes"]},
    {"name": "beta", "api_base_url": "URL/of/beta/v1/chat/completions", "api_key": "$NOT_SET",
     "models": ["b"]}
]"""
ROUTES = """"default": "acme,big", "background": "acme,small", "think": "beta,b",
    "longContext": "acme,long", "webSearch": "acme,Seeker", "image": "acme,eyes" """
DOCUMENTS: Mapping[str, str] = {
    "comments and trailing commas": """// mine
        {"Providers": PROVIDERS, /* all */ "Router": {ROUTES, "longContextThreshold": 2000,},}""",
    "small letters": '{"providers": PROVIDERS, "Router": {ROUTES}}',
    "numbers as text": """{"PORT": "3456", "API_TIMEOUT_MS": "600000", "Providers": PROVIDERS,
        "Router": {ROUTES, "longContextThreshold": "2000"}}""",
    "a threshold of nothing": """{"Providers": PROVIDERS,
        "Router": {ROUTES, "longContextThreshold": 0}}""",
    "routes in other capitals": """{"Providers": PROVIDERS, "Router": {
        "default": "acme,BIG", "think": "acme,seeker"}}""",
    "null routes": """{"Providers": PROVIDERS, "Router": {
        "default": "acme,big", "background": null, "think": null, "longContext": null}}""",
    "no Router": '{"Providers": PROVIDERS}',
    "no default": '{"Providers": PROVIDERS, "Router": {"think": "beta,b"}}',
    "routes of one's own, lists": """{"Providers": PROVIDERS,
        "Router": {ROUTES, "codex": "beta,b", "fallback": "acme,small", "note": "a, b"},
        "fallback": {"default": ["beta,b", "nobody,x"], "think": null}}""",
    "all that is no route": """{"Providers": PROVIDERS, "Router": {ROUTES},
        "HOST": "0.0.0.0", "PORT": 8080, "LOG": true, "LOG_LEVEL": "debug",
        "API_TIMEOUT_MS": 1000, "NON_INTERACTIVE_MODE": true, "StatusLine": {"enabled": true},
        "PROXY_URL": "socks5://127.0.0.1:1", "CLAUDE_PATH": "/x", "unknown": [1, {"a": null}],
        "plugins": [], "transformers": [], "profile": {"enabled": true}, "gateway": {"port": 1},
        "Plugins": {}, "observability": {"requestLogs": true}, "APIKEYS": ["x"]}""",
}
"""Whole texts, as persons write them."""
IMAGE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
SCENARIOS: Mapping[str, dict[str, Any]] = {
    "plain": say(),
    "haiku": say("claude-haiku-4-5-20251001"),
    "thinks": say(thinking={"type": "enabled", "budget_tokens": 31999}),
    "searches": say(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    "long": say(text="word " * 4000),
    "very long": say(text="word " * 70000),
    "image": say()
    | {"messages": [{"role": "user", "content": [{"type": "image", "source": IMAGE}]}]},
    "named": say("acme,long"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_routes_however_they_are_written(pair: Pair, name: str) -> None:
    """For every scenario."""
    text = DOCUMENTS[name].replace("PROVIDERS", PROVIDERS).replace("ROUTES", ROUTES)
    text = text.replace("URL/", pair.fake.base_url + "/")
    assert await differences(pair, text, SCENARIOS) == {}
