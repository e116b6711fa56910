"""CCR 3's configuration as a profile of CCR 2's: what is taken, what is named, and no key in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr3_capture import NATIVE, ORIGIN, PORT, UPGRADED
from ccr3_kit import lay_out
from home import KEY
from synccr.config.ccr3.database import Stored, StoredKey, read_database
from synccr.config.ccr3.profile import Taken, old_document, take
from synccr.config.ccr3.provider import Provider3, read_provider
from synccr.config.profile import variables
from synccr.config.reader import understand

HERE = Path("/home/me/.claude-code-router")
MAIN, SPARE, LONG = "acme,vendor/main-480b", "acme,vendor/spare-32b", "acme,vendor/long-v3"


def taken(
    document: dict[str, Any],
    old: dict[str, Any] | None = None,
    keys: tuple[StoredKey, ...] = (),
    known: Mapping[str, str] = MappingProxyType({}),
) -> Taken:
    found = take(Stored(document, keys), old, directory=HERE, known=known)
    assert found
    return found


def one(**changes: Any) -> dict[str, Any]:
    """A provider of CCR 3's."""
    base = {"name": "acme", "api_base_url": "https://a.test/v1", "api_key": "key-of-acme"}
    return base | {"models": ["m", "n"]} | changes


def provider(**changes: Any) -> Provider3:
    found = read_provider(one(**changes))
    assert isinstance(found, Provider3), found
    return found


def of_real(tmp_path: Path, name: str) -> Taken:
    stored = read_database(lay_out(tmp_path, name))
    assert stored
    old = old_document(stored.imported[0])
    found = take(stored, old, directory=HERE, known={})
    assert found
    return found


def test_a_configuration_made_in_ccr_3(tmp_path: Path) -> None:
    """As 3.1.1 itself stored it."""
    found = of_real(tmp_path, "native")
    use = [["sampling", {"top_p": 0.9}]]
    assert found.document == {
        "PORT": PORT,
        "APIKEY": "$CCR_LOCAL_KEY",
        "API_TIMEOUT_MS": 600000,
        "Providers": [
            {
                "name": "acme",
                "api_base_url": f"{ORIGIN}/openai/v1/chat/completions",
                "api_key": "$ACME_API_KEY",
                "models": NATIVE["Providers"][0]["models"],
                "transformer": {
                    "vendor/main-480b": {"use": [["sampling", {"top_p": 0.9, "temperature": 0.3}]]},
                    "vendor/spare-32b": {"use": use},
                    "vendor/long-v3": {"use": use},
                },
            },
            {
                "name": "anth",
                "api_base_url": f"{ORIGIN}/anthropic/v1/messages",
                "api_key": "$ANTH_API_KEY",
                "models": ["am"],
                "transformer": {"use": ["Anthropic"]},
            },
            {
                "name": "pool",
                "api_base_url": f"{ORIGIN}/pool/v1/chat/completions",
                "api_key": "$POOL_API_KEY",
                "models": ["pm"],
            },
        ],
        "Router": {
            "background": SPARE,
            "longContext": LONG,
            "longContextThreshold": 60000,
            "default": MAIN,
        },
        "fallback": {"default": [SPARE, "anth,am"]},
    }
    assert found.keys == {
        "ACME_API_KEY": "key-of-acme-7a1c",
        "ANTH_API_KEY": "key-of-anth-19be",
        "POOL_API_KEY": "key-of-pool-1c1c",
        "CCR_LOCAL_KEY": "key-of-the-port-3f1d",
    }
    assert found.left == (
        "provider off: it is switched off",
        "provider pool: 1 more keys",
        "rule odd: CCR 2 has no route for its condition",
    )
    assert (found.remarks, found.upgraded) == ((), False)


def test_an_upgrade_by_accident(tmp_path: Path) -> None:
    """The old file comes back with its routes and names; its values come from CCR 3."""
    found = of_real(tmp_path, "upgraded")
    wanted = json.loads(json.dumps(UPGRADED))
    wanted["Providers"][1]["api_key"] = "$ANTH_API_KEY"
    wanted["APIKEY"] = "$CCR_LOCAL_KEY"
    assert found.document == wanted
    assert found.keys == {
        "ACME_KEY": KEY,
        "ANTH_API_KEY": "key-of-anth-19be",
        "CCR_LOCAL_KEY": "key-of-the-port-3f1d",
    }
    assert (found.left, found.remarks, found.upgraded) == ((), (), True)
    assert "acme" not in repr(found)
    assert f"Providers: acme, anth; routes: default {MAIN}, background {SPARE}" in str(found)


