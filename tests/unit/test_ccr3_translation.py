"""A profile of CCR 2 in CCR 3's words: cases, and what holds for every profile."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ENVIRON, documents

from synccr.ccr.generations import V2, V3
from synccr.ccr.loss import Loss, unservable
from synccr.ccr.package_source import losses_of
from synccr.ccr.v3.losses import losses
from synccr.ccr.v3.transformers import EFFORTS, Edits, edits
from synccr.ccr.v3.translation import Translation, translate
from synccr.config.profile import Profile, Role
from synccr.config.reader import understand
from synccr.config.store import shipped
from synccr.models.report import ModelRef
from synccr.paths import Paths
from synccr.probe.dialects import used
from synccr.settings import Settings

HOME = Path("/home/me")
PATHS = Paths(HOME / ".claude-code-router", HOME / "c", HOME / "s", HOME / "k", HOME / "l")
SAMPLING = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
Use = list[Any]


def address(name: str) -> str:
    return f"http://127.0.0.1:9/to/{name.lower().replace(' ', '')}"


def profile_of(document: Mapping[str, Any]) -> Profile:
    return understand(copy.deepcopy(dict(document)), "test", "primary", ENVIRON)


def translated(document: Mapping[str, Any]) -> Translation:
    return translate(document, address, PATHS, ENVIRON)


def provider(name: str = "acme", *models: str, **more: Any) -> dict[str, Any]:
    url = "https://secret.host/v1/chat/completions?key=$KEY_TWO"
    found = {"name": name, "api_base_url": url, "api_key": "$KEY_ONE"}
    return {**found, "models": list(models or ("m",)), **more}


def document(*providers: dict[str, Any], **more: Any) -> dict[str, Any]:
    listed = providers or (provider(),)
    first = f"{listed[0]['name']},{listed[0]['models'][0]}"
    return {"Providers": list(listed), "Router": {"default": first}, **more}


def done(use: Use, effort: str = "", model: str = "m") -> Edits:
    return edits(used({"use": use}), model, effort)


# ------------------------------------------------------------------------ transformers


@pytest.mark.parametrize(
    ("use", "extra", "cap", "drop"),
    [
        ([], {}, None, set()),
        (["OpenAI", "cleancache", "streamoptions", "no-such"], {}, None, set()),
        ([["sampling", {**SAMPLING, "max_tokens": 9}]], SAMPLING, 9, set()),
        ([["sampling", {"top_k": None}]], {"top_k": None}, None, set()),
        (["sampling", "maxtoken"], {}, None, set()),
        ([["maxtoken", {"max_tokens": 5}], ["sampling", {"max_tokens": 7}]], {}, 5, set()),
        ([["maxtoken", {"max_tokens": "5"}]], {}, None, set()),
        ([["maxtoken", {"max_tokens": True}]], {}, None, set()),
        (["deepseek"], {}, 8192, set()),
        (["deepseek", ["maxtoken", {"max_tokens": 9}]], {}, 9, set()),
        (["maxcompletiontokens"], {}, None, set()),
        ([["maxtoken", {"max_tokens": 5}], "maxcompletiontokens"], {}, 5, set()),
        (["maxcompletiontokens", ["maxtoken", {"max_tokens": 5}]], {}, None, set()),
        (
            [["openrouter", {"provider": {"only": ["a"]}}]],
            {"provider": {"only": ["a"]}},
            None,
            set(),
        ),
        (
            [["vercel", {"max_tokens": 8}], ["maxtoken", {"max_tokens": 5}]],
            {"max_tokens": 5},
            None,
            set(),
        ),
        (
            [["vercel", {"max_tokens": 3}], ["maxtoken", {"max_tokens": 5}]],
            {"max_tokens": 3},
            None,
            set(),
        ),
        (
            [["customparams", {"temperature": 1, "max_tokens": 1, "model": "x", "stop": ["s"]}]],
            {"stop": ["s"]},
            None,
            set(),
        ),
        ([["sampling", {"top_p": 1}], ["customparams", {"top_p": 2}]], {"top_p": 1}, None, set()),
        ([["customparams", {"top_p": 2}], ["sampling", {"top_p": 1}]], {"top_p": 1}, None, set()),
        (
            [
                ["customparams", {"a": {"b": 1, "c": {"x": 1}}}],
                ["customparams", {"a": {"b": 2, "c": {"y": 2}, "d": 3}}],
            ],
            {"a": {"b": 2, "c": {"x": 1, "y": 2}, "d": 3}},
            None,
            set(),
        ),
        (["reasoning"], {}, None, set()),
        (
            [["reasoning", {"enable": False}]],
            {"thinking": {"type": "disabled", "budget_tokens": -1}, "enable_thinking": False},
            None,
            set(),
        ),
        (["cerebras"], {"disable_reasoning": False}, None, set()),
        (
            [["sampling", SAMPLING], "gemini"],
            {},
            None,
            {"max_tokens", "temperature", "thinking", "output_config"},
        ),
        (
            ["gemini", ["customparams", {"generationConfig": {"topK": 1}}]],
            {"generationConfig": {"topK": 1}},
            None,
            {"max_tokens", "temperature", "thinking", "output_config"},
        ),
        (
            [["sampling", {**SAMPLING, "max_tokens": 9}], "openai-responses"],
            {**SAMPLING, "parallel_tool_calls": False} | {"temperature": ...},
            None,
            {"max_tokens", "temperature", "metadata"},
        ),
    ],
)
def test_what_transformers_do(
    use: Use, extra: dict[str, Any], cap: int | None, drop: set[str]
) -> None:
    """In the order of the list, each on what the one before has left, as on CCR 2."""
    found = done(use)
    wanted = {name: value for name, value in extra.items() if value is not ...}
    assert (dict(found.extra), found.cap, set(found.drop)) == (wanted, cap, drop)


@pytest.mark.parametrize(
    ("use", "model", "extra"),
    [
        ([], "m", {"reasoning": {"effort": "low", "enabled": True}}),
        (
            ["reasoning"],
            "m",
            {
                "reasoning": {"effort": "low", "enabled": True},
                "thinking": {"type": "enabled"},
                "enable_thinking": True,
            },
        ),
        (["cerebras"], "m", {}),
        (
            ["gemini"],
            "gemini-2.5",
            {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
        ),
        (
            ["gemini"],
            "gemini-3-pro",
            {
                "generationConfig": {
                    "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}
                }
            },
        ),
        (
            ["openai-responses"],
            "m",
            {
                "reasoning": {"effort": "low", "summary": "detailed"},
                "parallel_tool_calls": False,
            },
        ),
        (
            [["customparams", {"reasoning": {"max_tokens": 7}}], "reasoning"],
            "m",
            {
                "reasoning": {"effort": "low", "enabled": True, "max_tokens": 7},
                "thinking": {"type": "enabled", "budget_tokens": 7},
                "enable_thinking": True,
            },
        ),
    ],
)
def test_what_they_do_when_the_client_wants_a_model_to_think(
    use: Use, model: str, extra: dict[str, Any]
) -> None:
    """Each form has its own words for it."""
    assert done(use, "low", model).extra == extra


def test_groq_takes_no_schema_names() -> None:
    """So the router takes them out."""
    assert done(["groq"]).schemas
    assert not done(["openrouter"]).schemas


# ------------------------------------------------------------------------- translation


def test_one_entry_for_each_way_to_think() -> None:
    """What CCR 3 sets it sets always, so our router takes the right one."""
    found = translated(document(provider("Acme", "Big", "small:free")))
    names = [entry["name"] for entry in found.document["Providers"]]
    assert names == ["synccr-1", "synccr-1-low", "synccr-1-medium", "synccr-1-high"]
    first, low, *_ = found.document["Providers"]
    assert first == {
        "id": "synccr-1",
        "name": "synccr-1",
        "api_base_url": "http://127.0.0.1:9/to/acme/v1/chat/completions",
        "api_key": "synccr",
        "models": ["Big", "small:free"],
        "protocol": "openai_chat_completions",
    }
    reasoning = {"reasoning": {"effort": "low", "enabled": True}}
    assert low["extraBody"] == {"Big": reasoning, "small:free": reasoning}
    assert found.routes["models"]["acme,big"] == {
        "to": "synccr-1,Big",
        "thinking": {
            "low": "synccr-1-low,Big",
            "medium": "synccr-1-medium,Big",
            "high": "synccr-1-high,Big",
        },
    }


def test_profiles_of_the_same_models_differ_in_routes_only() -> None:
    """In whatever order they list providers and models: a swap between them needs no other CCR."""
    google = {"transformer": {"use": ["gemini"]}}
    one = document(provider("acme", "b", "a"), provider("other", "m", **google))
    other = document(provider("other", "m", **google), provider("acme", "a", "b"))
    assert one["Router"] != other["Router"]
    assert translated(one).document == translated(other).document
    assert translated(one).routes["models"] == translated(other).routes["models"]


@pytest.mark.parametrize(
    ("use", "protocol", "path"),
    [
        (["Anthropic"], "anthropic", "/v1/messages"),
        (["openai-responses"], "openai_responses", "/v1/responses"),
        (["gemini"], "gemini", ""),
        (["Anthropic", "deepseek"], "openai_chat_completions", "/v1/chat/completions"),
        (["anthropic"], "openai_chat_completions", "/v1/chat/completions"),
        (["a-name-of-nobody"], "openai_chat_completions", "/v1/chat/completions"),
    ],
)
def test_protocols(use: Use, protocol: str, path: str) -> None:
    """The form is written, and `transformer`, which CCR 3 would read, is not."""
    found = translated(document(provider(transformer={"use": use})))
    first = found.document["Providers"][0]
    assert first["protocol"] == protocol
    assert first["api_base_url"] == f"http://127.0.0.1:9/to/acme{path}"
    assert "transformer" not in first


def test_forms_of_one_provider_are_entries_of_their_own() -> None:
    """A transformer at a model takes it out of Anthropic's form."""
    one = provider("p", "a", "b", transformer={"use": ["Anthropic"], "b": {"use": ["deepseek"]}})
    found = translated(document(one))
    forms = {e["protocol"]: e["models"] for e in found.document["Providers"]}
    assert forms == {"anthropic": ["a"], "openai_chat_completions": ["b"]}
    assert found.routes["models"]["p,a"] == {"to": "synccr-1,a", "anthropic": True}
    assert found.routes["models"]["p,b"]["to"] == "synccr-2,b"
    assert found.routes["models"]["p,b"]["cap"] == 8192


