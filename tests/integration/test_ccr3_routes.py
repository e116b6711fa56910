"""A profile of CCR 2 on CCR 3: both real CCRs are asked the same, and the provider looks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from ccr_pair import CCR2, CCR3, Answered, Pair, package, provider_entry
from provider import FakeProvider
from synccr.ccr.v3.losses import losses
from synccr.config.reader import understand

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
]

IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
THINKING = {"type": "enabled", "budget_tokens": 31999}
SESSION = "11111111-2222-3333-4444-555555555555"
HAIKU = "claude-haiku-4-5-20251001"
ROUTER = {
    "default": "Acme,Big-1",
    "background": "Acme,small:free",
    "think": "Acme,vendor/Mid",
    "longContext": "beta,long",
    "longContextThreshold": 2000,
    "webSearch": "beta,seeker",
    "image": "beta,eyes",
}


def words(count: int) -> str:
    """Text of about so many tokens."""
    return "word " * count


def say(*content: Any, **more: Any) -> dict[str, Any]:
    """A request of Claude Code whose last message has this content."""
    first = content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)
    message = {"role": "user", "content": first or "hi"}
    return {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [message], **more}


def tagged(model: str) -> list[dict[str, str]]:
    """The system prompt of a subagent that is to have a model of its own."""
    tag = f"<CCR-SUBAGENT-MODEL>{model}</CCR-SUBAGENT-MODEL>"
    return [{"type": "text", "text": "one"}, {"type": "text", "text": f"{tag}be brief"}]


def user(session: str) -> dict[str, str]:
    return {"user_id": f"user_abc_account__session_{session}"}


RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [IMAGE]}
USED: dict[str, Any] = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}],
}
LOOKED = [{"role": "user", "content": "look"}, USED, {"role": "user", "content": [RESULT]}]
SEEN = [
    {"role": "user", "content": [IMAGE, {"type": "text", "text": "what is it"}]},
    {"role": "assistant", "content": "a cat"},
    {"role": "user", "content": "sure?"},
]

REQUESTS: Mapping[str, dict[str, Any]] = {
    "plain": say("hi"),
    "another name": say("hi", model="gpt-5"),
    "haiku": say("hi", model=HAIKU),
    "haiku that thinks": say("hi", model=HAIKU, thinking=THINKING),
    "thinks": say("hi", thinking=THINKING),
    "thinking off": say("hi", thinking={"type": "disabled"}),
    "searches": say("hi", tools=[SEARCH]),
    "searches and thinks": say("hi", tools=[SEARCH], thinking=THINKING),
    "short": say(words(1000)),
    "long": say(words(4000)),
    "long and thinks": say(words(4000), thinking=THINKING),
    "long haiku": say(words(4000), model=HAIKU),
    "long system": say("hi", system=[{"type": "text", "text": words(4000)}]),
    "long tool": say(
        "hi", tools=[{"name": "t", "description": words(4000), "input_schema": {"type": "object"}}]
    ),
    "long thinking of before": say(
        messages=[
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": words(4000), "signature": "s"},
                    {"type": "text", "text": "ok"},
                ],
            },
            {"role": "user", "content": "go on"},
        ]
    ),
    "image": say(IMAGE, {"type": "text", "text": "what is it"}),
    "image in a result": say(messages=LOOKED),
    "large image": say(
        {**IMAGE, "source": {**IMAGE["source"], "data": "abcd+/" * 4000}},  # type: ignore[dict-item]
        {"type": "text", "text": "what is it"},
        model="Acme,Big-1",
    ),
    "image that thinks": say(IMAGE, thinking=THINKING),
    "long image": say(IMAGE, {"type": "text", "text": words(4000)}),
    "named": say("hi", model="beta,long"),
    "named, thinks": say("hi", model="Acme,Big-1", thinking=THINKING),
    "named, long": say(words(4000), model="acme,vendor/mid"),
    "named in small letters": say("hi", model="acme,small:free"),
    "subagent": say("hi", system=tagged("Acme,vendor/Mid")),
    "subagent haiku": say("hi", model=HAIKU, system=tagged("beta,eyes")),
    "long subagent": say(words(4000), system=tagged("Acme,vendor/Mid")),
    "tag elsewhere": say("<CCR-SUBAGENT-MODEL>beta,eyes</CCR-SUBAGENT-MODEL>hi"),
}
"""What a client may ask; each is asked on every configuration."""


class Config(NamedTuple):
    """One shape of a profile.

    Attributes:
        router: its ``Router``.
        more: what else is in it.
    """

    router: Mapping[str, Any]
    more: Mapping[str, Any] = {}


def without(*names: str) -> dict[str, Any]:
    return {name: route for name, route in ROUTER.items() if name not in names}


CONFIGS: Mapping[str, Config] = {
    "all routes": Config(ROUTER),
    "default alone": Config({"default": "beta,long"}),
    "no background": Config(without("background")),
    "no think": Config(without("think")),
    "no search": Config(without("webSearch")),
    "no image": Config(without("image")),
    "no long": Config(without("longContext")),
    "CCR's own threshold": Config(without("longContextThreshold")),
    "empty routes": Config({**ROUTER, "think": "", "background": "", "image": ""}),
    "all on one": Config(dict.fromkeys((*without("longContextThreshold"), "codex"), "beta,long")),
    "a model that no provider lists": Config({**ROUTER, "think": "Acme,unlisted/x"}),
    "a custom router": Config(ROUTER, {"CUSTOM_ROUTER_PATH": "router.js"}),
    "a custom router that throws": Config(ROUTER, {"CUSTOM_ROUTER_PATH": "throws.js"}),
    "a custom router that is missing": Config(ROUTER, {"CUSTOM_ROUTER_PATH": "missing.js"}),
    "a rewritten prompt": Config(ROUTER, {"REWRITE_SYSTEM_PROMPT": "prompt.txt"}),
}

EXPLAINED: Mapping[tuple[str, str], str] = {}
"""Configuration and request that may come out otherwise, and the place of the loss."""

CUSTOM = """
let asked = 0;
module.exports = async (req, config) => {
  asked += 1;
  if (req.body.thinking) return config.Router.background;
  if (req.body.model === "gpt-5") return config.Providers[1].name + ",seeker";
  if (req.tokenCount > 1500) return "beta,eyes";
  return asked > 1e9 ? "Acme,none" : null;
};
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> AsyncIterator[Pair]:
    home = tmp_path_factory.mktemp("pair")
    cache = tmp_path_factory.mktemp("cache")
    os.environ.setdefault("npm_config_cache", str(npm_cache))
    packages = await package(CCR2, cache), await package(CCR3, cache)
    with FakeProvider() as fake:
        async with Pair(home, fake, packages) as running:
            yield running


