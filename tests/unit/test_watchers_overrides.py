"""Files of projects, sessions and presets: which ones count, and what is wrong with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.ccr.v2.override_files import Override, find_overrides, troubles
from synccr.models.report import ModelRef, Report, Status

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def ccr(tmp_path: Path) -> Path:
    """CCR's directory beside Claude Code's, which knows project P with session s1."""
    (tmp_path / ".claude" / "projects" / "P").mkdir(parents=True)
    (tmp_path / ".claude" / "projects" / "P" / "s1.jsonl").touch()
    for name in ("P", "Q", "logs", "presets/x", "presets/empty"):
        (tmp_path / ".claude-code-router" / name).mkdir(parents=True)
    return tmp_path / ".claude-code-router"


def put(path: Path, default: str = "a,b") -> None:
    path.write_text(json.dumps({"Router": {"default": default}}))


def test_only_files_that_ccr_would_read(ccr: Path) -> None:
    """A project that Claude Code has, a session that it has; not others, not CCR's own."""
    for name in ("P/config.json", "P/s1.json", "P/s2.json", "Q/config.json", "logs/config.json"):
        put(ccr / name)
    put(ccr / "config.json")
    put(ccr / "presets" / "x" / "manifest.json")
    found = [(o.kind, o.file.relative_to(ccr).as_posix()) for o in find_overrides(ccr)]
    assert found == [
        ("project", "P/config.json"),
        ("session", "P/s1.json"),
        ("preset", "presets/x/manifest.json"),
    ]


def test_no_directory_no_overrides(tmp_path: Path) -> None:
    """Before CCR's first start there is nothing to look at."""
    assert find_overrides(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", None),
        ('{"Router": null}', None),
        ('{"Router": ""}', None),
        ("[]", None),
        ('{"Router": {"default": "a,b"}}', ""),
        ('{"Router": {"think": "a,b"}}', "names no default route: CCR answers 400"),
        ('{"Router": "a,b"}', "no object: CCR answers 400"),
        ('{"Router": {"default": "a,b"},}', "no strict JSON, so CCR passes over it"),
        ('{"Router": NaN}', "no strict JSON"),
        ('\ufeff{"Router": {"default": "a,b"}}', "no strict JSON"),
        ("[" * 100_000, "no strict JSON"),
    ],
)
def test_what_is_wrong_with_a_file(ccr: Path, text: str, problem: str | None) -> None:
    """None: it says nothing about routes, and CCR goes on to the next; empty: all is well."""
    (ccr / "P" / "config.json").write_text(text)
    found = find_overrides(ccr)
    if problem is None:
        assert found == ()
    elif problem:
        assert problem in found[0].problem
    else:
        assert found[0].problem == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"Router": {"default": "a,b"},} // said so', ""),
        ('\ufeff{"Router": {"default": "a,b"}}', ""),
        ("{", "is no JSON, so CCR leaves it out"),
        ("[1]", "is no object, so CCR leaves it out"),
        ('{"Router": {}}' + " " * 1024 * 1024, "is too large to be read here"),
    ],
)
def test_what_is_wrong_with_a_preset(ccr: Path, text: str, problem: str) -> None:
    """Its file may have comments, and what is wrong with it is told as it is."""
    (ccr / "presets" / "x" / "manifest.json").write_text(text)
    (found,) = find_overrides(ccr)
    assert found.problem.startswith(problem)
    assert bool(found.problem) == bool(problem)


def report(model: str, status: Status, tools: bool | None = None) -> Report:
    return Report(provider="a", model=model, status=status, checked_at=NOW, tools=tools)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("a,good", None),
        ("a,unknown", None),
        ("a,dear", "is billing"),
        ("a,mute", "calls no tools, and Claude Code needs them"),
        ("z,good", "names the provider 'z', which CCR does not have: it answers 404"),
        ("good", "names no provider and model"),
    ],
)
def test_routes_that_lead_nowhere(target: str, text: str | None) -> None:
    """Judged by the running configuration's providers and by what is known of models."""
    rows = [
        report("good", Status.OK, True),
        report("dear", Status.BILLING),
        report("mute", Status.OK, False),
    ]
    reports = {row.ref: row for row in rows}
    found = troubles(Override(Path("f"), "project", "P", {"default": target}), ["a"], reports)
    assert [t.text for t in found] == ([] if text is None else [text])


def test_a_preset_is_judged_by_its_own_providers() -> None:
    """Its keys are its own, so that nothing is known of its models."""
    dead = {ModelRef("a", "m"): report("m", Status.MISSING)}
    routes = {"default": "a,m", "think": "b,m"}
    found = troubles(Override(Path("f"), "preset", "x", routes, ("a",)), ["b"], dead)
    assert [t.route for t in found] == ["think"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["Router", "Providers", "default", "name"]), inner)
        ),
    )
)
def test_any_document_is_read(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    """Whatever somebody wrote there."""
    root = tmp_path_factory.mktemp("home")
    (root / ".claude" / "projects" / "P").mkdir(parents=True)
    for name, file in (("P", "config.json"), ("presets/x", "manifest.json")):
        (root / "ccr" / name).mkdir(parents=True)
        (root / "ccr" / name / file).write_text(json.dumps(document))
    for override in find_overrides(root / "ccr"):
        troubles(override, ["a"], {})
        override.models()
