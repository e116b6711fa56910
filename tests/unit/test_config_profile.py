"""Reading CCR configurations: what can be used, and what is said of what cannot."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ENVIRON, documents, json_values, profiles

from synccr.config.profile import (
    DEFAULT_PORT,
    Profile,
    derive_fallback,
    interpolate,
    owner_order,
    probe_targets,
    variables,
)
from synccr.config.reader import parse_profile, read_profile, require_key, understand
from synccr.errors import ConfigError
from synccr.models.report import ModelRef

GOOD: dict[str, Any] = {
    "Providers": [
        {
            "name": "alpha",
            "api_base_url": "https://a.test/v1/chat/completions",
            "api_key": "$KEY_ONE",
            "models": ["main", "small"],
        },
        {
            "name": "beta",
            "api_base_url": "https://b.test/v1/chat/completions",
            "api_key": "${KEY_TWO}",
            "models": ["other"],
        },
    ],
    "Router": {"default": "alpha,main", "codex": "beta,other"},
}
REMOVED = object()


def with_value(path: str, value: Any) -> dict[str, Any]:
    """GOOD with one place changed, e.g. ``Providers.0.name``."""
    document = deepcopy(GOOD)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = document
    for step in steps:
        place = place[step]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return document


def parse(document: object, **environ: str) -> Profile:
    text = document if isinstance(document, str) else json.dumps(document)
    return parse_profile(text, "f.json", "primary", environ or ENVIRON)


ALIAS_ONLY = {"NAME": "a", "HOST": "https://a.test/x", "APIKEY": "k", "MODELS": ["m"]}

BAD = [
    # what is written, the place that is named, what to write
    ("", "f.json", "Mend"),
    ("{", "line 1", "Mend"),
    ('{"Providers": [}', "line 1", "Mend"),
    ("\n\n{'a': 1,, }", "line 3", "Mend"),
    ("[" * 5000, "not JSON", "Mend"),
    ('{"a": ' * 200 + "1" + "}" * 200, "nested deeper", "Flatten"),
    ('{"Providers": "\\ud800"}', "the document holds \\ud800", "whole one"),
    ("{" + " " * 600_000 + "// much\n}", "not JSON", "no comments"),
    ("null", "the document", '{"Providers": [...]}'),
    ("[]", "the document", '{"Providers": [...]}'),
    ('"text"', "the document", '{"Providers": [...]}'),
    ({}, "Providers is missing", "at least one"),
    ({"Providers": []}, "Providers is missing or empty", "at least one"),
    ({"providers": []}, "providers is missing or empty", "at least one"),
    ({"Providers": {}}, "Providers is an object", "a list"),
    ({"Providers": "alpha"}, "Providers is text", "a list"),
    ({"Providers": [None]}, "Providers[0] is missing", "an object"),
    ({"Providers": ["alpha"]}, "Providers[0] is text", "an object"),
    ({"Providers": [ALIAS_ONLY]}, "Providers[0].NAME", 'Write "name"'),
    ({"Providers": [ALIAS_ONLY | {"name": "a"}]}, "Providers[0].HOST", 'Write "api_base_url"'),
    (
        {"Providers": [ALIAS_ONLY | {"name": "a", "api_base_url": "https://a.test"}]},
        "Providers[0].APIKEY",
        'Write "api_key"',
    ),
    (
        {"Providers": [{**ALIAS_ONLY, **GOOD["Providers"][0], "models": None}]},
        "Providers[0].models is missing (CCR does not read MODELS)",
        '"models": [',
    ),
    (with_value("Providers.1.name", REMOVED), "Providers[1].name is missing", '"name": "..."'),
    (with_value("Providers.1.name", ""), "Providers[1].name is empty", '"name": "..."'),
    (with_value("Providers.1.name", 5), "Providers[1].name is a number", '"name": "..."'),
    (with_value("Providers.1.name", "alpha"), "Providers[1].name is 'alpha'", "name of its own"),
    (with_value("Providers.0.api_key", REMOVED), "Providers[0].api_key is missing", "api_key"),
    (with_value("Providers.0.api_key", ["k"]), "Providers[0].api_key is a list", "api_key"),
    (with_value("Providers.0.api_base_url", True), "api_base_url is true or false", "Write text"),
    (with_value("Providers.0.api_base_url", "a.test/v1"), "api_base_url is not an", "https://"),
    (with_value("Providers.0.api_base_url", "ftp://a.test/"), "api_base_url is not an", "https://"),
    (with_value("Providers.0.api_base_url", "https:///v1"), "api_base_url is not an", "https://"),
    (with_value("Providers.0.api_base_url", "https://a:b:c/"), "api_base_url is not an", "https"),
    (with_value("Providers.0.api_base_url", "https://[::1/"), "api_base_url is not an", "https"),
    (with_value("Providers.0.models", REMOVED), "Providers[0].models is missing", '"models": ['),
    (with_value("Providers.0.models", "main"), "Providers[0].models is text", '"models": ['),
    (with_value("Providers.0.models", {"main": {}}), "models is an object", '"models": ['),
    (with_value("Providers.0.models", ["main", 5]), "models holds something", '"models": ['),
    (with_value("Providers.0.models", [""]), "models holds something", '"models": ['),
    (with_value("Providers.0.transformer", "openai"), "transformer is text", '{"use": ["..."]}'),
    (with_value("Providers.0.transformer", ["x"]), "transformer is a list", '{"use": ["..."]}'),
    (with_value("Router", []), "Router is a list", '{"default": "provider,model"}'),
    (with_value("Router", "alpha,main"), "Router is text", '{"default": "provider,model"}'),
    (with_value("Router.default", ["alpha,main"]), "Router.default is a list", "provider,model"),
    (with_value("Router.codex", ["alpha,main"]), "Router.codex is a list", "provider,model"),
    (with_value("Router.think", 5), "Router.think is a number", "provider,model"),
    (with_value("Router.default", "main"), "Router.default is 'main'", "'alpha,main'"),
    (with_value("Router.think", "alpha/smal"), "Router.think is 'alpha/smal'", "'alpha,small'"),
    (with_value("Router.default", ","), "Router.default is ','", "'alpha,main'"),
    (with_value("Router.default", "alpha,"), "Router.default is 'alpha,'", "'alpha,main'"),
    (with_value("Router.codex", ",main"), "Router.codex is ',main'", "'alpha,main'"),
    (with_value("Router.default", "alhpa,main"), "names the provider 'alhpa'", "'alpha,main'"),
    (with_value("Router.codex", "zzz,other"), "names the provider 'zzz'", "'alpha,other'"),
    (with_value("Router.default", "$KEY_ONE"), "Router.default is '$KEY_ONE'", "names"),
    (with_value("Router.default", "alpha,${M}"), "Router.default is 'alpha,${M}'", "names"),
    (with_value("Router.codex", "${X}"), "Router.codex is '${X}'", "names"),
    (GOOD | {"fallback": []}, "fallback is a list", '{"default": ["provider,model"]}'),
    (GOOD | {"fallback": {"default": "alpha,main"}}, "fallback.default is text", "a list"),
    (GOOD | {"fallback": {"think": ["alpha,main", 5]}}, "fallback.think[1] is a number", "text"),
    (GOOD | {"PORT": 0}, "PORT is 0", "1 to 65535"),
    (GOOD | {"PORT": 65536}, "PORT is 65536", "1 to 65535"),
    (GOOD | {"PORT": -1}, "PORT is -1", "1 to 65535"),
    (GOOD | {"PORT": "http"}, "PORT is 'http'", "1 to 65535"),
    (GOOD | {"PORT": "³"}, "PORT is '³'", "1 to 65535"),
    (GOOD | {"PORT": 3456.5}, "PORT is 3456.5", "1 to 65535"),
    (GOOD | {"PORT": True}, "PORT is True", "1 to 65535"),
    (GOOD | {"PORT": [3456]}, "PORT is [3456]", "1 to 65535"),
    (GOOD | {"HOST": 1}, "HOST is a number", '"HOST": "..."'),
    (GOOD | {"APIKEY": 12345}, "APIKEY is a number", '"APIKEY": "..."'),
    (GOOD | {"LOG_LEVEL": ["error"]}, "LOG_LEVEL is a list", '"LOG_LEVEL": "..."'),
    (GOOD | {"PROXY_URL": 8080}, "PROXY_URL is a number", '"PROXY_URL": "..."'),
    (
        {"Providers": [GOOD["Providers"][0] | {"models": []}]},
        "Providers[0].models is empty",
        "some/model",
    ),
]


@pytest.mark.parametrize(("document", "place", "instead"), BAD)
def test_bad_input_is_told_with_file_place_and_what_to_write(
    document: object, place: str, instead: str
) -> None:
    """Every way in which a configuration is unusable names file, place and remedy."""
    with pytest.raises(ConfigError) as caught:
        parse(document)
    assert caught.value.what.startswith("f.json")
    assert place in caught.value.what
    assert instead in caught.value.todo
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("key", "right"), [("api_keys", "api_key"), ("apikey", "api_key"), ("base_url", "api_base_url")]
)
def test_misspelt_keys_are_answered_with_the_right_one(key: str, right: str) -> None:
    """A key of a provider that is nearly right is named, and so is the right one."""
    provider = dict(GOOD["Providers"][0])
    provider[key] = provider.pop(right)
    with pytest.raises(ConfigError, match=re.escape(f"Providers[0].{key} is not a key")) as caught:
        parse({"Providers": [provider]})
    assert f'"{right}"' in caught.value.todo


def test_a_json5_file_with_bom_comments_and_crlf_is_read(tmp_path: Path) -> None:
    """Comments, trailing commas, single quotes, a BOM and CRLF are as good for us as for CCR."""
    path = tmp_path / "config.json"
    lines = [
        "{ // mine",
        "  Providers: [{ name: 'alpha', api_base_url: 'https://a.test/v1/chat/completions',",
        "    /* from the vault */ api_key: '$KEY_ONE', models: ['main',], }],",
        "  Router: { default: 'alpha,main' },",
        "}",
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    profile = read_profile(path, "primary", ENVIRON)
    assert profile.routes == {"default": ModelRef("alpha", "main")}
    assert profile.source == str(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe{}", "not UTF-8"), (b"[" + b" " * (8 * 1024 * 1024), "larger than 8 MiB")],
)
def test_files_that_are_no_text_or_huge_are_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """A binary or enormous file is refused by name before it is parsed."""
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_profile(path, "primary", ENVIRON)
    assert str(path) in caught.value.what


def test_files_that_cannot_be_read_are_told_by_name(tmp_path: Path) -> None:
    """A missing file or a directory is a sentence, not an OSError."""
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            read_profile(path, "primary", ENVIRON)


@given(st.text() | json_values.map(json.dumps))
def test_any_text_is_a_profile_or_a_config_error(text: str) -> None:
    """Whatever a file holds, nothing but ConfigError comes out."""
    try:
        profile = parse(text)
    except ConfigError as error:
        assert error.what.startswith("f.json")
        assert error.todo
    else:
        assert profile.models()


@given(documents(), st.data())
def test_a_document_with_any_value_anywhere_is_a_profile_or_a_config_error(
    document: dict[str, Any], data: st.DataObject
) -> None:
    """Any JSON value in any place of a usable configuration is carried or refused in words."""
    place: Any = document
    for _ in range(data.draw(st.integers(0, 3))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(json_values)
    try:
        profile = parse(document)
    except ConfigError as error:
        assert error.what.startswith("f.json")
        assert error.todo
    else:
        assert 0 < profile.port < 65536
        assert all(profile.provider(ref.provider) for ref in profile.models())


@given(profiles())
def test_what_a_usable_profile_promises(profile: Profile) -> None:
    """Every model has its provider, each is named once, and what the owner prefers is first."""
    models = profile.models()
    assert models
    assert len(set(models)) == len(models)
    preferred = profile.preferences()
    assert models[: len(preferred)] == preferred
    targets = probe_targets(profile, derive_fallback(profile))
    assert set(models) <= {ModelRef(provider.name, model) for provider, model in targets}
    assert len({(provider.name, model) for provider, model in targets}) == len(targets)


def test_variables_are_replaced_in_providers() -> None:
    """$NAME and ${NAME} become values; an unset one stays as it is and is noted."""
    document = with_value("Providers.0.models", ["main", "$MODEL", "${UNSET}"])
    document["Providers"][1]["api_key"] = "${NO_SUCH_KEY}"
    document["APIKEY"] = "$LOCAL"
    profile = parse(document, KEY_ONE="one", MODEL="small", LOCAL="mine")
    alpha, beta = profile.providers
    assert (alpha.key, alpha.unset, alpha.models) == ("one", (), ("main", "small", "${UNSET}"))
    assert (beta.key, beta.unset) == ("${NO_SUCH_KEY}", ("NO_SUCH_KEY",))
    assert (profile.api_key_text, profile.api_key) == ("$LOCAL", "mine")
    assert profile.raw == document


def test_interpolation_is_as_ccr_has_it() -> None:
    """An empty variable counts as unset; lower-case names need braces."""
    environ = {"A": "1", "EMPTY": "", "low": "2"}
    assert interpolate("$A-${A}-$EMPTY-$low-${low}-$$A", environ) == "1-1-$EMPTY-$low-2-$1"
    assert list(variables({"x": ["$A", {"y": "${low}"}], "z": 5})) == ["A", "low"]


def test_an_address_with_an_open_variable_is_no_complaint_but_another_one_is() -> None:
    """Only the address's own unset variable excuses what is no address."""
    document = with_value("Providers.0.api_base_url", "$BASE")
    assert parse(document, KEY_ONE="x", KEY_TWO="y").providers[0].unset == ("BASE",)
    document = with_value("Providers.0.api_base_url", "nonsense")
    with pytest.raises(ConfigError, match="not an address"):
        parse(document, KEY_TWO="y")


