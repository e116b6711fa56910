"""Behaviours as data, and the script that says which one comes next."""

import pytest

from provider.behaviour import Behaviour, Kind
from provider.presets import PRESETS, behaviour, status
from provider.script import EVERY_MODEL, Script


def names(script: Script, target: str, requests: int) -> list[str]:
    return [script.take(target).label for _ in range(requests)]


def test_without_orders_every_target_answers() -> None:
    """A model nobody spoke of gets the behaviour for unknown models, an endpoint answers."""
    script = Script(unknown="missing")
    assert names(script, "m", 1) == ["missing"]
    assert names(script, "/quotas", 1) == ["ok"]


def test_a_behaviour_lasts_until_taken_back() -> None:
    """``set`` without a count lasts; None restores the default."""
    script = Script()
    script.set("m", "billing")
    assert names(script, "m", 3) == ["billing"] * 3
    script.set("m", None)
    assert names(script, "m", 1) == ["ok"]


def test_a_counted_behaviour_comes_before_the_lasting_one() -> None:
    """``times`` covers the next N requests of that model and no other."""
    script = Script()
    script.set("m", "missing")
    script.set("m", "down", times=2)
    assert names(script, "other", 1) == ["ok"]
    assert names(script, "m", 4) == ["down", "down", "missing", "missing"]


def test_a_schedule_is_played_in_order_and_then_left() -> None:
    """A schedule has one behaviour for each request, then comes what was before."""
    script = Script()
    script.schedule("m", ["ok", 402, {"preset": "ok", "delay": 1}])
    taken = [script.take("m") for _ in range(4)]
    assert [one.label for one in taken] == ["ok", "billing", "ok", "ok"]
    assert [one.delay for one in taken] == [0, 0, 1, 0]


def test_every_model_overrules_models_but_not_endpoints() -> None:
    """FakeProvider-wide behaviour hides what models have, without using it up."""
    script = Script()
    script.schedule("m", ["missing"])
    script.set(EVERY_MODEL, "auth", times=1)
    assert names(script, "/models", 1) == ["ok"]
    assert names(script, "m", 3) == ["auth", "missing", "ok"]


def test_credit_counts_answers_only() -> None:
    """After the paid answers comes 402; failures cost nothing; None lifts the limit."""
    script = Script()
    script.credit("m", 2)
    script.set("m", "down", times=1)
    assert names(script, "m", 4) == ["down", "ok", "ok", "billing"]
    script.credit("m", None)
    assert names(script, "m", 1) == ["ok"]


def test_a_failing_model_uses_no_credit_and_is_not_out_of_it() -> None:
    """While a failure lasts it is what comes, paid or not, and the credit stays."""
    script = Script()
    script.credit("m", 1)
    script.set("m", "down")
    assert names(script, "m", 2) == ["down", "down"]
    script.set("m", None)
    assert names(script, "m", 2) == ["ok", "billing"]
    script.set("m", "down")
    assert names(script, "m", 1) == ["down"]


def test_credit_of_a_model_without_a_behaviour_of_its_own() -> None:
    """Credit also limits a model that answers only because unknown models do."""
    script = Script(unknown="ok")
    script.credit("m", 0)
    assert names(script, "m", 1) == ["billing"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (400, "bad_request"),
        (402, "billing"),
        (404, "missing"),
        (429, "rate_limited"),
        (529, "overloaded"),
    ],
)
def test_a_status_alone_is_the_real_reply_with_it(code: int, name: str) -> None:
    """A bare status brings message and headers of the preset with that status."""
    assert status(code) is PRESETS[name]
    assert PRESETS[name].status == code


def test_a_status_keeps_what_is_not_given() -> None:
    """Own message or headers replace the preset's, one by one."""
    assert status(429, "slow down").headers == {"retry-after": "1"}
    assert status(429, headers={}).message == PRESETS["rate_limited"].message
    assert status(502, "plain").body is None
    assert status(418).status == 418


def test_a_spent_cap_has_no_retry_after_and_a_plain_429_has() -> None:
    """The two kinds of 429 differ in the header, as they do at synthetic.new."""
    assert PRESETS["spent_cap"].headers == {}
    assert "retry-after" in PRESETS["rate_limited"].headers


def test_an_unknown_preset_names_the_nearest() -> None:
    """A misspelt behaviour is an error that offers the right one."""
    with pytest.raises(ValueError, match="did you mean 'billing'"):
        behaviour("biling")


@pytest.mark.parametrize("value", [{"delay": "long"}, {"dealy": 1}, {"kind": "explode"}])
def test_a_wrong_field_is_an_error(value: dict[str, object]) -> None:
    """Wrong names, types and kinds are refused when they are set, not when a request comes."""
    with pytest.raises(ValueError, match=r"Object contains unknown|Expected|Invalid enum"):
        behaviour(value)


def test_json_fields_change_a_preset() -> None:
    """The object form starts from its preset and changes the named fields."""
    changed = behaviour({"preset": "cut", "after": 1})
    assert (changed.kind, changed.after, changed.name) == (Kind.CUT, 1, "cut")
    assert behaviour({"kind": "reset"}) == Behaviour(name="ok", kind=Kind.RESET)
