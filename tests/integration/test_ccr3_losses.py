"""What CCR 3 does not do is said by the commands that come before a start."""

from __future__ import annotations

import json

import pytest

from home import MAIN, SPARE, Home
from provider import FakeProvider

pytestmark = pytest.mark.integration


@pytest.fixture
def on_vertex(home: Home, provider: FakeProvider) -> Home:
    """The default route leads to Vertex AI, which CCR 3 cannot log in to."""
    document = home.use(provider)
    vertex = {
        **document["Providers"][0],
        "name": "google",
        "models": ["gemini-x"],
        "transformer": {"use": ["vertex-gemini"]},
    }
    home.use(
        provider,
        Providers=[*document["Providers"], vertex],
        Router={"default": "google,gemini-x", "think": f"acme,{MAIN}", "fallback": f"acme,{SPARE}"},
        StatusLine={"enabled": True},
    )
    return home


def test_heal_leads_no_route_to_what_cannot_be_asked(on_vertex: Home) -> None:
    """Under 3.x alone, and with the reason."""
    on_vertex.env["SYNCCR_CCR_VERSION"] = "3.1.1"
    done = on_vertex.run("heal", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (change,) = (c for c in found["changes"] if c["path"] == "Router.default")
    assert change["after"] == f"acme,{SPARE}"
    assert "CCR 3 cannot log in to Vertex AI" in change["reason"]
    first, second = found["losses"]
    assert first["models"] == ["google,gemini-x"]
    assert first["unservable"] is True
    assert (second["place"], second["unservable"]) == ("StatusLine", False)
    told = on_vertex.run("heal", "--dry-run").stderr
    assert "On Claude Code Router 3.1.1, StatusLine: " in told
    on_vertex.env["SYNCCR_CCR_VERSION"] = "2.0.0"
    found = json.loads(on_vertex.run("heal", "--dry-run", "--json").stdout)
    assert found["losses"] == []
    assert not any(c["path"] == "Router.default" for c in found["changes"])


def test_models_and_doctor_say_so(on_vertex: Home) -> None:
    """A model that is missing, and a check that fails."""
    on_vertex.env["SYNCCR_CCR_VERSION"] = "3.1.1"
    rows = json.loads(on_vertex.run("models", "--json", "--fresh").stdout)["models"]
    (row,) = (row for row in rows if row["provider"] == "google")
    assert row["status"] == "missing"
    assert "Vertex" in row["detail"]
    done = json.loads(on_vertex.run("doctor", "ccr.translation", "--json").stdout)
    (check,) = done["checks"]
    assert check["status"] == "fail"
    assert "Router.default" in check["detail"]