CHAT, RESPONSES, ANTHROPIC, GEMINI = (
    "openai_chat_completions",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate_content",
)


@pytest.mark.parametrize(
    ("protocol", "address", "asked"),
    [
        (CHAT, "", "/chat/completions"),
        (CHAT, "/v1/", "/v1/chat/completions"),
        (CHAT, "/v1/chat/completions", "/v1/chat/completions"),
        (CHAT, "/paas/v4", "/paas/v4/chat/completions"),
        (CHAT, "/v1/messages", "/v1/chat/completions"),
        (CHAT, "/v1beta/models/", "/v1beta/chat/completions"),
        (CHAT, "/v1beta/openai", "/v1beta/openai/chat/completions"),
        (CHAT, "/v1/responses", "/v1/chat/completions"),
        (CHAT, "/v1?a=b", "/v1/chat/completions"),
        (RESPONSES, "/v1", "/v1/responses"),
        (RESPONSES, "/v1/chat/completions", "/v1/responses"),
        (ANTHROPIC, "", "/v1/messages"),
        (ANTHROPIC, "/v1", "/v1/messages"),
        (ANTHROPIC, "/api/v1", "/api/v1/messages"),
        (ANTHROPIC, "/anthropic", "/anthropic/v1/messages"),
        (ANTHROPIC, "/anthropic/v1/messages", "/anthropic/v1/messages"),
        (ANTHROPIC, "/paas/v4", "/paas/v4/v1/messages"),
        (ANTHROPIC, "/v1beta/models", "/v1/messages"),
        (GEMINI, "", "/v1beta/models/"),
        (GEMINI, "/v1beta", "/v1beta/models/"),
        (GEMINI, "/v1beta/models/", "/v1beta/models/"),
    ],
)
def test_the_address_is_the_one_that_3_1_1_asks(protocol: str, address: str, asked: str) -> None:
    """Seen at a provider; of Gemini's the part that CCR 2 adds the model to."""
    url = f"http://127.0.0.1:9/x{address}"
    found = provider(capabilities=[{"type": protocol, "baseUrl": url}], api_base_url="http://no")
    assert found.url == f"http://127.0.0.1:9/x{asked}"
    name = {RESPONSES: "openai-responses", ANTHROPIC: "Anthropic", GEMINI: "gemini"}.get(protocol)
    assert found.transformer == ({"use": [name]} if name else {})


@pytest.mark.parametrize(
    ("changes", "url", "use"),
    [
        ({}, "https://a.test/v1/chat/completions", None),
        ({"api_base_url": "api.a.test"}, "https://api.a.test/chat/completions", None),
        ({"api_base_url": "localhost:1/v1"}, "http://localhost:1/v1/chat/completions", None),
        (
            {"api_base_url": "https://a.test/anthropic"},
            "https://a.test/anthropic/v1/messages",
            ["Anthropic"],
        ),
        (
            {"api_base_url": "https://generativelanguage.googleapis.com"},
            "https://generativelanguage.googleapis.com/v1beta/models/",
            ["gemini"],
        ),
        (
            {"api_base_url": "https://generativelanguage.googleapis.com/v1beta/openai/"},
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            None,
        ),
        ({"protocol": "anthropic"}, "https://a.test/v1/messages", ["Anthropic"]),
        ({"type": "openai"}, "https://a.test/v1/responses", ["openai-responses"]),
        ({"capabilities": [{"type": "anthropic"}, {"baseUrl": "https://c.test"}, 7]},
         "https://a.test/v1/chat/completions", None),
        ({"provider": "gemini"}, "https://a.test/v1/models/", ["gemini"]),
        (
            {"capabilities": [{"type": "gemini_interactions", "baseUrl": "https://g.test"},
                              {"type": "anthropic", "baseUrl": "https://c.test"}]},
            "https://c.test/v1/messages",
            ["Anthropic"],
        ),
        # One that is in CCR 2's form is kept, and its words decide nothing.
        (
            {"api_base_url": "https://r.test/api?v=1", "transformer": {"use": ["openrouter"]}},
            "https://r.test/api?v=1",
            ["openrouter"],
        ),
        (
            {"transformer": {"m": {"use": ["tooluse"]}}, "models": ["m", "google/gemini-2.5"]},
            "https://a.test/v1",
            None,
        ),
        (
            {"transformer": {"use": ["gemini"]}, "protocol": "anthropic"},
            "https://a.test/v1/messages",
            ["Anthropic"],
        ),
    ],
)  # fmt: skip
def test_how_a_provider_is_asked(changes: dict[str, Any], url: str, use: list[str] | None) -> None:
    found = provider(**changes)
    assert (found.url, found.transformer.get("use")) == (url, use)