def test_secrets_are_values_and_never_names() -> None:
    """Every key value is a secret, also of a provider that lacks another variable; $NAME is none."""  # noqa: E501
    document = with_value("Providers.0.api_base_url", "https://$HOSTNAME_UNSET/v1")
    document["APIKEY"] = "$LOCAL"
    profile = parse(document, KEY_ONE="sk-one", LOCAL="sk-local")
    assert set(profile.secrets()) == {"sk-one", "sk-local"}
    shown = repr(profile) + repr(profile.providers)
    assert "sk-one" not in shown
    assert "sk-local" not in shown


def test_a_start_needs_one_provider_with_its_key() -> None:
    """With one key missing there is a way; with all missing the first variable is named."""
    require_key([parse(GOOD, KEY_TWO="two")])
    with pytest.raises(ConfigError, match="'alpha' takes its key from KEY_ONE") as caught:
        require_key([parse(GOOD, OTHER="x")])
    assert (
        caught.value.todo == "Write: export KEY_ONE=... or have it asked for and kept: synccr init"
    )


@pytest.mark.parametrize(
    ("document", "place", "instead"),
    [
        (with_value("Router.default", "alpha,mian"), "Router.default", "Did you mean 'main'?"),
        (with_value("Router.think", "alpha,unheard/of"), "Router.think", ""),
        (with_value("Router", REMOVED), "Router", ""),
        (with_value("Router.default", REMOVED), "Router.default", ""),
        (with_value("Router.default", ""), "Router.default", ""),
        (with_value("Router.codex", "gpt"), "Router.codex", ""),
        (with_value("Router.note", "Fast, cheap"), "Router.note", ""),
        (GOOD | {"fallback": {"default": ["nobody,x"]}}, "fallback.default[0]", ""),
        (GOOD | {"fallback": {"default": ["$X"]}}, "fallback.default[0]", ""),
    ],
)
def test_what_is_odd_but_usable_is_a_finding(
    document: dict[str, Any], place: str, instead: str
) -> None:
    """What CCR would trip over at run time is reported with the nearest right word."""
    (finding,) = parse(document).warnings
    assert (finding.place, finding.instead) == (place, instead)


