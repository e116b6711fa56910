"""Lists of models, alternatives and allowances."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_kit import NOW, provider

from synccr.models.catalog import offered_in
from synccr.models.report import ModelRef, Quota, Report, Status
from synccr.probe import OfferedModel, alternatives
from synccr.probe.dialects import list_request
from synccr.probe.quotas import in_light_of, quota_request, quotas_in
from synccr.transport.outbound_proxy import is_loopback

MAIN = "hf:Qwen/Qwen3-Coder-480B-A35B-Instruct"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def report(model: str, status: Status = Status.OK, name: str = "p", **changes: Any) -> Report:
    return Report(provider=name, model=model, status=status, checked_at=NOW, **changes)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {
                "data": [
                    {
                        "id": MAIN,
                        "always_on": True,
                        "context_length": 262_144,
                        "supported_features": ["tools", "json_mode"],
                    }
                ]
            },
            OfferedModel(MAIN, 262_144, tools=True, always_on=True),
        ),
        (
            {"data": [{"id": "a/b", "supported_parameters": ["seed"], "top_provider": {}}]},
            OfferedModel("a/b", None, tools=False),
        ),
        (
            {"data": [{"id": "x", "top_provider": {"context_length": 8}}]},
            OfferedModel("x", 8),
        ),
        ({"data": [{"id": "x", "max_model_len": 9}]}, OfferedModel("x", 9)),
        (
            {"data": [{"id": "x", "capabilities": {"function_calling": False}}]},
            OfferedModel("x", tools=False),
        ),
        (
            {"models": [{"name": "models/gemini-x", "inputTokenLimit": 1_048_576}]},
            OfferedModel("gemini-x", 1_048_576),
        ),
        ([{"id": "x", "context_length": "12"}], OfferedModel("x")),
    ],
)
def test_rows_of_known_lists(document: Any, expected: OfferedModel) -> None:
    """The rows of synthetic.new, OpenRouter, vLLM, Mistral and Gemini are understood."""
    assert offered_in(document) == (expected,)


@pytest.mark.parametrize("name", ["bad\ud83d", "\ud83d", "a\nb", "\x1b[2J", ""])
def test_a_name_that_cannot_be_written_is_left_out(name: str) -> None:
    """Half a character, a line break or an escape in one name costs that row and no other."""
    rows = offered_in(json.loads(json.dumps({"data": [{"id": name}, {"id": "good"}]})))
    assert [row.id for row in rows] == ["good"]


def test_a_context_beyond_all_measure_is_none() -> None:
    """A number that the record cannot hold is no context length."""
    assert offered_in([{"id": "x", "context_length": 2**64}]) == (OfferedModel("x"),)


@given(json_values)
def test_any_document_is_survived(document: Any) -> None:
    """Whatever a provider answers, lists and allowances are read without an error."""
    for key in ("data", "subscription", "rollingFiveHourLimit", "weeklyTokenLimit", "search"):
        offered_in({key: document})
        quotas_in("p", {key: document})
    offered_in(document)
    quotas_in("p", document)


def test_rows_without_a_usable_name_are_left_out() -> None:
    """A row counts only with a name that is a text of sensible length."""
    assert offered_in({"data": [{"id": 1}, {}, None, {"id": "x" * 301}, {"id": ""}]}) == ()


def test_synthetic_new_keeps_its_list_in_one_place() -> None:
    """The older address of synthetic.new has no list beside it."""
    old = provider("https://api.synthetic.new/v1/chat/completions")
    ask = list_request(old)
    assert ask is not None
    assert ask.url == "https://api.synthetic.new/openai/v1/models"


REFS = [ModelRef("p", name) for name in ("a", "b", "c", "d", "e")]


def test_alternatives_are_the_healthy_models_of_the_profile_in_its_order() -> None:
    """Healthy ones in the owner's order, the unverified behind, dead and tool-less ones not."""
    reports = {
        REFS[0]: report("a", Status.BILLING),
        REFS[1]: report("b", Status.UNVERIFIED),
        REFS[2]: report("c", tools=False),
        REFS[3]: report("d"),
        REFS[4]: report("e"),
    }
    assert alternatives(REFS[0], [*REFS, *REFS], reports, {}) == [REFS[3], REFS[4], REFS[1]]


def test_the_right_spelling_of_a_misspelt_model_is_always_offered() -> None:
    """A nearly equal name of the provider's list has a place even beside three healthy ones."""
    wrong = ModelRef("p", MAIN.replace("Instruct", "Instuct"))
    reports = {wrong: report(wrong.model, Status.MISSING)} | {r: report(r.model) for r in REFS}
    offered = {"p": (OfferedModel("hf:zai-org/GLM-4.6"), OfferedModel(MAIN))}
    assert alternatives(wrong, REFS, reports, offered) == [*REFS[:2], ModelRef("p", MAIN)]


