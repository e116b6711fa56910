"""Healing: cases, and what holds for every profile and every set of reports."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from synccr.config.profile import FALLBACK_SCENARIOS, Local, Profile
from synccr.config.reader import understand
from synccr.errors import NoModelServes
from synccr.heal import Healed, heal, heal_supervised
from synccr.heal.advice import advice_lines, advice_on, summary
from synccr.models.report import FATAL, ModelRef, Report, Status

LOCAL = Local(3456)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = [ModelRef(p, m) for p in ("a", "b") for m in ("m", "n", "o")]


def document(**changes: Any) -> dict[str, Any]:
    providers = [
        {
            "name": p,
            "api_base_url": f"https://{p}/v1",
            "api_key": "k" * 9,
            "models": ["m", "n", "o"],
        }
        for p in ("a", "b")
    ]
    router = {"default": "a,m", "longContext": "a,n", "fallback": "a,o"}
    return {"Providers": providers, "Router": router, **changes}


def profile(raw: dict[str, Any]) -> Profile:
    return understand(raw, "test", "primary", {})


def report(ref: ModelRef, status: Status, **more: Any) -> Report:
    return Report(provider=ref.provider, model=ref.model, status=status, checked_at=NOW, **more)


def reports(*found: tuple[str, Status]) -> dict[ModelRef, Report]:
    refs = [(ModelRef.parse(name), status) for name, status in found]
    return {ref: report(ref, status) for ref, status in refs}


routes = st.sampled_from([str(ref) for ref in NAMES])
documents = st.builds(
    lambda router, lists, extra: document(Router=router, fallback=lists, **extra),
    st.dictionaries(
        st.sampled_from(["default", "think", "background", "longContext", "image", "codex"]), routes
    ),
    st.dictionaries(st.sampled_from(FALLBACK_SCENARIOS), st.lists(routes, max_size=3)),
    st.dictionaries(
        st.sampled_from(["plugins", "StatusLine", "x"]),
        st.integers() | st.lists(st.text(max_size=5)),
    ),
)
knowledge = st.builds(
    lambda rows: {ref: report(ref, s, tools=t, account=a) for ref, (s, t, a) in rows.items()},
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(
            st.sampled_from(list(Status)), st.sampled_from([True, False, None]), st.booleans()
        ),
    ),
)


@given(documents, knowledge, st.booleans())
def test_what_holds_for_every_healing(
    raw: dict[str, Any], known: dict[ModelRef, Report], supervised: bool
) -> None:
    """No route and no in-flight fallback leads to a model known dead; unknown keys survive; the
    profile stays as it was; healing again changes nothing more."""

    def healed_of(document: dict[str, Any]) -> Healed:
        owner = profile(document)
        return (
            heal_supervised(owner, owner, known, LOCAL) if supervised else heal(owner, known, LOCAL)
        )

    before = copy.deepcopy(raw)
    try:
        healed = healed_of(raw)
    except NoModelServes:
        assert not any(ref not in known or known[ref].serves for ref in NAMES)
        return
    finally:
        assert raw == before
    dead = {str(ref) for ref, found in known.items() if found.status in FATAL}
    router = healed.config["Router"]
    assert not dead & {value for value in router.values() if isinstance(value, str)}
    assert "default" in router
    for name, entries in healed.config.get("fallback", {}).items():
        assert not dead & set(entries)
        assert router.get(name, router["default"]) not in entries
    assert all(healed.config[k] == raw[k] for k in ("plugins", "StatusLine", "x") if k in raw)
    assert healed.config["Providers"] == raw["Providers"]
    written = json.loads(json.dumps(healed.config))
    assert healed_of(written).changes == ()
    assert not (supervised and healed.config.get("fallback"))


def test_a_dead_default_goes_to_the_owners_fallback() -> None:
    """The owner's ``fallback`` route comes before models that are only listed."""
    healed = heal(profile(document()), reports(("a,m", Status.BILLING)), LOCAL)
    assert healed.config["Router"]["default"] == "a,o"
    change = next(c for c in healed.changes if c.path == "Router.default")
    assert (change.before, change.after) == ("a,m", "a,o")
    assert "billing" in change.reason


