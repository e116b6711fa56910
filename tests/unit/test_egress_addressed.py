"""Whom a request of CCR 3 is for, and what of it goes further."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from synccr.config.profile import Profile, Provider
from synccr.egress.addressed import addressed
from synccr.egress.current_providers import CurrentProviders
from synccr.models.report import ModelRef

CLIENT = [
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer synccr"),
    (b"x-synccr-secret", b"s"),
    (b"x-synccr-turn", b"7"),
    (b"user-agent", b"claude-cli"),
    (b"cookie", b"c=1"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"b1"),
]


def provider(
    name: str = "acme", url: str = "https://a.example/v1/x?q=1", key: str = "k"
) -> Provider:
    return Provider(name, url, key, ("m",))


def profile(*providers: Provider) -> Profile:
    raw = {
        "Providers": [
            {"name": p.name, "api_base_url": p.url, "api_key": p.key, "models": ["m"]}
            for p in providers
        ]
    }
    return Profile("primary", "test", raw, providers, {}, {})


def known(*providers: Provider) -> CurrentProviders:
    found = CurrentProviders({})
    found.use(profile(*providers))
    return found


@pytest.mark.parametrize(
    ("path", "url", "key"),
    [
        ("/v1/chat/completions", "https://a.example/v1/x?q=1", {b"authorization": b"Bearer k"}),
        (
            "/v1/messages?beta=true",
            "https://a.example/v1/x?q=1",
            {b"authorization": b"Bearer k", b"x-api-key": b"k", b"anthropic-beta": b"b1"},
        ),
        ("/v1/responses", "https://a.example/v1/x?q=1", {b"authorization": b"Bearer k"}),
        (
            "/v1beta/models/m%2F1:generateContent?key=synccr",
            "https://a.example/v1/m/1:generateContent",
            {b"x-goog-api-key": b"k"},
        ),
    ],
)
def test_the_providers_own_address_and_key(path: str, url: str, key: dict[bytes, bytes]) -> None:
    """Of the client's fields only what says what the request is; never a cookie or our secret."""
    current = known(provider())
    found = addressed(f"/to/{current.places['acme']}{path}", current.at)
    assert found is not None
    sent = found.outgoing("POST", CLIENT, b"{}", "m")
    fields = dict(sent.headers)
    assert len(fields) == len(sent.headers)
    assert (sent.method, sent.url, sent.body) == ("POST", url, b"{}")
    keys = {name: fields[name] for name in fields.keys() - {b"user-agent", b"accept-encoding"}}
    version = {b"anthropic-version": b"2023-06-01"} if b"x-api-key" in key else {}
    assert keys == {b"content-type": b"application/json", **key, **version}
    assert fields[b"user-agent"].startswith(b"claude-cli" if version else b"synccr/")
    assert found.ref("m") == ModelRef("acme", "m")


RENAMED = {"use": ["maxcompletiontokens"]}


@pytest.mark.parametrize(
    ("transformer", "path", "body", "sent"),
    [
        (RENAMED, "chat/completions", b'{"max_tokens":5,"n":1.0}',
         b'{"n":1.0,"max_completion_tokens":5}'),
        ({"m": RENAMED}, "chat/completions", b'{"max_tokens":5}', b'{"max_completion_tokens":5}'),
        ({"n": RENAMED}, "chat/completions", b'{"max_tokens":5}', b'{"max_tokens":5}'),
        (RENAMED, "chat/completions", b'{"n":1.0}', b'{"n":1.0}'),
        (RENAMED, "chat/completions", b"no json", b"no json"),
        (RENAMED, "chat/completions", b'"\xff"', b'"\xff"'),
        (RENAMED, "messages", b'{"max_tokens":5}', b'{"max_tokens":5}'),
        ({}, "chat/completions", b'{ "max_tokens": 5 }', b'{ "max_tokens": 5 }'),
    ],
)  # fmt: skip
def test_the_limit_has_the_name_that_a_model_wants(
    transformer: dict[str, Any], path: str, body: bytes, sent: bytes
) -> None:
    """CCR's ``maxcompletiontokens``, which CCR 3 does not have."""
    current = known(replace(provider(), transformer=transformer))
    found = addressed(f"/to/{current.places['acme']}/v1/{path}", current.at)
    assert found is not None
    assert found.outgoing("POST", CLIENT, body, "m").body == sent


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1/messages",
        "/to/p9/v1/messages",
        "/to/p1",
        "/to/p1/v1/models",
        "//to/p1/v1/messages",
    ],
)
def test_no_address_of_a_provider(target: str) -> None:
    """It is nobody's."""
    assert addressed(target, known(provider()).at) is None


def test_places_stay_as_long_as_the_provider_does() -> None:
    """A CCR that drains goes on asking the provider that it was started with."""
    first = provider()
    current = known(first, provider("other"))
    before = dict(current.places)
    current.use(profile(provider(key="k2"), provider("other")))
    assert current.places["other"] == before["other"]
    assert current.places["acme"] not in before.values()
    assert current.at(before["acme"]) == first
    current.use(profile(first, provider("other")))
    assert current.places == before
