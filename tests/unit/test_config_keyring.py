"""Placeholders for keys: made, put into the environment, and replaced where they may be."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.config.keyring import Keyring, origin, restore
from synccr.config.profile import interpolate

A, B = "canary-a-77b1e90c", "canary-b-5d0f3e21"
ENVIRON = {"A_KEY": A, "B_KEY": B, "PATH": "/usr/bin", "LANG": "C"}
AT_A, AT_B = "https://a.example/v1/chat", "http://b.example:8080/v1"
PLACEHOLDER = re.compile(r"synccr\.[A-Za-z0-9_]+\.[0-9a-f]{24}")


def provider(url: str = AT_A, key: str = "$A_KEY", **more: Any) -> dict[str, Any]:
    return {"name": "p", "api_base_url": url, "api_key": key, "models": ["m"], **more}


def document(*providers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Providers": list(providers), **more}


def two() -> Keyring:
    """A's key for A's origin in a primary, B's for B's in a fallback."""
    return Keyring.of([document(provider()), document(provider(AT_B, "$B_KEY"))], ENVIRON)


def test_the_environment_holds_placeholders() -> None:
    """Each key's variable has one of its own, new in each process; the rest stays."""
    environ, again = two().environ_for_ccr(ENVIRON), two().environ_for_ccr(ENVIRON)
    assert PLACEHOLDER.fullmatch(environ["A_KEY"])
    assert environ["A_KEY"].startswith("synccr.A_KEY.")
    assert len({environ["A_KEY"], environ["B_KEY"], again["A_KEY"], again["B_KEY"]}) == 4
    assert environ["PATH"] == "/usr/bin"
    assert environ.keys() == ENVIRON.keys()


def test_no_key_is_shown() -> None:
    """Neither keys nor placeholders, which open the way to keys, are in what is logged."""
    ring = two()
    shown = repr(ring) + repr(ring._keys)
    assert not any(secret in shown for secret in (A, B, *PLACEHOLDER.findall(shown)))


def test_copies_of_a_key_are_hidden_and_unneeded_keys_left_out() -> None:
    """What holds the key under another name gets the placeholder; keys.env's others are gone."""
    more = {"OPENAI_API_KEY": A, "HEADER": f"Bearer {A}", "OTHER_KEY": "unneeded", "B2": "kept"}
    environ = two().environ_for_ccr(ENVIRON | more, kept=["A_KEY", "OTHER_KEY"])
    assert environ["OPENAI_API_KEY"] == environ["A_KEY"]
    assert environ["HEADER"] == f"Bearer {environ['A_KEY']}"
    assert "OTHER_KEY" not in environ
    assert environ["B2"] == "kept"


def test_a_short_or_common_key_does_not_eat_other_variables() -> None:
    """A word as a key, and a key in what CCR runs by, leave the others as they are."""
    environ = {"A_KEY": "1", "B_KEY": "username", "CI": "1", "HOME": "/home/username"}
    ring = Keyring.of([document(provider(), provider(AT_B, "$B_KEY"))], environ)
    made = ring.environ_for_ccr(environ)
    assert (made["CI"], made["HOME"]) == ("1", "/home/username")
    assert made["A_KEY"].startswith("synccr.")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (document(provider(), APIKEY="$A_KEY"), "APIKEY of the local port"),
        (document(provider("https://$A_KEY.example/", "$A_KEY")), "p has it elsewhere"),
        (document(provider("https://a.example/$A_KEY/v1", "$A_KEY")), "p has it elsewhere"),
        (document(provider(transformer={"use": [["x", {"key": "${A_KEY}"}]]})), "elsewhere"),
        (document(provider("https://user:pw@a.example/v1")), "address of p differently"),
        (document(provider("https://bücher.example/v1")), "address of p differently"),
        (document(provider("http://127.1/v1")), "address of p differently"),
    ],
)
def test_a_key_that_ccr_needs_is_told(given: dict[str, Any], why: str) -> None:
    """One that stands elsewhere, too, or has no certain origin, is left and named."""
    ring = Keyring.of([given], ENVIRON)
    assert list(ring.exposed) == ["A_KEY"]
    assert why in ring.exposed["A_KEY"]
    assert ring.environ_for_ccr(ENVIRON)["A_KEY"] == A