def test_a_dead_long_context_goes_to_the_largest() -> None:
    """Among models that serve, the one with the most context."""
    known = reports(("a,n", Status.MISSING))
    known[ModelRef("b", "n")] = report(ModelRef("b", "n"), Status.OK, context_length=1_000_000)
    healed = heal(profile(document()), known, LOCAL)
    assert healed.config["Router"]["longContext"] == "b,n"
    assert healed.config["Router"]["default"] == "a,m"


def test_trouble_of_the_account_prefers_another_provider() -> None:
    """A wrong key for one model makes its provider's others the last choice."""
    known = {ModelRef("a", "m"): report(ModelRef("a", "m"), Status.AUTH, account=True)}
    healed = heal(profile(document()), known, LOCAL)
    assert healed.routes["default"].provider == "b"
    assert healed.config["fallback"]["default"][0].startswith("b,")
    # Another model of it that has answered since shows that the account is in order.
    later, other = NOW.replace(hour=1), ModelRef("a", "n")
    for status, chosen in ((Status.OK, "a"), (Status.OVERLOADED, "b")):
        again = {**known, other: replace(report(other, status), checked_at=later)}
        routes = heal(profile(document()), again, LOCAL).routes
        assert routes["default"].provider == chosen


def test_nothing_serves() -> None:
    """Without one model that serves it refuses, and says what to do."""
    known = {ref: report(ref, Status.BILLING) for ref in NAMES}
    with pytest.raises(NoModelServes, match="billing") as caught:
        heal(profile(document()), known, LOCAL)
    assert "Top up" in caught.value.todo


@pytest.mark.parametrize(
    ("level", "after"),
    [("debug", "error"), (None, "error"), ("fatal", "error"), ("warn", "warn"), ("error", "error")],
)
def test_log_level(level: str | None, after: str) -> None:
    """Errors are kept; neither prompts nor keys are written."""
    raw = document(LOG=False, **({"LOG_LEVEL": level} if level else {}))
    healed = heal(profile(raw), {}, LOCAL)
    assert (healed.config["LOG"], healed.config["LOG_LEVEL"]) == (True, after)


def test_a_ccr_that_does_not_read_it() -> None:
    """What only CCR 2 reads, which is started without synccr, is left as it was."""
    owner = profile(document(LOG_LEVEL="debug"))
    assert "fallback" in heal(owner, {}, LOCAL).config
    healed = heal(owner, {}, LOCAL, read=False)
    assert "fallback" not in healed.config
    assert healed.config["LOG_LEVEL"] == "debug"


@pytest.mark.parametrize("level", ["debug", "error"])
@pytest.mark.parametrize("before", [None, "warn", "debug"])
def test_a_log_level_that_was_asked_for(level: str, before: str | None) -> None:
    """``start --log-level`` goes before the profile; the change says who wanted it."""
    raw = document(**({"LOG_LEVEL": before} if before else {}))
    healed = heal(profile(raw), {}, Local(3456, log_level=level))
    assert healed.config["LOG_LEVEL"] == level
    why = [change.reason for change in healed.changes if change.path == "LOG_LEVEL"]
    assert all("--log-level" in reason for reason in why)
    assert bool(why) is (before != level)


def test_the_local_key_is_written_and_never_shown() -> None:
    """A change of ``APIKEY`` does not carry its value."""
    healed = heal(profile(document(APIKEY="old-secret")), {}, Local(4000, "new-secret"))
    assert (healed.config["APIKEY"], healed.config["PORT"]) == ("new-secret", 4000)
    assert "secret" not in repr(healed) + repr(healed.changes)