@pytest.mark.parametrize(
    ("changes", "key", "left"),
    [
        ({}, "key-of-acme", ()),
        ({"api_key": "", "apiKey": " other "}, "other", ()),
        ({"api_key": None}, "", ()),
        (
            {"api_key": "", "credentials": [
                {"api_key": "c", "priority": 3}, {"api_key": "off", "enabled": False},
                {"api_key": "a", "priority": 1}, {"api_key": "", "priority": 0}, 7]},
            "a",
            ("provider acme: 1 more keys",),
        ),
        (
            {"credentials": [{"api_key": "key-of-acme"}]},
            "key-of-acme",
            (),
        ),
        (
            {"extraHeaders": {"x-secret": "key-that-nobody-sees"}},
            "key-of-acme",
            ("provider acme: its own headers (x-secret)",),
        ),
    ],
)  # fmt: skip
def test_the_key_of_a_provider(changes: dict[str, Any], key: str, left: tuple[str, ...]) -> None:
    found = provider(**changes)
    assert (found.key, found.left) == (key, left)
    assert "key-of" not in repr(found)


@pytest.mark.parametrize(
    ("extra", "use"),
    [
        (None, {}),
        ({"temperature": 1}, {name: [["sampling", {"temperature": 1}]] for name in "mn"}),
        ({"default": {"top_k": 4}, "n": {"top_k": 5}},
         {"m": [["sampling", {"top_k": 4}]], "n": [["sampling", {"top_k": 5}]]}),
        ({"m": {"seed": 4, "top_p": 1}, "other": {"top_p": 2}},
         {"m": [["sampling", {"top_p": 1}], ["customparams", {"seed": 4}]]}),
        ({"default": 7, "m": "x"}, {}),
    ],
)  # fmt: skip
def test_what_is_added_to_requests(extra: object, use: dict[str, Any]) -> None:
    """Per model, as CCR 3 adds it."""
    found = provider(extraBody=extra)
    assert found.transformer == {model: {"use": listed} for model, listed in use.items()}


def test_a_model_whose_name_means_something_else() -> None:
    """Its parameters would take the place of the provider's own transformers."""
    found = provider(protocol="anthropic", models=["use", "m"], extraBody={"top_p": 1})
    assert found.transformer == {"use": ["Anthropic"], "m": {"use": [["sampling", {"top_p": 1}]]}}
    assert found.left == ("provider acme: the parameters of use",)


def test_what_is_added_comes_behind_what_ccr_2_did() -> None:
    given = {"m": {"use": ["tooluse"]}}
    found = provider(transformer=given, extraBody={"m": {"top_p": 1}})
    assert found.transformer == {"m": {"use": ["tooluse", ["sampling", {"top_p": 1}]]}}
    assert given == {"m": {"use": ["tooluse"]}}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (7, "no object"),
        ({"models": ["m"]}, "without a name"),
        (one(api_key="ccr-local-agent-login"), "login of another program"),
        (one(protocol="gemini_interactions"), "does not speak its protocol"),
        (one(capabilities=[{"type": "openai_images", "baseUrl": "https://a.test"}]), "protocol"),
        (one(api_base_url=""), "no address"),
        (one(api_base_url="ftp://a.test"), "no address"),
        (one(api_base_url="https://a.test:99999"), "no address"),
        (one(name="a,b"), "read its name"),
        (one(models=["$HOME"]), "read its name"),
    ],
)
def test_what_is_no_provider_for_ccr_2(entry: object, words: str) -> None:
    """It is said why; no key is."""
    found = read_provider(entry)
    assert isinstance(found, str)
    assert words in found
    assert "key-of-acme" not in found


def sets(value: object) -> dict[str, Any]:
    return {"key": "request.body.model", "operation": "set", "value": value}


def rule(left: str, operator: str, right: str, **changes: Any) -> dict[str, Any]:
    condition = {"left": left, "operator": operator, "right": right}
    return {"name": "r", "condition": condition, "rewrites": [sets("acme/n")]} | changes


MODEL, COUNT = "request.body.model", "request.tokenCount"