def test_names_of_the_list_fill_up_nearest_and_always_on_first() -> None:
    """Without healthy models the nearest names follow, those always on before the others."""
    gone = ModelRef("p", "hf:Qwen/Qwen3-Coder-30B")
    rows = (
        OfferedModel("hf:Qwen/Qwen3-Coder-32B", always_on=False),
        OfferedModel("hf:Qwen/Qwen3-Coder-480B", always_on=True),
        OfferedModel("hf:Qwen/Qwen3-Coder-31B", tools=False),
        OfferedModel("entirely-different"),
        OfferedModel("hf:Qwen/Qwen3-Coder-3B"),
    )
    reports = {
        gone: report(gone.model, Status.MISSING),
        ModelRef("p", "hf:Qwen/Qwen3-Coder-3B"): report("hf:Qwen/Qwen3-Coder-3B", Status.BILLING),
    }
    found = alternatives(gone, [gone], reports, {"p": rows})
    assert [ref.model for ref in found] == ["hf:Qwen/Qwen3-Coder-480B", "hf:Qwen/Qwen3-Coder-32B"]


def test_an_account_in_trouble_offers_nothing_of_its_own() -> None:
    """When the key or the cap is the trouble, the provider's other models are no help."""
    bad = ModelRef("p", "a")
    other = ModelRef("q", "z")
    reports = {bad: report("a", Status.AUTH, account=True), other: report("z", name="q")}
    assert alternatives(bad, [bad, other], reports, {"p": (OfferedModel("a1"),)}) == [other]


QUOTAS = {
    "subscription": {"limit": 135, "requests": 135, "renewsAt": "2025-06-16T05:00:00.288Z"},
    "rollingFiveHourLimit": {"nextTickAt": "2025-06-16T00:10:00Z", "remaining": 60, "max": 100},
    "weeklyTokenLimit": {"nextRegenAt": "2025-06-17T00:00:00Z", "percentRemaining": 25},
    "search": {"hourly": {"limit": 250, "requests": 250, "renewsAt": "2025-06-16T01:00:00Z"}},
    "freeToolCalls": {"limit": 1},
}


def test_all_windows_of_synthetic_new_are_read() -> None:
    """Subscription, five hours, week and search become rows; unknown fields are passed over."""
    rows = quotas_in("p", QUOTAS)
    assert [(q.window, q.limit, q.remaining, q.spent) for q in rows] == [
        ("subscription", 135, 0, True),
        ("rolling five hours", 100, 60, False),
        ("weekly tokens, percent", 100, 25, False),
        ("search, hourly", 250, 0, True),
    ]
    assert rows[0].renews_at == datetime.fromisoformat("2025-06-16T05:00:00.288+00:00")
    assert {q.provider for q in rows} == {"p"}


def test_a_limited_window_is_spent_whatever_it_counts() -> None:
    """The flag ``limited`` decides when the numbers are absent or disagree."""
    for row in ({"limited": True}, {"limited": True, "remaining": 3, "max": 9}):
        (quota,) = quotas_in("p", {"rollingFiveHourLimit": row})
        assert quota.spent


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.synthetic.new/v1/chat/completions", "https://api.synthetic.new/v2/quotas"),
        ("http://127.0.0.1:8/v1/chat/completions", "http://127.0.0.1:8/v2/quotas"),
        ("https://api.openai.com/v1/chat/completions", None),
        ("https://api.synthetic.new.evil.test/v1", None),
    ],
)
def test_only_known_hosts_and_loopback_are_asked_for_allowances(
    url: str, expected: str | None
) -> None:
    """No stranger gets a request for allowances."""
    ask = quota_request(provider(url))
    assert (ask and ask.url) == expected


def test_loopback() -> None:
    """The whole block 127/8, ::1 and localhost are this machine; names that look alike are not."""
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost"):
        assert is_loopback(host)
    for host in ("", "128.0.0.1", "localhost.test", "127.0.0.1.test"):
        assert not is_loopback(host)


@pytest.mark.parametrize("status", [Status.RATE_LIMITED, Status.QUOTA])
def test_a_429_with_a_spent_allowance_is_a_cap_until_it_renews(status: Status) -> None:
    """The quota endpoint turns a 429 into quota, with the time of the renewal."""
    rows = quotas_in("p", QUOTAS)
    seen = in_light_of(report("a", status, http_status=429), rows, NOW)
    assert (seen.status, seen.account) == (Status.QUOTA, True)
    assert seen.retry_at == rows[0].renews_at


def test_other_answers_and_other_windows_stay_as_they_are() -> None:
    """A spent search window, an unspent allowance, or another status changes nothing."""
    search = Quota(provider="p", limit=1, used=1, window="search, hourly")
    unspent = Quota(provider="p", limit=2, used=1)
    busy = report("a", Status.RATE_LIMITED, http_status=429)
    assert in_light_of(busy, [search, unspent], NOW) is busy
    spent = quotas_in("p", QUOTAS)
    billing = report("a", Status.BILLING, http_status=402)
    assert in_light_of(billing, spent, NOW) is billing


def test_a_renewal_that_is_past_is_no_time_to_wait_for() -> None:
    """A spent allowance whose renewal is over says nothing of when."""
    row = Quota(provider="p", limit=1, used=1, renews_at=NOW - timedelta(seconds=1))
    seen = in_light_of(report("a", Status.RATE_LIMITED, http_status=429), [row], NOW)
    assert (seen.status, seen.retry_at) == (Status.QUOTA, None)
    assert json.dumps(seen.detail) == '""'