def document(pair: Pair, config: Config) -> dict[str, Any]:
    """The whole profile, with its files beside it."""
    ccr = pair.paths.ccr
    ccr.mkdir(parents=True, exist_ok=True)
    (ccr / "router.js").write_text(CUSTOM)
    (ccr / "throws.js").write_text("module.exports = () => { throw new Error('no'); };")
    (ccr / "prompt.txt").write_text("Be good. ")
    more = {
        name: str(ccr / value) if name.endswith(("PATH", "PROMPT")) else value
        for name, value in config.more.items()
    }
    return {
        "Providers": [
            provider_entry(pair.fake, "Acme", ["Big-1", "vendor/Mid", "small:free"]),
            provider_entry(
                pair.fake,
                "beta",
                ["long", "seeker", "eyes"],
                "anthropic",
                transformer={"use": ["Anthropic"]},
            ),
        ],
        "Router": dict(config.router),
        **more,
    }


def told(profile: Mapping[str, Any], place: str) -> bool:
    """Whether a loss of that place is named."""
    found = losses(understand(dict(profile), "test", "primary", {}))
    return any(place in loss.place for loss in found)


@pytest.mark.parametrize("name", CONFIGS)
async def test_every_request_reaches_the_model_that_it_reaches_on_ccr_2(
    pair: Pair, name: str
) -> None:
    """Or a sentence says why not."""
    profile = document(pair, CONFIGS[name])
    await pair.use(profile)
    wrong = []
    for request, body in REQUESTS.items():
        second, third = await pair.ask(body)
        explained = EXPLAINED.get((name, request))
        if explained and told(profile, explained):
            continue
        if second.seen.target != third.seen.target:
            wrong.append(f"{request}: {_shown(second)} on CCR 2, {_shown(third)} on CCR 3")
    assert wrong == []


def _shown(answered: Answered) -> str:
    return answered.seen.target or f"{answered.status} {answered.text[:120]}"