def test_parameters_of_a_model_are_its_own() -> None:
    """And those of the provider are everybody's, the model's last."""
    one = provider(
        "p",
        "a",
        "b",
        transformer={
            "use": [["sampling", {"top_p": 1}]],
            "b": {"use": [["sampling", {"top_p": 2}]]},
        },
    )
    first = translated(document(one)).document["Providers"][0]
    assert first["extraBody"] == {"a": {"top_p": 1}, "b": {"top_p": 2}}


def test_what_the_router_does_to_a_request() -> None:
    """Limits, and what is taken out, go to it by model."""
    use = [["maxtoken", {"max_tokens": 5}], "groq"]
    one = provider("p", "a", "b", transformer={"a": {"use": use}, "use": ["openai-responses"]})
    found = translated(document(one)).routes["models"]
    assert found["p,a"]["schemas"] is True
    assert found["p,b"]["drop"] == ["max_tokens", "metadata", "temperature"]
    assert "schemas" not in found["p,b"]
    assert "cap" not in found["p,b"]


def test_a_model_that_only_a_route_names_can_be_asked() -> None:
    """CCR 2 passes it on, too."""
    found = translated(document(Router={"default": "acme,m", "think": "acme,new"}))
    assert found.document["Providers"][0]["models"] == ["m", "new"]
    assert "acme,new" in found.routes["models"]