@pytest.mark.parametrize(
    ("rules", "router"),
    [
        ([rule(MODEL, "contains", "haiku")], {"background": "acme,n"}),
        ([rule(MODEL, "starts-with", "claude-3-5-haiku")], {"background": "acme,n"}),
        ([rule(COUNT, ">", "60000")], {"longContext": "acme,n", "longContextThreshold": 60000}),
        ([rule(COUNT, ">=", "60000")], {"longContext": "acme,n", "longContextThreshold": 59999}),
        ([rule("request.body.thinking.type", "==", "enabled")], {"think": "acme,n"}),
        ([rule("request.body.thinking", "!=", "")], {"think": "acme,n"}),
        ([rule("request.body.tools", "contains-deep", "web_search_20250305")],
         {"webSearch": "acme,n"}),
        ([rule("request.body.messages", "contains-deep", "image")], {"image": "acme,n"}),
        ([rule(MODEL, "!=", "")], {"default": "acme,n"}),
        ([rule(MODEL, "starts-with", "claude")], {"default": "acme,n"}),
        ([rule(MODEL, "contains", "haiku", type="model-prefix", target="acme,n", rewrites=[])],
         {"background": "acme,n"}),
        ([rule(MODEL, "!=", "", rewrites=[sets("ID-1/N")])], {"default": "acme,n"}),
        ([rule(MODEL, "!=", "", rewrites=[], rewrite=sets("acme/n"))], {"default": "acme,n"}),
        ([rule(MODEL, "!=", "", rewrites=[sets("n")])], {"default": "acme,n"}),
    ],
)  # fmt: skip
def test_rules_that_are_routes(rules: list[Any], router: dict[str, Any]) -> None:
    found = taken({"Providers": [one(id="id-1")], "Router": {"rules": rules}})
    assert {k: v for k, v in found.document["Router"].items() if k in router} == router
    assert found.left == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"enabled": False}, "switched off"),
        ({"type": "script", "script": {"source": "return 1"}}, "no route for its condition"),
        ({"condition": None}, "no route"),
        ({"condition": {"left": "request.header.x-key", "operator": "==", "right": "secret"}},
         "no route"),
        ({"condition": {"left": MODEL, "operator": "contains", "right": "opus"}}, "no route"),
        ({"condition": {"left": MODEL, "operator": "!=", "right": "x"}}, "no route"),
        ({"condition": {"left": COUNT, "operator": "<", "right": "9"}}, "no route"),
        ({"condition": {"left": "request.body.system", "operator": "contains", "right": "image"}},
         "no route"),
        ({"condition": {"left": "request.body.tools", "operator": "contains", "right": "image"}},
         "no route"),
        ({"condition": {"left": "request.body.messages", "operator": "==", "right": "image"}},
         "no route"),
        ({"condition": {"left": COUNT, "operator": ">", "right": "many"}}, "no route"),
        ({"condition": {"left": "request.body.thinking.budget_tokens", "operator": "==",
                        "right": "enabled"}}, "no route"),
        ({"condition": {"left": "request.body.thinking.type", "operator": "==",
                        "right": "disabled"}}, "no route"),
        ({"rewrites": [sets("acme/n"), {"key": "request.header.x", "value": "secret"}]},
         "more than the model"),
        ({"rewrites": []}, "more than the model"),
        ({"rewrites": [sets("acme/gone")]}, "not configured"),
        ({"rewrites": [sets("nobody/n")]}, "not configured"),
        ({"rewrites": [sets(7)]}, "not configured"),
    ],
)  # fmt: skip
def test_rules_that_are_none(changes: dict[str, Any], words: str) -> None:
    """They are named, and make no route."""
    rules = [rule(MODEL, "contains", "haiku", **changes)]
    found = taken({"Providers": [one()], "Router": {"rules": rules}})
    assert found.document["Router"] == {"default": "acme,m"}
    (left,) = found.left
    assert left.startswith("rule r: ")
    assert words in left
    assert "secret" not in left


def test_the_first_rule_that_fits_counts() -> None:
    """A second one for the same route, and all behind one for every request, are named."""
    rules = [
        rule(MODEL, "contains", "haiku", name="a", rewrites=[sets("acme/m")]),
        rule(MODEL, "contains", "haiku", name="b"),
        rule(MODEL, "!=", "", name="c"),
        rule(COUNT, ">", "9", name="d"),
    ]
    found = taken({"Providers": [one()], "Router": {"rules": rules}})
    assert found.document["Router"] == {"background": "acme,m", "default": "acme,n"}
    assert found.left == (
        "rule b: there is one for background before it",
        "rule d: it comes after a rule that takes every request",
    )


