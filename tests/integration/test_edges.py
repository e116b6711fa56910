"""Edits, overriding files, notifications, quotas and the weekly check, on the real CCR."""

from __future__ import annotations

import json
import shlex
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from home import KEY, LONG, MAIN, SPARE, Home, Running, message
from provider import MODELS_LIST, QUOTAS, FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]

TELL = """
import json, os, pathlib, sys
with pathlib.Path(sys.argv[1]).open("a") as file:
    file.write(os.environ["SYNCCR_EVENT"] + "\\n")
"""


def messages_to(home: Home) -> Path:
    """Let notifications go into a file, one JSON document a line."""
    script, out = home.root / "tell.py", home.root / "told.jsonl"
    script.write_text(TELL)
    home.env["SYNCCR_NOTIFY"] = shlex.join([sys.executable, str(script), str(out)])
    return out


def told(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def ask(running: Running, text: str, session: str | None = None) -> httpx.Response:
    body = message(text)
    if session:
        body["metadata"] = {"user_id": f"user_x_account__session_{session}"}
    return httpx.post(f"{running.url}/v1/messages", json=body, timeout=60)


# ------------------------------------------------------------------ edits


@pytest.mark.ccr("2.0.0")  # CCR 3 has another page, on a port that nobody is told
def test_what_ccrs_page_saves_is_applied(home: Home, provider: FakeProvider) -> None:
    """``POST /api/config``, as ``ccr ui`` does it, with placeholders as the page got them:
    a new model is asked, the route moves by a swap, and no key lands in the profile."""
    home.use(provider, APIKEY="local-key-123456")
    with home.running() as running:
        headers = {"x-api-key": "local-key-123456"}
        saved = httpx.get(f"{running.url}/api/config", headers=headers).json()
        assert saved["Providers"][0]["api_key"].startswith("synccr.ACME_KEY.")
        saved["Providers"][0]["models"].append("vendor/new-1")
        saved["Router"]["default"] = "acme,vendor/new-1"
        provider.forget()
        answer = httpx.post(f"{running.url}/api/config", json=saved, headers=headers)
        assert answer.status_code == 200
        running.until(lambda: home.status()["routes"]["default"] == "acme,vendor/new-1")
        assert {r.model for r in provider.requests() if r.model} == {"vendor/new-1"}
        assert home.status()["last_swap"]["reason"] == "edited"
    kept = json.loads((home.config / "ccr-config.json").read_bytes())
    assert kept["Providers"][0]["api_key"] == "$ACME_KEY"
    assert kept["Router"]["default"] == "acme,vendor/new-1"


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_an_edit_to_a_model_that_cannot_serve_is_healed(home: Home, provider: FakeProvider) -> None:
    """A route edited to a model that is not paid for leads on to one that serves."""
    provider.set("vendor/dear", "billing")
    document = home.use(provider)
    with home.running() as running:
        document["Router"]["default"] = "acme,vendor/dear"
        home.write("ccr-config.json", document)
        running.until(lambda: any(m["model"] == "vendor/dear" for m in home.status()["models"]))
        running.until(lambda: home.status()["state"] == "running")
        status = home.status()
        assert status["routes"]["default"] != "acme,vendor/dear"
        assert ask(running, "fine").status_code == 200


def test_a_broken_edit_of_the_written_file_is_reported_once(
    home: Home, provider: FakeProvider
) -> None:
    """Half a document in CCR's config.json: said once, what runs goes on, and the next swap
    keeps a copy of it."""
    out = messages_to(home)
    home.use(provider)
    with home.running() as running:
        (home.ccr / "config.json").write_text('{"Providers": [')
        running.until(lambda: "not applied" in running.log.read_text())
        running.until(lambda: len(told(out)) == 1)
        assert ask(running, "on").status_code == 200
        assert home.run("swap", "fallback").returncode == 0
        running.until(lambda: home.status()["profile"] == "fallback")
        time.sleep(2.5)  # two more looks
        assert running.log.read_text().count("not applied") == 1
        assert [m["kind"] for m in told(out)][:1] == ["edited"]
    saved = [path.read_text() for path in home.ccr.glob("config.json.*.saved")]
    assert '{"Providers": [' in saved


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_an_edit_a_moment_before_a_swap_is_not_lost(home: Home, provider: FakeProvider) -> None:
    """What a person wrote into config.json while a swap begins becomes the profile's."""
    home.env["SYNCCR_SWAP_COOLDOWN"] = "0.5"
    home.use(provider)
    with home.running() as running:
        written = json.loads((home.ccr / "config.json").read_bytes())
        written["Router"]["think"] = f"acme,{SPARE}"
        (home.ccr / "config.json").write_text(json.dumps(written))
        assert home.run("swap", "fallback").returncode == 0  # sooner than drift looks
        kept = json.loads((home.config / "ccr-config.json").read_bytes())
        assert kept["Router"]["think"] == f"acme,{SPARE}"
        assert home.run("swap", "primary").returncode == 0
        running.until(lambda: home.status()["routes"].get("think") == f"acme,{SPARE}")


def test_edits_go_where_the_profile_came_from(home: Home, provider: FakeProvider) -> None:
    """With ``--config F`` an edit of config.json becomes part of F (a copy is kept), and a
    second edit does not undo the first."""
    document = home.use(provider)
    (home.config / "ccr-config.json").unlink()
    mine = home.root / "mine.json"
    mine.write_text(json.dumps(document))
    with home.running("--config", str(mine)) as running:
        for route, model in (("think", SPARE), ("background", LONG)):
            written = json.loads((home.ccr / "config.json").read_bytes())
            written["Router"][route] = f"acme,{model}"
            (home.ccr / "config.json").write_text(json.dumps(written))
            running.until(lambda r=route, m=model: home.status()["routes"].get(r) == f"acme,{m}")
        routes = home.status()["routes"]
        assert routes["think"] == f"acme,{SPARE}"
    kept = json.loads(mine.read_bytes())
    assert kept["Router"]["think"] == f"acme,{SPARE}"
    assert kept["Router"]["background"] == f"acme,{LONG}"
    assert json.loads(min(home.root.glob("mine.json.*.bak")).read_bytes()) == document


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_a_new_local_key_counts_at_once_and_a_new_port_later(
    home: Home, provider: FakeProvider
) -> None:
    """An edited APIKEY is asked for after the swap; an edited PORT is said to come later, and so
    is taking the key away."""
    document = home.use(provider)
    with home.running() as running:
        home.write("ccr-config.json", document | {"APIKEY": "local-key-123456", "PORT": 1})
        running.until(lambda: ask(running, "x").status_code == 401)
        assert "from the next start on: the port 1." in running.log.read_text()
        assert home.status()["endpoint"] == running.url
        home.write("ccr-config.json", document)
        running.until(lambda: "taking APIKEY away" in running.log.read_text())
        running.until(lambda: home.status()["state"] == "running")
        assert ask(running, "x").status_code == 401


# ------------------------------------------------------- overriding files


def use_project(home: Home, name: str, session: str) -> Path:
    """A project as Claude Code and CCR keep it; returns its directory in CCR's."""
    of_claude = home.root / ".claude" / "projects" / name
    of_claude.mkdir(parents=True)
    (of_claude / f"{session}.jsonl").write_text("{}\n")
    mine = home.ccr / name
    mine.mkdir(parents=True)
    return mine


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_a_project_file_that_leads_to_a_dead_model_is_seen(
    home: Home, provider: FakeProvider
) -> None:
    """CCR follows a project's file, and a session's before it; a dead model there is said in
    terminal, journal, status and notification, once; CCR's in-flight list still answers; an
    end of the trouble is noted; the files are as their owner wrote them."""
    out = messages_to(home)
    home.use(provider)
    project = use_project(home, "-home-me-work", "s1")
    text = json.dumps({"Router": {"default": f"acme,{LONG}", "background": "nobody,x"}})
    (project / "config.json").write_text(text)
    with home.running() as running:
        provider.forget()
        assert ask(running, "one", "s1").status_code == 200
        assert [r.model for r in provider.requests()] == [LONG]
        row = home.status()["overrides"][0]
        assert (row["kind"], row["name"]) == ("project", "-home-me-work")
        assert row["routes"] == {"default": f"acme,{LONG}"}  # background is not taken from it
        assert row["trouble"] == []

        provider.set(LONG, "missing")
        answer = ask(running, "two", "s1")
        assert (answer.status_code, answer.json()["content"][0]["text"]) == (200, "two")
        running.until(lambda: home.status()["overrides"][0]["trouble"] != [])
        running.until(lambda: home.events("override") != [])
        entry = home.events("override")[0]
        assert str(project / "config.json") in entry["text"]
        assert LONG in entry["text"]
        assert "is missing" in entry["text"]
        assert "trouble" in home.run("status").stdout
        running.until(lambda: [m for m in told(out) if m["kind"] == "override"] != [])
        assert "leads to" in running.log.read_text()

        (project / "s1.json").write_text(json.dumps({"Router": {"default": f"acme,{SPARE}"}}))
        provider.forget()
        assert ask(running, "three", "s1").status_code == 200
        assert next(r.model for r in provider.requests()) == SPARE
        running.until(lambda: len(home.status()["overrides"]) == 2)

        (project / "config.json").write_text('{"Router": {"default": "acme,x"},}')
        running.until(lambda: "strict JSON" in json.dumps(home.events("override")))
        (project / "config.json").unlink()
        running.until(lambda: "in order again" in json.dumps(home.events("override")))
    assert sum(m["kind"] == "override" for m in told(out)) == 2


def test_a_model_that_only_a_session_names_is_asked_too(home: Home, provider: FakeProvider) -> None:
    """A model of no profile, and a provider that does not exist, in a session's file; a
    preset is listed with its routes, which may be anybody's."""
    provider.set("vendor/only-here", "billing")
    home.use(provider)
    project = use_project(home, "-home-me-work", "s1")
    router = {"default": "acme,vendor/only-here", "think": "acmee,x"}
    (project / "s1.json").write_text(json.dumps({"Router": router}))
    (project / "s2.json").write_text(json.dumps({"Router": router}))  # of no session
    preset = home.ccr / "presets" / "mine"
    preset.mkdir(parents=True)
    (preset / "manifest.json").write_text(
        '{"name": "mine", /* five */ "Providers": [{"name": "p"}],'
        ' "Router": {"default": "p,m\\u001b[31m",}}'
    )
    with home.running() as running:
        running.until(lambda: len(home.events("override")) == 2)
        rows = {row["kind"]: row for row in home.status()["overrides"]}
        assert rows.keys() == {"session", "preset"}
        texts = {t["route"]: t["text"] for t in rows["session"]["trouble"]}
        assert "is billing" in texts["default"]
        assert "404" in texts["think"]
        assert rows["preset"]["routes"] == {"default": "p,m"}  # no escapes to a terminal
        assert rows["preset"]["trouble"] == []
        assert len(provider.requests("vendor/only-here")) == 1


# ---------------------------------------------------------- notifications


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_one_message_for_one_trouble_and_no_key_in_it(home: Home, provider: FakeProvider) -> None:
    """A swap sends one message, the way back one; a provider that echoes the key tells
    nothing to the notifier."""
    out = messages_to(home)
    home.env |= {"SYNCCR_RECOVERY_INTERVAL": "1", "SYNCCR_SWAP_COOLDOWN": "0.2"}
    home.use(provider)
    with home.running() as running:
        for _ in range(2):
            provider.set(MAIN, "billing")
            for _ in range(5):
                ask(running, "x")
            running.until_profile("fallback")
            provider.set(MAIN, "ok")
            running.until_profile("primary")
        running.until(lambda: len(told(out)) == 2)
        provider.set(MAIN, "echo_key")
        ask(running, "x")
        running.until(lambda: "is away (auth" in running.log.read_text())
    kinds = [m["kind"] for m in told(out)]
    assert kinds[:2] == ["swapped", "swapped"]
    assert "billing" in told(out)[0]["text"]
    assert "Top up" in told(out)[0]["todo"]
    assert KEY not in out.read_text()
    assert [p for p in home.where_is(KEY) if p.parent != home.ccr / "logs"] == []  # CCR's own


def test_a_notifier_that_hangs_delays_nothing(home: Home, provider: FakeProvider) -> None:
    """The swap happens, requests are answered, Ctrl-C ends in time, and nothing is left."""
    home.env["SYNCCR_NOTIFY"] = "sh -c 'sleep 600'"  # it is given the message as $0
    home.use(provider)
    with home.running() as running:
        provider.set(MAIN, "billing")
        ask(running, "x")
        running.until_profile("fallback")
        running.until(lambda: "sleep" in {process.name() for process in home.processes()})
        assert ask(running, "y").status_code == 200
        begin = time.monotonic()
        running.process.terminate()
        assert running.process.wait(20) == 0
        assert time.monotonic() - begin < 12
    assert home.processes() == []


def test_notify_tries_the_setting(home: Home) -> None:
    """``synccr notify``: delivered, refused and off, with the contract's exit codes."""
    out = messages_to(home)
    assert home.run("notify", "--test").returncode == 0
    assert told(out)[0]["kind"] == "test"
    off = home.run("notify", "--to", "off")
    assert off.returncode == 1
    assert "desktop" in off.stderr
    failed = home.run("notify", "--to", "http://127.0.0.1:9/t0ken")
    assert failed.returncode == 1
    assert "t0ken" not in failed.stderr
    assert "Traceback" not in failed.stderr


# ----------------------------------------------------------------- quotas


def allowance(used: int, limit: int = 100, hours: float = 2) -> dict[str, Any]:
    renews = (datetime.now(UTC) + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
    return {
        "subscription": {"limit": limit, "requests": used, "renewsAt": renews},
        "somethingNew": {"x": [1]},
    }


def test_quota_is_shown_and_warned_of_once(home: Home, provider: FakeProvider) -> None:
    """What is left is in status and models; half spent at a pace that ends before the renewal
    is said once; an endpoint that hangs or answers garbage changes nothing; a restart does
    not say it again."""
    out = messages_to(home)
    home.env["SYNCCR_QUOTA_INTERVAL"] = "0.3"
    provider.quotas = allowance(10)
    home.use(provider)
    with home.running() as running:
        row = home.status()["quota"][0]
        assert (row["provider"], row["window"], row["remaining"]) == ("acme", "subscription", 90)
        assert row["renews_at"] is not None
        assert "90 of 100 left" in home.run("status").stdout
        for used in (30, 50, 60):
            provider.quotas = allowance(used)
            running.until(lambda u=used: home.status()["quota"][0]["used"] == u)
        running.until(lambda: home.events("quota") != [])
        assert home.status()["quota"][0]["runs_out_at"] is not None
        for trouble in ("never", "html", "server_error"):
            provider.set(QUOTAS, trouble)
            time.sleep(0.5)
        provider.set(QUOTAS, None)
        provider.quotas = {"subscription": "soon", "rollingFiveHourLimit": {"max": "many"}}
        time.sleep(0.7)
        status = home.status()
        assert (status["state"], status["quota"][0]["used"]) == ("running", 60)
        document = json.loads(home.run("models", "--json", "--fresh").stdout)
        assert document["quota"] is None
        provider.quotas = allowance(60)
        document = json.loads(home.run("models", "--json", "--fresh").stdout)
        assert document["quota"]["remaining"] == 40
        assert "40 of 100 left" in home.run("models").stderr
    with home.running() as running:
        provider.quotas = allowance(95)
        running.until(lambda: home.status()["quota"][0]["used"] == 95)
    assert len(home.events("quota")) == 1
    assert [m["kind"] for m in told(out)] == ["quota"]
    assert "runs out at" in told(out)[0]["text"]


def test_rate_limit_headers_are_shown(home: Home, provider: FakeProvider) -> None:
    """A provider without a quota endpoint tells in its answers' headers."""
    limits = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
    }
    for model in (MAIN, SPARE, LONG):
        provider.set(model, {"kind": "reply", "status": 429, "headers": limits, "message": "slow"})
    home.env["SYNCCR_PREFLIGHT_TIMEOUT"] = "2"
    home.use(provider)
    row = json.loads(home.run("models", "--json").stdout)["quota"]
    assert (row["window"], row["limit"], row["remaining"]) == ("rate limit, requests", 60, 59)


# ----------------------------------------------------------- weekly check


def test_the_weekly_check_tells_what_changed_and_moves_nothing(
    home: Home, provider: FakeProvider
) -> None:
    """New models on offer are told, never switched to; a dead model reaches the policy; the
    schedule outlives the supervisor."""
    out = messages_to(home)
    home.env["SYNCCR_WEEKLY_CHECK"] = "3"
    home.use(provider)
    with home.running() as running:
        before = home.status()["routes"]
        provider.list_models([MAIN, SPARE, LONG, "vendor/shiny-1"])
        running.until(lambda: any(c["new"] for c in home.events("checked")))
        assert home.status()["routes"] == before
        entry = next(c for c in home.events("checked") if c["new"])
        assert entry["new"] == ["acme,vendor/shiny-1"]
        assert "new models on offer" in entry["text"]
        running.until(lambda: [m for m in told(out) if m["kind"] == "checked"] != [])
        provider.set(MAIN, "missing")
        running.until(lambda: any(c["states"] for c in home.events("checked")))
        running.until_profile("fallback")
    count = len(home.events("checked"))
    provider.set(MAIN, "ok")
    provider.set(MODELS_LIST, None)
    home.env["SYNCCR_WEEKLY_CHECK"] = "604800"
    with home.running():
        time.sleep(1)
    assert len(home.events("checked")) == count  # a restart does not repeat it
    home.env["SYNCCR_WEEKLY_CHECK"] = "1"
    with home.running() as running:
        running.until(lambda: len(home.events("checked")) > count)  # nor forget it


def test_changes_without_a_supervisor(home: Home, provider: FakeProvider) -> None:
    """``synccr models --changes`` in a timer: silent news at first, then what changed."""
    home.use(provider)
    first = home.run("models", "--changes")
    assert "First full check" in first.stderr
    provider.list_models([MAIN, SPARE, LONG, "vendor/shiny-1"])
    provider.set(LONG, "missing")
    second = json.loads(home.run("models", "--changes", "--json").stdout)["changes"]
    assert second["new"] == ["acme,vendor/shiny-1"]
    assert second["states"] == [{"model": f"acme,{LONG}", "before": "ok", "after": "missing"}]
    assert "Nothing changed" in home.run("models", "--changes").stderr