def test_files_of_a_persons_own() -> None:
    """Relative to CCR's directory; the router's configuration has neither keys nor addresses."""
    found = translated(
        document(
            provider(priority=3),
            CUSTOM_ROUTER_PATH="/mine/router.js",
            REWRITE_SYSTEM_PROMPT="prompt.md",
            APIKEY="local-key",
            PROXY_URL="http://proxy",
            mine={"x": 1},
        )
    ).routes
    assert found["custom"] == "/mine/router.js"
    assert found["rewrite"] == "/home/me/.claude-code-router/prompt.md"
    shown = [{"name": "acme", "models": ["m"], "priority": 3}]
    assert found["config"] == {"mine": {"x": 1}, "Providers": shown, "providers": shown} | {
        "CUSTOM_ROUTER_PATH": "/mine/router.js",
        "REWRITE_SYSTEM_PROMPT": "prompt.md",
    }
    assert found["projects"] == "/home/me/.claude-code-router"
    assert found["sessions"] == "/home/me/.claude/projects"


def test_an_option_that_is_a_variable_is_left_out_and_told() -> None:
    """Its value would be kept on disk."""
    use = [["customparams", {"token": "$KEY_ONE", "user": "me"}]]
    written = document(provider(transformer={"use": use}))
    assert translated(written).document["Providers"][0]["extraBody"] == {"m": {"user": "me"}}
    assert "that option is left out" in [loss.consequence for loss in losses(profile_of(written))]


# ------------------------------------------------------------------------------ losses

