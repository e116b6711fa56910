"""A profile of CCR 2 on CCR 3: both real CCRs are asked the same, and the provider looks."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from ccr_pair import Answered, Pair, provider_entry, running_pair
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
    ),
    "image of before": say(messages=SEEN),
    "image that thinks": say(IMAGE, thinking=THINKING),
    "long image": say(IMAGE, {"type": "text", "text": words(4000)}),
    "named": say("hi", model="beta,long"),
    "named, thinks": say("hi", model="Acme,Big-1", thinking=THINKING),
    "named, long": say(words(4000), model="acme,vendor/mid"),
    "named in small letters": say("hi", model="acme,small:free"),
    "named in odd capitals": say("hi", model="ACME,SMALL:free"),
    "named, nobody's": say("hi", model="nobody,none"),
    "named, not listed": say("hi", model="Acme,other"),
    "subagent": say("hi", system=tagged("Acme,vendor/Mid")),
    "subagent haiku": say("hi", model=HAIKU, system=tagged("beta,eyes")),
    "long subagent": say(words(4000), system=tagged("Acme,vendor/Mid")),
    "subagent of nobody's": say("hi", system=tagged("nobody,none")),
    "in a session": say("hi", metadata=user(SESSION)),
    "in a session, haiku": say("hi", model=HAIKU, metadata=user(SESSION)),
    "in a session, thinks": say("hi", metadata=user(SESSION), thinking=THINKING),
    "in a session, named": say("hi", model="beta,long", metadata=user(SESSION)),
    "in a session, image": say(IMAGE, metadata=user(SESSION)),
    "in another session": say("hi", metadata=user("another")),
    "streamed": say("hi", stream=True),
    "tag elsewhere": say("<CCR-SUBAGENT-MODEL>beta,eyes</CCR-SUBAGENT-MODEL>hi"),
}
"""What a client may ask; each is asked on every configuration."""


class Config(NamedTuple):
    """One shape of a profile.

    Attributes:
        router: its ``Router``.
        more: what else is in it.
        project, session: ``Router`` of a project's own file, and of a session's.
    """

    router: Mapping[str, Any]
    more: Mapping[str, Any] = {}
    project: Mapping[str, Any] | None = None
    session: Mapping[str, Any] | None = None


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
    "a custom router that leads nowhere": Config(ROUTER, {"CUSTOM_ROUTER_PATH": "nowhere.js"}),
    "a rewritten prompt": Config(ROUTER, {"REWRITE_SYSTEM_PROMPT": "prompt.txt"}),
    "an image agent for everything": Config(ROUTER, {"forceUseImageAgent": True}),
    "a project's routes": Config(ROUTER, project={"default": "beta,seeker", "image": "beta,long"}),
    "a session's routes": Config(
        ROUTER, project={"default": "beta,seeker"}, session={"think": "beta,eyes"}
    ),
    "a session without routes": Config(ROUTER, project={"default": "beta,seeker"}, session={}),
}

LOSSES: Mapping[tuple[str, str], str] = {
    ("an image agent for everything", request): "forceUseImageAgent"
    for request in ("image", "image in a result", "large image", "image that thinks",
                    "long image", "in a session, image")
}  # fmt: skip
"""Configuration and request that come out otherwise, and the place of the loss that says so."""

SERVED_BY_3 = {"named in odd capitals": "Acme,small:free"}
"""CCR 2 answers 404; synccr has always read such names."""
REFUSED_BY_3 = frozenset({"named, not listed"})
"""CCR 2 passes on what it does not know of a provider; CCR 3 answers 400, and says so."""

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
    async with running_pair(tmp_path_factory, npm_cache) as running:
        yield running


def document(pair: Pair, config: Config) -> dict[str, Any]:
    """The whole profile, with its files beside it."""
    ccr = pair.paths.ccr
    ccr.mkdir(parents=True, exist_ok=True)
    (ccr / "router.js").write_text(CUSTOM)
    (ccr / "throws.js").write_text("module.exports = () => { throw new Error('no'); };")
    (ccr / "nowhere.js").write_text("module.exports = () => 'nobody,none';")
    (ccr / "prompt.txt").write_text("Be good. ")
    sessions, own = ccr.parent / ".claude" / "projects" / "-proj", ccr / "-proj"
    shutil.rmtree(own, ignore_errors=True)
    for place in (sessions, own):
        place.mkdir(parents=True, exist_ok=True)
    (sessions / f"{SESSION}.jsonl").write_text("{}\n")
    for name, router in (("config", config.project), (SESSION, config.session)):
        if router is not None:
            (own / f"{name}.json").write_text(json.dumps({"Router": router} if router else {}))
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
        if second.seen.target == third.seen.target:
            continue
        if request in SERVED_BY_3 and not second.seen.target:
            assert third.seen.target == SERVED_BY_3[request]
        elif request in REFUSED_BY_3:
            assert (third.status, body["model"].partition(",")[2] in third.text) == (400, True)
        elif not told(profile, LOSSES.get((name, request), "nowhere")):
            wrong.append(f"{request}: {_shown(second)} on CCR 2, {_shown(third)} on CCR 3")
    assert wrong == []


def _shown(answered: Answered) -> str:
    return answered.seen.target or f"{answered.status} {answered.text[:120]}"


# ------------------------------------------------------------------- what the provider gets

SAMPLING = {
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
    "repetition_penalty": 1.05,
    "max_tokens": 65536,
}
CUSTOM_PARAMS = {
    "temperature": 0.1,
    "top_p": 0.2,
    "max_tokens": 7,
    "stop": ["X"],
    "provider": {"order": ["a"]},
    "reasoning": {"max_tokens": 9, "effort": "low"},
    "x": {"y": [1, {"z": None}]},
}
USES: Mapping[str, list[Any]] = {
    "none": [],
    "sampling": [["sampling", SAMPLING]],
    "sampling-some": [["sampling", {"temperature": 0, "top_k": None}]],
    "maxtoken": [["maxtoken", {"max_tokens": 500}]],
    "both": [["maxtoken", {"max_tokens": 500}], ["sampling", {"max_tokens": 300, "top_p": 1}]],
    "rename": ["maxcompletiontokens"],
    "rename-capped": [["maxtoken", {"max_tokens": 500}], "maxcompletiontokens"],
    "custom": [["customparams", CUSTOM_PARAMS]],
    "custom-after": [["sampling", {"top_p": 0.5}], ["customparams", {"top_p": 0.2, "top_k": 3}]],
    "custom-before": [["customparams", {"top_p": 0.2, "top_k": 3}], ["sampling", {"top_p": 0.5}]],
    "deepseek": ["deepseek"],
    "openrouter": [["openrouter", {"provider": {"only": ["z"]}, "max_tokens": 900}]],
    "vercel": [["vercel", {"providerOptions": {"gateway": {"only": ["a"]}}}]],
    "groq": ["groq"],
    "reasoning": ["reasoning"],
    "reasoning-off": [["reasoning", {"enable": False}]],
    "reasoning-budget": [["customparams", {"reasoning": {"max_tokens": 77}}], "reasoning"],
    "streamoptions": ["streamoptions"],
    "cerebras": ["cerebras"],
    "unknown": ["no-such"],
    "beside": ["Anthropic", "deepseek"],
    "lost": ["tooluse", "enhancetool", "cleancache"],
    "gemini": ["gemini"],
    "gemini-sampling": [["sampling", SAMPLING], "gemini", ["sampling", {"top_k": 3}]],
    "gemini-custom": [
        "gemini",
        ["customparams", {"safetySettings": [1], "generationConfig": {"topK": 3}}],
    ],
    "responses": ["openai-responses"],
    "responses-custom": [
        ["customparams", {"store": False, "top_p": 0.3}],
        "openai-responses",
        ["sampling", {"temperature": 1}],
    ],
    "anthropic": ["Anthropic"],
}
FORMS = {"gemini": "gemini", "openai-responses": "responses"}
ASKED: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "warm": {"temperature": 0.25},
    "much": {"max_tokens": 100_000},
    "thinks": {"thinking": THINKING},
    "thinks a little": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "thinks some": {"thinking": {"type": "enabled", "budget_tokens": 4000}},
    "of somebody": {"metadata": user(SESSION)},
    "streamed": {"stream": True},
}
OF_THE_FORM = frozenset(
    {"messages", "contents", "input", "instructions", "stream", "stream_options", "tool_choice"}
)
"""What each CCR writes in its own way, or not at all."""


def parameters(answered: Answered) -> dict[str, Any]:
    found = {k: v for k, v in answered.seen.body.items() if k not in OF_THE_FORM}
    return {k: v for k, v in found.items() if (k, v) != ("generationConfig", {})}


@pytest.mark.parametrize("name", USES)
async def test_parameters_arrive_as_on_ccr_2(pair: Pair, name: str) -> None:
    """Whether transformers stand at the provider or at the model; thinking, too."""
    profile = transformed(pair)
    if pair.config != profile:
        await pair.use(profile)
    wrong = []
    for provider in (entry["name"] for entry in profile["Providers"]):
        if provider not in (name, f"{name}-model"):
            continue
        for model in ("m", "gemini-3-x"):
            for asked, more in ASKED.items():
                body = say("hi", **{"model": f"{provider},{model}", "max_tokens": 4000, **more})
                second, third = await pair.ask(body)
                assert (second.status, third.status) == (200, 200), third.text
                if (wanted := parameters(second)) != (found := parameters(third)):
                    wrong.append(f"{provider} {model} {asked}: {wanted} on CCR 2, {found}")
    assert wrong == []


def transformed(pair: Pair) -> dict[str, Any]:
    """Two providers for each list of transformers: at the provider, and at the model."""
    entries = []
    for name, use in USES.items():
        form = next((FORMS[one] for one in use if isinstance(one, str) and one in FORMS), "openai")
        form = "anthropic" if use == ["Anthropic"] else form
        models = ["m", "gemini-3-x"]
        entries.append(provider_entry(pair.fake, name, models, form, transformer={"use": use}))
        if form == "openai" and "cerebras" not in use:  # which CCR 2 breaks at a model
            of_models = {model: {"use": use} for model in models}
            entries.append(
                provider_entry(pair.fake, f"{name}-model", models, form, transformer=of_models)
            )
    return {"Providers": entries, "Router": {"default": "none,m"}}


async def test_schemas_of_tools_are_clean_for_groq(pair: Pair) -> None:
    """It refuses them otherwise."""
    profile = transformed(pair)
    if pair.config != profile:
        await pair.use(profile)
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    tools = [{"name": "t", "description": "d", "input_schema": schema}]
    for provider, there in (("groq", False), ("none", True)):
        second, third = await pair.ask(say("hi", model=f"{provider},m", tools=tools))
        for answered in (second, third):
            assert ("$schema" in json.dumps(answered.seen.body["tools"])) is there