def test_chains_of_models() -> None:
    """Only of a fallback that tries one model after the other; one of a rule's own is its
    route's."""
    models = ["acme/n", "gone/x", "acme/n"]
    own = {"mode": "model-chain", "models": ["acme/m"]}
    rules = [
        rule(MODEL, "contains", "haiku", fallback=own),
        rule("request.body.messages", "contains", "image", name="i", fallback=own),
    ]
    for mode, lists in (("model-chain", {"default": ["acme,n"]}), ("off", {}), ("retry", {})):
        router = {"rules": rules, "fallback": {"mode": mode, "models": models}}
        found = taken({"Providers": [one()], "Router": router})
        assert found.document["fallback"] == {"background": ["acme,m"]} | lists
        assert found.left == ("rule i: its own list of fallbacks",)


AGENT = {"agent": "claude-code", "enabled": True, "name": "Claude Code"}


@pytest.mark.parametrize(
    ("document", "router", "remarks", "left"),
    [
        ({}, {"default": "acme,m"}, 1, ()),
        ({"preferredProvider": "second"}, {"default": "second,x"}, 1, ()),
        ({"profile": {"profiles": [AGENT | {"model": "acme/n", "smallFastModel": "acme/m"}]}},
         {"default": "acme,n", "background": "acme,m"}, 0, ()),
        ({"profile": {"profiles": [AGENT | {"haikuModel": "acme,m", "opusModel": "acme/n"}]}},
         {"default": "acme,m", "background": "acme,m"}, 1,
         ("acme,n for Claude Code's opus models",)),
        ({"profile": {"enabled": False, "profiles": [AGENT | {"model": "acme/n"}]}},
         {"default": "acme,m"}, 1, ()),
        ({"profile": {"profiles": [AGENT | {"enabled": False, "model": "acme/n"}]}},
         {"default": "acme,m"}, 1, ()),
    ],
)  # fmt: skip
def test_without_a_rule_for_every_request(
    document: dict[str, Any], router: dict[str, str], remarks: int, left: tuple[str, ...]
) -> None:
    """The model that CCR 3 gave to Claude Code, else its first one, which is said."""
    providers = [one(), one(name="second", models=["x"])]
    found = taken({"Providers": providers, **document})
    assert found.document["Router"] == router
    assert (len(found.remarks), found.left) == (remarks, left)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"PORT": 4000, "gateway": {"port": 5000}}, {"PORT": 4000}),
        ({"gateway": {"port": 5000}}, {"PORT": 5000}),
        ({"PORT": 3456, "HOST": "127.0.0.1"}, {}),
        ({"PORT": "x", "HOST": 7, "API_TIMEOUT_MS": True}, {}),
        ({"PORT": 65536}, {}),
        ({"PORT": 65535}, {"PORT": 65535}),
        ({"HOST": "0.0.0.0", "API_TIMEOUT_MS": 5}, {"HOST": "0.0.0.0", "API_TIMEOUT_MS": 5}),
        ({"CUSTOM_ROUTER_PATH": "./r.js"}, {"CUSTOM_ROUTER_PATH": str(HERE / "r.js")}),
        ({"CUSTOM_ROUTER_PATH": "/x/r.js"}, {"CUSTOM_ROUTER_PATH": "/x/r.js"}),
        ({"CUSTOM_ROUTER_PATH": " "}, {}),
    ],
)
def test_what_else_is_carried_over(document: dict[str, Any], expected: dict[str, Any]) -> None:
    found = taken({"Providers": [one()], **document}).document
    assert {k: v for k, v in found.items() if k not in ("Providers", "Router")} == expected


def test_what_only_ccr_3_does() -> None:
    found = taken(
        {
            "Providers": [one()],
            "plugins": [{"id": "p"}],
            "providerPlugins": [],
            "toolHub": {"enabled": True},
            "proxy": {"enabled": False},
            "profile": {"profiles": [AGENT | {"model": "acme/m", "routing": {"rules": []}}]},
        }
    )
    assert found.left == (
        "CCR 3's own plugins, toolHub",
        "the rules of CCR 3's profile Claude Code",
    )