def test_an_address_in_a_variable_that_carries_a_key_is_told() -> None:
    """CCR needs the address, so it gets the key in it."""
    for url in ("https://a.example/v1?key=k", f"https://a.example/{A}/v1"):
        environ = {"URL": url, "A_KEY": A}
        ring = Keyring.of([document(provider("$URL"))], environ)
        assert list(ring.exposed) == ["URL"]
        assert ring.environ_for_ccr(environ)["URL"] == url


def test_literal_keys_are_told() -> None:
    """By their provider, never by themselves; words that are no keys are not."""
    ring = Keyring.of(
        [
            document(
                provider(key="sk-literal", name="one"),
                provider("https://a.example/?key=AIza1", "$A_KEY", name="two"),
                provider(key="ollama", name="ollama"),
                provider(key="$UNSET", name="four"),
                provider("https://$H.example/?token=t", name="five"),
            )
        ],
        ENVIRON,
    )
    assert ring.literal == ("one", "two", "five")
    assert "sk-literal" not in repr(ring)


def test_a_placeholder_of_another_process_is_no_key() -> None:
    """A shell below CCR has placeholders for keys: that is told, and they stay."""
    old = {"A_KEY": f"synccr.A_KEY.{'0' * 24}"}
    ring = Keyring.of([document(provider())], old)
    assert ring.stale == ("A_KEY",)
    assert ring.environ_for_ccr(old) == old


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "€"])
def test_what_no_header_can_carry(value: str) -> None:
    """CCR gets it as it is, and complains as ever."""
    ring = Keyring.of([document(provider())], {"A_KEY": value})
    assert ring.environ_for_ccr({"A_KEY": value}) == {"A_KEY": value}


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("https://A.Example:443/v1?x", "https://a.example"),
        ("HTTP://h", "http://h"),
        ("http://h:0080/", "http://h"),
        ("http://h:443", "http://h:443"),
        ("http://[0:0::1]:8/", "http://[::1]:8"),
        ("http://127.0.0.1:8/x", "http://127.0.0.1:8"),
        *((odd, None) for odd in ("http://127.1/", "http://0x7f.1/", "http://1.2.3.4./")),
        *((odd, None) for odd in ("http://[::x]/", "ftp://h/", "h", "", "http://", "//h/")),
        *((odd, None) for odd in ("http://u@h/", "http://u:1@h/", "http://h\\@g/", "http://h\t/")),
        *((odd, None) for odd in (" http://h/", "http://h /", "http://h:x/", "http://hé/")),
    ],
)
def test_origins(url: str, result: str | None) -> None:
    """One form for each, and none for what programs read differently."""
    assert origin(url) == result


def test_origins_of_all_providers() -> None:
    """Also of those that have no key of ours."""
    assert two().origins == ("http://b.example:8080", "https://a.example")
    assert Keyring.of([{"providers": [provider(key="x"), None]}], {}).origins == (
        "https://a.example",
    )


def placeholders(ring: Keyring) -> dict[str, str]:
    return ring.environ_for_ccr(ENVIRON)


def test_put_in_place_for_its_own_origin() -> None:
    """In any header and in the query, however the placeholder was encoded there."""
    ring = two()
    mark = placeholders(ring)["A_KEY"]
    url = f"{AT_A}/{mark}?key={mark}&%73{mark[1:].replace('.', '%2E')}=1"
    headers = [(b"authorization", f"Bearer {mark}".encode()), (b"x-k", mark.encode())]
    changed, sent = ring.substitute(url, headers)
    assert changed == f"{AT_A}/{mark}?key={A}&{A}=1"
    assert sent == ((b"authorization", f"Bearer {A}".encode()), (b"x-k", A.encode()))