ROUTES = {"default": "acme,m", "longContext": "acme,m", "image": "acme,m", "webSearch": "acme,m"}


@pytest.mark.parametrize(
    ("written", "places"),
    [
        (document(), []),
        (document(provider(transformer={"use": ["tooluse", "enhancetool"]})),
         ["Providers.acme.transformer", "Providers.acme.transformer"]),
        (document(provider(transformer={"m": {"use": ["forcereasoning"]}})),
         ["Providers.acme.transformer"]),
        (document(provider(transformer={"use": ["vertex-claude", "tooluse"]})),
         ["Providers.acme.models"]),
        (document(provider(transformer={"use": ["maxcompletiontokens"]})), []),
        (document(provider(transformer={"use": ["gemini"]})), ["Providers.acme.transformer"]),
        (document(provider("acme", "anthropic/claude-9")), ["Providers.acme.transformer"]),
        (document(provider("acme", "claude-9", transformer={"use": ["cleancache"]})), []),
        (document(provider("acme", "claude-9", transformer={"use": ["Anthropic"]})), []),
        (document(provider(tokenizer={"default": {}})), ["Providers.acme.tokenizer"]),
        (document(Router=ROUTES), ["Router.image", "Router.webSearch"]),
        (document(provider(transformer={"use": ["Anthropic"]}), Router=ROUTES), ["Router.image"]),
        (document(Router=ROUTES, forceUseImageAgent=True),
         ["Router.image", "forceUseImageAgent", "Router.webSearch"]),
        (document(forceUseImageAgent=True), []),
        (document(CUSTOM_ROUTER_PATH="x.js"), ["CUSTOM_ROUTER_PATH"]),
        (document(plugins=[{"name": "token-speed", "enabled": True}, {"name": "x"}]), ["plugins"]),
        (document(StatusLine={"enabled": True}), ["StatusLine"]),
        (document(StatusLine={"enabled": False}, LOG=True, PROXY_URL="http://p"), []),
    ],
)  # fmt: skip
def test_losses_are_named_by_their_place(written: dict[str, Any], places: list[str]) -> None:
    """And nothing is called a loss that is none."""
    assert [loss.place for loss in losses(profile_of(written))] == places


@pytest.mark.parametrize("role", ["primary", "fallback"])
def test_the_shipped_profiles_lose_nothing(role: Role) -> None:
    """So nobody who has no profile of their own is warned at each start."""
    assert losses(profile_of(json.loads(shipped(role).read_bytes()))) == ()


@pytest.mark.parametrize(
    ("entry", "more", "why"),
    [
        (provider(transformer={"use": ["vertex-claude"]}), {}, "Vertex"),
        (provider(transformer={"m": {"use": ["vertex-gemini"]}}), {}, "Vertex"),
        (provider(transformer={"use": ["mine"]}), {"transformers": [{"path": "m.js"}]}, "mine"),
        (provider(transformer={"m": {"use": ["mine"]}}), {"transformers": [{}]}, "mine"),
        (provider(transformer={"use": [["deepseek", {}]]}), {}, "no options"),
        (provider(transformer={"m": {"use": ["gemini"]}}), {}, "at the model"),
        (provider("acme", "a,b"), {}, "comma"),
    ],
)
def test_models_that_cannot_be_asked(entry: dict[str, Any], more: dict[str, Any], why: str) -> None:
    """They are in no entry, and the reason is told."""
    written = document(entry, **more)
    found = losses(profile_of(written))
    ref = ModelRef("acme", entry["models"][0])
    assert why in unservable(found)[ref]
    assert "cannot be asked" in str(found[0])
    assert translated(written).document["Providers"] == []
    assert translated(written).routes["models"] == {}


def test_a_name_that_differs_in_capitals_only_cannot_be_asked() -> None:
    """CCR 3 takes the first."""
    written = document(provider("acme", "m", "M"), provider("ACME", "m", "n"))
    found = unservable(losses(profile_of(written)))
    assert found == {
        ModelRef("acme", "M"): "CCR 3 does not tell it from acme,m",
        ModelRef("ACME", "m"): "CCR 3 does not tell it from acme,m",
    }
    targets = translated(written).routes["models"]
    assert (targets["acme,m"]["to"], targets["acme,n"]["to"]) == ("synccr-1,m", "synccr-2,n")


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (Settings(ccr_version="2.0.0"), 0),
        (Settings(ccr_version="1.0.73"), 0),
        (Settings(ccr_version="9.9.9"), 0),
        (Settings(ccr_version="3.1.1"), 1),
        (Settings(ccr_command="npx -y @musistudio/claude-code-router@2.0.0"), 0),
    ],
)
def test_losses_of_what_settings_name(settings: Settings, count: int) -> None:
    """Each once, though both profiles have it; none on CCR 2."""
    profile = profile_of(document(CUSTOM_ROUTER_PATH="x.js"))
    assert len(losses_of(settings, profile, profile)) == count