@pytest.mark.parametrize(
    ("key", "known", "text", "kept"),
    [
        ("secret-1", {}, "$ACME_API_KEY", {"ACME_API_KEY": "secret-1"}),
        ("secret-1", {"ACME_API_KEY": "secret-1"}, "$ACME_API_KEY", {"ACME_API_KEY": "secret-1"}),
        ("secret-1", {"ACME_API_KEY": "x"}, "$ACME_API_KEY_2", {"ACME_API_KEY_2": "secret-1"}),
        ("secret-1", {"ACME_API_KEY": ""}, "$ACME_API_KEY", {"ACME_API_KEY": "secret-1"}),
        ("secret-1", {"ACME_API_KEY": f"synccr.ACME_API_KEY.{'0a' * 12}"}, "$ACME_API_KEY",
         {"ACME_API_KEY": "secret-1"}),
        ("$OWN_NAME", {}, "$OWN_NAME", {}),
        ("${Own-name}", {}, "${Own-name}", {}),
        ("key$WITH_SIGN", {}, "$ACME_API_KEY", {"ACME_API_KEY": "key$WITH_SIGN"}),
        (f"synccr.OWN_NAME.{'0a' * 12}", {}, "$OWN_NAME", {}),
        ("acme", {}, "acme", {}),
        ("", {}, "acme", {}),
    ],
)  # fmt: skip
def test_where_a_key_goes(key: str, known: dict[str, str], text: str, kept: dict[str, str]) -> None:
    """A name that has another value already is not used: it may be for another provider."""
    found = taken({"Providers": [one(api_key=key)]}, known=known)
    assert found.document["Providers"][0]["api_key"] == text
    assert found.keys == kept
    assert found.left == ()


def test_a_key_that_nothing_can_hold() -> None:
    """It is asked for; it is not written anywhere."""
    found = taken({"Providers": [one(api_key="two words")]})
    assert found.document["Providers"][0]["api_key"] == "$ACME_API_KEY"
    assert found.keys == {}
    assert found.left == ("provider acme: its key has signs that no key has",)


def test_keys_of_the_port() -> None:
    """The first of the person's own; others are named."""
    keys = (
        StoredKey("profile:x", "Profile", "ccr-profile-1"),
        StoredKey("a", "Old", None),
        StoredKey("b", "Mine", "secret-b"),
        StoredKey("c", "", "secret-c"),
    )
    found = taken({"Providers": [one()]}, None, keys)
    assert found.document["APIKEY"] == "$CCR_LOCAL_KEY"
    assert found.keys["CCR_LOCAL_KEY"] == "secret-b"
    assert found.left == (
        "key Old of the local port: it cannot be read",
        "key c of the local port",
    )


def test_providers_of_one_name() -> None:
    found = taken({"Providers": [one(), one(name="ACME", models=["x"]), 7]})
    assert [p["name"] for p in found.document["Providers"]] == ["acme"]
    assert found.left == (
        "provider ACME: there is one of that name before it",
        "a provider that is no object",
    )


@pytest.mark.parametrize("document", [{}, {"Providers": []}, {"Providers": [one(models=[])]}])
def test_nothing_to_take(document: dict[str, Any]) -> None:
    """No provider, or none with a model."""
    assert take(Stored(document), None, directory=HERE, known={}) is None


OLD = {
    "APIKEY": "$PORT_KEY",
    "APIKEYS": [{"key": "literal-of-port"}],
    "Providers": [
        {"name": "acme", "api_base_url": "https://a.test/v1/chat/completions",
         "api_key": "$ACME_KEY", "models": ["m"]},
        {"name": "gone", "api_base_url": "https://g.test/v1/chat/completions",
         "api_key": "literal-of-gone", "models": ["g"]},
    ],
    "Router": {"default": "acme,m", "think": "gone,g", "longContextThreshold": 5, "rules": [1]},
    "fallback": {"default": ["gone,g"]},
}  # fmt: skip