def test_what_is_not_ours_to_judge_is_left_alone() -> None:
    """Thresholds, empty routes and values of unknown routes are no routes and no complaints."""
    document = with_value("Router.longContextThreshold", 60000)
    document["Router"] |= {"think": "", "background": None, "mine": 5, "other": {"a": 1}}
    profile = parse(document)
    assert set(profile.routes) == {"default", "codex"}
    assert profile.warnings == ()


def test_the_spelling_providers_is_read_as_ccr_reads_it() -> None:
    """Lower-case ``providers`` counts when ``Providers`` is absent or empty."""
    document = {"providers": GOOD["Providers"], "Providers": [], "Router": GOOD["Router"]}
    assert [p.name for p in parse(document).providers] == ["alpha", "beta"]


def test_host_and_port_are_ccrs_own_defaults() -> None:
    """Beyond loopback only with an APIKEY; 3456 when nothing else is said."""
    assert (parse(GOOD).host, parse(GOOD).port) == ("127.0.0.1", DEFAULT_PORT)
    assert parse(GOOD | {"HOST": "0.0.0.0"}).host == "127.0.0.1"
    assert parse(GOOD | {"HOST": "0.0.0.0", "APIKEY": "k"}).host == "0.0.0.0"
    assert parse(GOOD | {"PORT": "4000"}).port == 4000