def test_signs_in_a_query() -> None:
    """A key cannot end its parameter; one that is encoded already is left so."""
    for value, sent in (("a&b#c+d/é", "a%26b%23c%2Bd%2F%C3%A9"), ("a%2Fb", "a%2Fb")):
        ring = Keyring.of([document(provider())], {"A_KEY": value})
        mark = ring.environ_for_ccr({"A_KEY": value})["A_KEY"]
        assert ring.substitute(f"{AT_A}?k={mark}", [])[0] == f"{AT_A}?k={sent}"
        header = ring.substitute(AT_A, [(b"k", mark.encode())])[1][0][1]
        assert header.decode("latin-1") == value


def test_blanks_around_a_key_are_not_sent() -> None:
    """A line break that an export left at the end is no part of it."""
    environ = {"A_KEY": f" {A}\n"}
    ring = Keyring.of([document(provider())], environ)
    mark = ring.environ_for_ccr(environ)["A_KEY"].encode()
    assert ring.substitute(AT_A, [(b"k", mark)])[1] == ((b"k", A.encode()),)


HOSTS = st.sampled_from(
    [
        *(
            "https://a.example",
            "http://a.example",
            "https://a.example:8443",
            "https://A.EXAMPLE:443",
        ),
        *("http://b.example:8080", "http://b.example", "https://a.example.evil.example"),
        *(
            "https://a.example@evil.example",
            "https://evil.example\\@a.example",
            "https://a.example.",
        ),
    ]
)
PIECES = st.lists(
    st.sampled_from(["A", "B", "a", "b", "&", "=", "%", "+", "x", "Bearer ", "?", "#", "/", "@"]),
    max_size=8,
)


@given(HOSTS, PIECES, PIECES, st.booleans())
def test_a_key_appears_only_for_its_own_origin(
    host: str, path: list[str], value: list[str], encoded: bool
) -> None:
    """Whatever headers and addresses come."""
    ring = two()
    marks = placeholders(ring)
    spelled = {"A": marks["A_KEY"], "B": marks["B_KEY"]}
    spelled |= {"a": quote(spelled["A"]).replace(".", "%2e"), "b": spelled["B"].replace("s", "%73")}
    url = host + "/" + "".join(spelled.get(piece, piece) for piece in path)
    header = "".join(spelled.get(piece, piece) for piece in value).encode()
    changed, headers = ring.substitute(url, [(b"x", header), (header, b"x")])
    seen = changed + repr(headers)
    assert (A not in seen) or origin(url) == "https://a.example"
    assert (B not in seen) or origin(url) == "http://b.example:8080"
    assert urlsplit(changed)[:3] == urlsplit(url)[:3]
    assert headers[1] == (header, b"x")
    if origin(url) == "https://a.example":
        assert headers[0][1] == header.replace(marks["A_KEY"].encode(), A.encode())


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
KEYS = st.text("abcdefghij0123456789-._", min_size=4, max_size=20).map("canary!".__add__)


@given(st.dictionaries(NAMES, KEYS, min_size=1, max_size=4), st.data())
def test_no_key_is_left_in_the_environment(keys: dict[str, str], data: st.DataObject) -> None:
    """Whatever they are called, and wherever else they stand; nothing else is lost."""
    providers = [provider(f"https://{name.lower()}.example/", f"${name}") for name in keys]
    others = st.lists(st.sampled_from(list(keys.values())), max_size=3).map(" and ".join)
    more = data.draw(st.dictionaries(st.sampled_from(["x", "y", "z"]), others))
    ring = Keyring.of([document(*providers)], keys)
    made = ring.environ_for_ccr(more | keys)
    assert made.keys() == more.keys() | keys.keys()
    assert not any(key in value for key in keys.values() for value in made.values())


TEMPLATES = st.lists(
    st.sampled_from(["$KEY", "${KEY}", "${lower}", "$K2", "A", "f", "0", " ", "x", "_", "/"])
).map("".join)


@given(TEMPLATES)
def test_restored_text_means_the_same(text: str) -> None:
    """What CCR shows with placeholders, restored, shows the same again."""
    names = ("KEY", "lower", "K2")
    marks = {name: f"synccr.{name}.{'0123456789ab' * 2}" for name in names}
    shown = interpolate(text, marks)
    assert "synccr" not in restore(shown)
    assert interpolate(restore(shown), marks) == shown