def test_what_is_new_in_ccr_3_comes_on_top() -> None:
    """Keys, models, providers and rules; what is only in the old file stays, and is told."""
    added = one(name="new", id="new-id", models=["x"], api_key="key-of-new")
    pool = [{"api_key": "key-of-acme"}, {"api_key": "second"}]
    document = {
        "Providers": [one(credentials=pool), added, one(name="off", enabled=False)],
        "Router": {
            "rules": [rule(MODEL, "!=", "", rewrites=[sets("new-id/x")])],
            "fallback": {"mode": "model-chain", "models": ["acme/n"]},
        },
    }
    found = taken(document, OLD, (StoredKey("1", "", "key-of-port"),))
    made = found.document
    assert [(p["name"], p["api_key"], p["models"]) for p in made["Providers"]] == [
        ("acme", "$ACME_KEY", ["m", "n"]),
        ("gone", "$GONE_API_KEY", ["g"]),
        ("new", "$NEW_API_KEY", ["x"]),
    ]
    assert made["Router"] == {"default": "new,x", "think": "gone,g", "longContextThreshold": 5}
    assert made["fallback"] == {"default": ["acme,n"]}
    assert (made["APIKEY"], "APIKEYS" in made) == ("$PORT_KEY", False)
    assert found.keys == {
        "ACME_KEY": "key-of-acme",
        "GONE_API_KEY": "literal-of-gone",
        "NEW_API_KEY": "key-of-new",
        "PORT_KEY": "key-of-port",
    }
    assert found.remarks == (
        "provider gone is in the old config.json only",
        "CCR 3 has more providers: new",
    )
    assert found.left == ("provider acme: 1 more keys",)
    assert found.details() == (
        "Provider gone is in the old config.json only.",
        "CCR 3 has more providers: new.",
        "Not taken: provider acme: 1 more keys.",
    )
    assert OLD["Router"]["rules"] == [1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "remarks"),
    [
        ({}, ()),
        ({"api_base_url": "https://a.test/v1/"}, ()),
        ({"enabled": False}, ("provider acme is switched off in CCR 3, and on here",)),
        ({"api_base_url": "https://b.test/v1"},
         ("provider acme has another address in CCR 3; the old one counts",)),
    ],
)  # fmt: skip
def test_what_counts_against_ccr_3_is_told(
    changes: dict[str, Any], remarks: tuple[str, ...]
) -> None:
    old: dict[str, Any] = {"Providers": OLD["Providers"][:1], "Router": {"default": "acme,m"}}  # type: ignore[index]
    found = taken({"Providers": [one(**changes)]}, old)
    assert found.remarks == remarks
    assert found.document["Providers"][0]["api_base_url"] == "https://a.test/v1/chat/completions"


@pytest.mark.parametrize(
    ("now", "known", "kept", "left"),
    [
        ("key-of-acme", {}, {"ACME_KEY": "key-of-acme"}, 0),
        ("key-of-acme", {"ACME_KEY": "key-of-acme"}, {"ACME_KEY": "key-of-acme"}, 0),
        ("key-of-acme", {"ACME_KEY": "another"}, {}, 1),
        ("$ACME_KEY", {}, {}, 0),
        ("", {}, {}, 0),
    ],
)
def test_a_name_of_the_old_file_keeps_its_name(
    now: str, known: dict[str, str], kept: dict[str, str], left: int
) -> None:
    """Its value is CCR 3's, unless it has one here, which counts and is told."""
    old: dict[str, Any] = {"Providers": OLD["Providers"][:1], "Router": {"default": "acme,m"}}  # type: ignore[index]
    found = taken({"Providers": [one(api_key=now)]}, old, known=known)
    assert found.document["Providers"][0]["api_key"] == "$ACME_KEY"
    assert found.keys == kept
    assert len(found.left) == left
    assert "APIKEY" not in found.document


@pytest.mark.parametrize(
    ("content", "old"),
    [
        (OLD, True),
        ({"providers": OLD["Providers"], "Router": {"think": "a,b"}}, True),
        (NATIVE, False),
        ({"Providers": [one()]}, False),
        ({"Providers": [one()], "Router": {"default": "x"}}, False),
        ({"Providers": [7], "Router": {"default": "a,b"}}, False),
        ([], False),
        ("{", False),
        ("[" * 100_000, False),
    ],
)
def test_which_files_had_routes_to_lose(content: object, old: bool) -> None:
    """Those of CCR 2; one that was written for CCR 3 lost nothing."""
    text = content if isinstance(content, str) else json.dumps(content)
    assert (old_document(text.encode()) is not None) is old


