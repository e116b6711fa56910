"""Hypothesis strategies: CCR configurations, documents that are none, and reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from synccr.config.profile import FALLBACK_SCENARIOS, SCENARIOS, Profile, Role
from synccr.config.reader import parse_profile
from synccr.models.report import ModelRef, Report, Status

ENVIRON = {"KEY_ONE": "sk-one-0123456789abcdef", "KEY_TWO": "sk-two-0123456789abcdef"}
NOW = datetime(2025, 6, 16, 12, 0, tzinfo=UTC)

PROVIDERS = ("alpha", "beta", "Gamma 3")
MODELS = ("hf:Qwen/main", "hf:Qwen/main-2", "deep,seek", "small", "väst")
PEOPLES_ROUTES = ("codex", "synthetic", "fallback")

json_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
)
json_values = st.recursive(
    json_scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def report(ref: ModelRef, status: Status, **values: Any) -> Report:
    """A report without the fields that a test does not care for."""
    values.setdefault("checked_at", NOW)
    values.setdefault("detail", f"said {status}")
    return Report(provider=ref.provider, model=ref.model, status=status, **values)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """CCR configurations that can be used, odd ones among them."""
    names = draw(st.lists(st.sampled_from(PROVIDERS), min_size=1, max_size=3, unique=True))
    providers = [
        {
            "name": name,
            "api_base_url": f"https://{name[0].lower()}.test/v1/chat/completions",
            "api_key": draw(st.sampled_from(["$KEY_ONE", "${KEY_TWO}", "$UNSET_KEY", "sk-plain"])),
            "models": draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=4, unique=True)),
            **draw(st.sampled_from([{}, {"transformer": {"use": ["openrouter"]}}, {"x": [1]}])),
        }
        for name in names
    ]
    listed = [f"{p['name']},{model}" for p in providers for model in p["models"]]
    routes = st.sampled_from([*listed, f"{names[0]},unlisted"])
    scenarios = st.lists(st.sampled_from(SCENARIOS + PEOPLES_ROUTES), unique=True)
    router = {name: draw(routes) for name in draw(scenarios)}
    router |= draw(st.sampled_from([{}, {"longContextThreshold": 60000}, {"": 5}, {"think": ""}]))
    lists = st.lists(routes | st.just("nobody,small") | st.just("nonsense"), max_size=3)
    document: dict[str, Any] = {
        "Providers": providers,
        "Router": router,
        "fallback": draw(
            st.none()
            | st.dictionaries(st.sampled_from([*FALLBACK_SCENARIOS, "image"]), lists, max_size=3)
        ),
        "PORT": draw(st.sampled_from([None, "", 3456, "4000", 65535])),
        "HOST": draw(st.sampled_from([None, "", "127.0.0.1", "0.0.0.0", "localhost"])),
        "LOG": draw(st.sampled_from([None, True, False, "yes"])),
        "LOG_LEVEL": draw(st.sampled_from([None, "", "debug", "error", "warn", "fatal"])),
        "APIKEY": draw(st.sampled_from([None, "", "local-secret-12345", "$KEY_ONE"])),
        "StatusLine": draw(json_values),
        "CUSTOM_ROUTER_PATH": draw(json_values),
    }
    absent = draw(st.sets(st.sampled_from([key for key in document if key != "Providers"])))
    return {key: value for key, value in document.items() if key not in absent}


@st.composite
def profiles(draw: st.DrawFn, role: Role = "primary") -> Profile:
    """Profiles that can be used."""
    return parse_profile(json.dumps(draw(documents())), f"{role}.json", role, ENVIRON)


def reports(refs: Iterable[ModelRef]) -> st.SearchStrategy[Mapping[ModelRef, Report]]:
    """What may be known of some models; of some nothing is."""

    def one(ref: ModelRef) -> st.SearchStrategy[Report]:
        return st.builds(
            Report,
            provider=st.just(ref.provider),
            model=st.just(ref.model),
            status=st.sampled_from(Status),
            checked_at=st.just(NOW),
            detail=st.sampled_from(["", "no credit"]),
            account=st.booleans(),
            retry_at=st.none() | st.just(NOW + timedelta(hours=1)),
            tools=st.sampled_from([None, True, False]),
            context_length=st.sampled_from([None, 8192, 131072, 262144]),
        )

    return st.fixed_dictionaries({}, optional={ref: one(ref) for ref in refs})