def test_generations_differ_in_what_they_lose() -> None:
    profile = profile_of(document(CUSTOM_ROUTER_PATH="x.js"))
    assert V2.losses(profile) == ()
    assert V3.losses(profile) == losses(profile)


def test_a_loss_is_a_sentence() -> None:
    loss = Loss("Router.image", "it is so", "it hurts", (ModelRef("p", "m"),))
    assert str(loss) == "Router.image: it is so; it hurts (p,m)."


# ------------------------------------------------------------- what holds for every one

USES = st.lists(
    st.sampled_from(
        [
            "Anthropic", "OpenAI", "cerebras", "cleancache", "deepseek", "enhancetool", "groq",
            "forcereasoning", "gemini", "maxcompletiontokens", "openai-responses", "openrouter",
            "reasoning", "streamoptions", "tooluse", "vertex-claude", "unknown",
            ["sampling", {**SAMPLING, "max_tokens": 4096}], ["maxtoken", {"max_tokens": 100}],
            ["customparams", {"top_p": 0.5, "x": {"y": 1}, "token": "$KEY_ONE"}],
            ["openrouter", {"provider": {"only": ["z"]}}], ["deepseek", {}],
        ]
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def odd_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations that can be used, with transformers everywhere."""
    found = draw(documents())
    for entry in found["Providers"]:
        sections: dict[str, Any] = {"use": draw(USES)} if draw(st.booleans()) else {}
        for model in entry["models"]:
            if draw(st.booleans()):
                sections[model] = {"use": draw(USES)}
        entry["transformer"] = sections
    if draw(st.booleans()):
        found["transformers"] = [{"path": "/mine.js"}]
    return found


@given(odd_documents())
def test_every_model_is_asked_once_or_told_why_not(written: dict[str, Any]) -> None:
    """Where our router leads is an entry that has the model; what it does not lead to is told."""
    profile, found = profile_of(written), translated(written)
    entries = {entry["name"]: entry["models"] for entry in found.document["Providers"]}
    refused = unservable(losses(profile))
    targets = found.routes["models"]
    assert len(entries) == len(found.document["Providers"])
    for ref in profile.models():
        assert (ref in refused) != (
            targets.get(str(ref).lower(), {}).get("to", "").endswith(f",{ref.model}")
        )
    assert len(targets) == len(profile.models()) - len(refused)
    for target in targets.values():
        for to in (target["to"], *target.get("thinking", {}).values()):
            name, _, model = to.partition(",")
            assert model in entries[name]
    for models in entries.values():
        assert len(set(models)) == len(models)


@given(odd_documents())
def test_no_key_and_no_address_is_in_what_ccr_3_gets(written: dict[str, Any]) -> None:
    """Neither values of variables nor what stands in the file."""
    found = translated(written)
    text = json.dumps([found.document, found.routes])
    profile = profile_of(written)
    secrets = {*ENVIRON.values(), *(p.key for p in profile.providers), "local-secret-12345"}
    for secret in secrets | {p.url for p in profile.providers}:
        assert secret not in text
    assert "KEY_ONE" not in json.dumps(found.document)
    assert {entry["api_key"] for entry in found.document["Providers"]} <= {"synccr"}


@given(odd_documents(), st.data())
def test_equal_providers_are_translated_equally_whatever_the_routes(
    written: dict[str, Any], data: st.DataObject
) -> None:
    """So that going over to other routes needs no other CCR."""
    listed = [f"{p.name},{m}" for p in profile_of(written).providers for m in p.models]
    routes = st.fixed_dictionaries({"default": st.sampled_from(listed)})
    one, other = ({**written, "fallback": None, "Router": data.draw(routes)} for _ in range(2))
    assert translated(one).document == translated(other).document
    assert translated(one).routes["models"] == translated(other).routes["models"]


@given(USES, st.sampled_from(EFFORTS))
def test_edits_are_data_for_json_and_leave_the_profile_alone(use: Use, effort: str) -> None:
    before = copy.deepcopy(use)
    found = edits(used({"use": use}), "m", effort)
    assert json.loads(json.dumps(found.extra)) == found.extra
    assert use == before