WORDS = st.text(alphabet="abcXYZ01 ,/$._-é", max_size=12)
SECRETS = st.integers(0, 9).map("sk-secret-{}-0123456789".format)
NAMES = st.sampled_from(["acme", "b", "c d", "acme/b", "é", "Acme", "x,y", " ", "$HOME"])
MODELS = st.lists(st.sampled_from(["m", "n", "v/m", "use", "default", "é", "a,b", ""]), max_size=3)
ADDRESSES = st.sampled_from(
    ["https://a.test/v1", "https://a.test/anthropic", "http://127.0.0.1:9", "b.test", "", "ftp://x"]
)
PROTOCOLS = st.sampled_from([CHAT, RESPONSES, ANTHROPIC, GEMINI, "gemini_interactions", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.fixed_dictionaries(
    {"name": NAMES, "api_base_url": ADDRESSES, "models": MODELS},
    optional={
        "id": NAMES,
        "api_key": SECRETS,
        "protocol": PROTOCOLS,
        "capabilities": st.lists(
            st.fixed_dictionaries({"type": PROTOCOLS, "baseUrl": ADDRESSES}), max_size=2
        )
        | JSON,
        "credentials": st.lists(st.fixed_dictionaries({"api_key": SECRETS}), max_size=2) | JSON,
        "transformer": JSON,
        "extraBody": st.dictionaries(st.sampled_from(["m", "use", "top_p"]), JSON) | JSON,
        "extraHeaders": JSON,
        "enabled": st.booleans(),
    },
)
TARGETS = st.sampled_from(["acme/m", "acme,n", "b/v/m", "m", "gone/x", "acme/b/m"])
RULES = st.fixed_dictionaries(
    {"name": WORDS},
    optional={
        "enabled": st.booleans(),
        "type": st.sampled_from(["condition", "script", ""]),
        "condition": st.fixed_dictionaries(
            {
                "left": st.sampled_from([MODEL, COUNT, "request.body.messages"]),
                "operator": st.sampled_from(["!=", ">", "contains"]),
                "right": st.sampled_from(["", "haiku", "9", "image"]),
            }
        )
        | JSON,
        "rewrites": st.lists(TARGETS.map(sets) | JSON, min_size=1, max_size=2),
        "fallback": JSON,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "Providers": st.lists(st.one_of(ENTRIES, ENTRIES, ENTRIES, JSON), max_size=4),
        "Router": st.fixed_dictionaries({"rules": st.lists(RULES, max_size=4)}) | JSON,
    },
    optional={
        "profile": JSON,
        "PORT": JSON,
        "HOST": JSON,
        "CUSTOM_ROUTER_PATH": JSON,
        "plugins": JSON,
        "preferredProvider": WORDS,
    },
)


@given(DOCUMENTS, st.lists(SECRETS, max_size=2))
def test_whatever_ccr_3_keeps(document: dict[str, Any], keys: list[str]) -> None:
    """Every provider and every rule is taken or named, the profile can be used, and each of its
    keys is a name that is kept; no key is told."""
    router = document.get("Router")
    listed = router.get("rules") if isinstance(router, dict) else None
    rules = [r for r in listed if isinstance(r, dict)] if isinstance(listed, list) else []
    for number, one_rule in enumerate(rules):
        one_rule["name"] = f"R{number}"
    stored = Stored(document, tuple(StoredKey(f"k{n}", "", key) for n, key in enumerate(keys)))
    found = take(stored, None, directory=HERE, known={})
    if found is None:
        return
    told = "\n".join([*found.left, *found.remarks])
    assert "sk-secret" not in json.dumps(found.document) + told + str(found) + repr(found)
    named = {p["name"] for p in found.document["Providers"]}
    for entry in document["Providers"]:
        name = entry.get("name") if isinstance(entry, dict) else None
        name = name.strip() if isinstance(name, str) else ""
        assert name in named or (f"provider {name}: " if name else "a provider ") in told
    routes = [key for key in found.document["Router"] if key != "longContextThreshold"]
    silent = [r for r in rules if f"rule {r['name']}: " not in told]
    assert len(silent) <= len(routes)
    texts = [found.document.get("APIKEY"), *(p["api_key"] for p in found.document["Providers"])]
    assert {name for text in texts for name in variables(text)} == set(found.keys)
    profile = understand(found.document, "x", "primary", found.keys)
    assert not any(provider.unset for provider in profile.providers)
    assert profile.routes["default"] in profile.models()


@given(DOCUMENTS, st.lists(SECRETS, max_size=1), st.booleans())
def test_whatever_is_new_beside_an_old_file(
    document: dict[str, Any], keys: list[str], literal: bool
) -> None:
    """Its providers and routes are there in their order, and no key is."""
    old = json.loads(json.dumps(OLD))
    if literal:
        old["APIKEY"] = old["Providers"][0]["api_key"] = "sk-secret-literal"
    stored = Stored(document, tuple(StoredKey("k", "", key) for key in keys))
    found = take(stored, old, directory=HERE, known={})
    assert found
    assert "secret" not in json.dumps(found.document) + "".join([*found.left, *found.remarks])
    assert "literal-of" not in json.dumps(found.document)
    assert [p["name"] for p in found.document["Providers"]][:2] == ["acme", "gone"]
    assert set(found.document["Router"]) >= {"default", "think"}
    understand(found.document, "x", "primary", found.keys)