def test_owner_order_takes_defaults_before_explicit_fallbacks() -> None:
    """The fallback profile's default comes right after the primary's."""
    primary = parse(GOOD | {"fallback": {"default": ["alpha,small"]}})
    fallback = parse(with_value("Router.default", "beta,other"))
    assert [str(ref) for ref in owner_order(primary, fallback)] == [
        "alpha,main",
        "beta,other",
        "alpha,small",
    ]


def test_a_derived_fallback_takes_the_fallback_route_else_the_next_model() -> None:
    """Every route goes to the owner's fallback; to the next model when that is the default too."""
    named = derive_fallback(parse(with_value("Router.fallback", "beta,other")))
    assert set(named.routes.values()) == {ModelRef("beta", "other")}
    assert named.raw["Router"]["codex"] == "beta,other"
    assert (named.role, named.source) == ("fallback", "derived from f.json")
    circular = derive_fallback(parse(with_value("Router.fallback", "alpha,main")))
    assert circular.routes["default"] == ModelRef("beta", "other")


@given(profiles())
def test_a_derived_fallback_differs_when_there_is_another_model(primary: Profile) -> None:
    """A derived fallback leads away from the default, and the primary stays as it was."""
    before = deepcopy(primary.raw)
    fallback = derive_fallback(primary)
    assert primary.raw == before
    default = primary.routes.get("default") or primary.models()[0]
    assert (fallback.routes["default"] == default) == (set(primary.models()) == {default})
    again = understand(fallback.raw, "f.json", "fallback", ENVIRON)
    assert again.routes == fallback.routes