def test_a_proxy_that_ccr_refuses_is_not_written() -> None:
    """Where synccr leads CCR's requests; plain CCR keeps what its owner wrote."""
    for proxy, written in (("socks5://me:word@proxy:1080", None), ("http://proxy:3128",) * 2):
        owner = profile(document(PROXY_URL=proxy))
        led = heal_supervised(owner, owner, {}, LOCAL)
        assert led.config.get("PROXY_URL") == written
        assert all("word" not in str(change) for change in led.changes)
        assert heal(owner, {}, LOCAL).config["PROXY_URL"] == proxy


@pytest.mark.parametrize(
    ("detail", "advice"),
    [
        (
            "the proxy http://a.test:1 (PROXY_URL of the profile) refused: 407",
            "Check the proxy: look at PROXY_URL of the profile.",
        ),
        (
            "TLS: self-signed; the authority of your network goes into NODE_EXTRA_CA_CERTS",
            "Put the file of your network's certificate authority into NODE_EXTRA_CA_CERTS.",
        ),
        ("refused: nothing listens there", "Check the network and the provider's address."),
    ],
)
def test_what_to_do_about_a_provider_that_cannot_be_reached(detail: str, advice: str) -> None:
    """By what the transport says of it; once, however many models there are."""
    reports = [
        Report(
            provider="acme",
            model=model,
            status=Status.UNREACHABLE,
            checked_at=datetime.now(UTC),
            detail=detail,
        )
        for model in ("big", "small")
    ]
    assert advice_on(reports) == advice


def test_a_route_may_lead_to_a_model_without_tools_where_none_are_needed() -> None:
    """For images, and for a name that is no scenario of CCR's; elsewhere it moves."""
    names = ("default", "think", "image", "mine")
    raw = document(Router={name: "a,m" if name == "default" else "a,n" for name in names})
    known = {ref: report(ref, Status.OK, tools=ref.model != "n") for ref in NAMES}
    healed = heal(profile(raw), known, LOCAL)
    assert {name: str(healed.routes[name]) for name in names} == {
        "default": "a,m",
        "think": "a,m",
        "image": "a,n",
        "mine": "a,n",
    }


def test_a_profile_without_a_default_gets_one() -> None:
    """CCR would answer 400."""
    raw = document(Router={"think": "a,n"})
    healed = heal(profile(raw), {}, LOCAL)
    [change] = [one for one in healed.changes if one.path == "Router.default"]
    assert (change.after, change.reason) == (
        str(healed.routes["default"]),
        "there was no default route, and CCR answers 400 without one",
    )


def test_what_a_supervised_ccr_is_not_to_do_is_told() -> None:
    """CCR's own lists go, and a person sees that among the changes."""
    raw = document(fallback={"default": ["a,n"]})
    healed = heal_supervised(profile(raw), profile(document()), {}, LOCAL)
    assert "fallback" not in healed.config
    assert [one.before for one in healed.changes if one.path == "fallback"] == [raw["fallback"]]


def test_troubles_in_one_line() -> None:
    """The first six, and how many more."""
    rows = reports(*((f"a,m{number}", Status.MISSING) for number in range(7)))
    assert summary(rows) == "; ".join([f"a,m{n} missing" for n in range(6)] + ["and 1 more"])
    rows.popitem()
    assert summary(rows).endswith("a,m5 missing")
    assert summary({}) == ""


def test_only_a_quotas_renewal_is_told_as_one() -> None:
    """The earliest, and not when a rate limit ends."""
    limited = report(NAMES[0], Status.RATE_LIMITED, retry_at=NOW.replace(hour=1))
    spent = [report(NAMES[n], Status.QUOTA, retry_at=NOW.replace(hour=n + 2)) for n in (2, 1)]
    unknown = report(NAMES[3], Status.QUOTA)
    lines = advice_lines([limited, *spent, unknown])
    assert "Wait until 2026-01-01 03:00 UTC, when the quota renews, or upgrade." in lines
