"""Files beside CCR's configuration that lead requests elsewhere: of projects, of sessions,
and presets. Read only; how CCR 2.0.0 picks them was seen in its source and tried on it.

- For each request CCR takes the session's id from ``metadata.user_id`` and looks below
  ``~/.claude/projects`` for the project directory that has ``<session>.jsonl``.
- With it, ``<project>/<session>.json`` in CCR's directory, else ``<project>/config.json``
  there, is read anew for each request, as strict JSON: what is no JSON is passed over
  without a word.
- Its ``Router`` stands in place of the whole ``Router`` of ``config.json``. Only
  ``background`` and ``image`` are taken from the latter all the same. ``fallback`` lists
  are always those of ``config.json``.
- ``presets/<name>/manifest.json`` (JSON5), read at CCR's start, has providers and routes of
  its own below ``/preset/<name>``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn

from synccr import jsonc
from synccr.models.report import SERVING, ModelRef, Report

ROUTED = ("default", "think", "longContext", "webSearch")
"""Routes that CCR takes from the file of a project or session."""

_OF_CCR = frozenset({"logs", "plugins", "presets", "temp"})
_MOST = 200
"""Files looked at of one directory."""
_LARGEST = 1024 * 1024

Kind = Literal["project", "session", "preset"]


@dataclass(frozen=True)
class Override:
    """One file that leads requests elsewhere.

    Attributes:
        file: where it is.
        kind: what it belongs to.
        name: the project's directory, or the preset.
        routes: scenario and ``provider,model``, as written.
        providers: names of a preset's own providers.
        problem: why CCR does not do what the file seems to say; empty when it does.
    """

    file: Path
    kind: Kind
    name: str
    routes: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    problem: str = ""

    def models(self) -> tuple[ModelRef, ...]:
        """Every model that a route names, once."""
        refs = (_ref(value) for value in self.routes.values())
        return tuple(dict.fromkeys(ref for ref in refs if ref))


@dataclass(frozen=True)
class Trouble:
    """A route of an override that cannot be served.

    Attributes:
        route: the scenario.
        target: what it names.
        text: why it cannot be served, for a person.
    """

    route: str
    target: str
    text: str


def override_files(ccr: Path) -> Iterator[tuple[Path, Kind, str]]:
    """Files that CCR would read now, with what they belong to.

    Args:
        ccr: CCR's directory; Claude Code's is beside it.
    """
    projects = ccr.parent / ".claude" / "projects"
    for entry in _directories(ccr):
        if entry.name in _OF_CCR:
            continue
        of_claude = projects / entry.name
        if not of_claude.is_dir():
            continue
        if (file := entry / "config.json").is_file():
            yield file, "project", entry.name
        for file in islice(sorted(entry.glob("*.json")), _MOST):
            if file.name != "config.json" and (of_claude / f"{file.stem}.jsonl").is_file():
                yield file, "session", entry.name
    for entry in _directories(ccr / "presets"):
        if (file := entry / "manifest.json").is_file():
            yield file, "preset", entry.name


def find_overrides(ccr: Path) -> tuple[Override, ...]:
    """Every such file that says something about routes, or fails to."""
    found = (_read(*where) for where in override_files(ccr))
    return tuple(override for override in found if override is not None)


def troubles(
    override: Override, providers: Collection[str], reports: Mapping[ModelRef, Report]
) -> tuple[Trouble, ...]:
    """Routes that lead nowhere. Pure.

    Args:
        override: what to judge.
        providers: names of the running configuration's providers.
        reports: what is known; a model without a report is taken to serve.
    """
    preset = override.kind == "preset"
    known = override.providers if preset else providers
    found = []
    for name, value in override.routes.items():
        ref = _ref(value)
        if ref is None:
            text = "names no provider and model"
        elif ref.provider not in known:
            text = f"names the provider {ref.provider!r}, which CCR does not have: it answers 404"
        elif preset:
            continue  # its providers have keys of their own, and nobody has asked them
        else:
            text = _state(reports.get(ref))
        if text:
            found.append(Trouble(name, value, text))
    return tuple(found)


def _state(report: Report | None) -> str:
    if report is None or report.serves:
        return ""
    if report.status in SERVING:
        return "calls no tools, and Claude Code needs them"
    return f"is {report.status}" + (f" ({report.detail})" if report.detail else "")


def _ref(value: str) -> ModelRef | None:
    with suppress(ValueError):
        return ModelRef.parse(value)
    return None


def _directories(path: Path) -> list[Path]:
    with suppress(OSError), os.scandir(path) as entries:
        return sorted(Path(e.path) for e in islice(entries, 10 * _MOST) if e.is_dir())
    return []


def _read(file: Path, kind: Kind, name: str) -> Override | None:
    preset = kind == "preset"
    try:
        if file.stat().st_size > _LARGEST:
            return Override(file, kind, name, problem="is too large to be read here")
        text = file.read_bytes().decode()
        document = jsonc.loads(text) if preset else json.loads(text, parse_constant=_no_constant)
    except OSError as error:
        return Override(file, kind, name, problem=f"cannot be read ({error.strerror})")
    except (ValueError, RecursionError) as error:
        fate = (
            "no JSON, so CCR leaves it out" if preset else "no strict JSON, so CCR passes over it"
        )
        return Override(file, kind, name, problem=f"is {fate} ({error})")
    return _preset(file, name, document) if preset else _own(file, kind, name, document)


def _own(file: Path, kind: Kind, name: str, document: Any) -> Override | None:
    """A project's or a session's."""
    router = document.get("Router") if isinstance(document, dict) else None
    if router is None or router is False or router in ("", 0):
        return None  # CCR goes on to the next file
    if not isinstance(router, dict):
        problem = "has a Router that is no object: CCR answers 400"
        return Override(file, kind, name, problem=problem)
    routes = _routes(router, ROUTED)
    problem = (
        ""
        if routes.get("default")
        else "names no default route: CCR answers 400 to what no other route takes"
    )
    return Override(file, kind, name, routes, problem=problem)


def _preset(file: Path, name: str, document: Any) -> Override:
    if not isinstance(document, dict):
        return Override(file, "preset", name, problem="is no object, so CCR leaves it out")
    router, providers = document.get("Router"), document.get("Providers")
    rows = providers if isinstance(providers, list) else []
    names = (row.get("name") for row in rows if isinstance(row, dict))
    routes = _routes(router, None) if isinstance(router, dict) else {}
    return Override(file, "preset", name, routes, tuple(n for n in names if isinstance(n, str)))


def _routes(router: Mapping[str, Any], names: Collection[str] | None) -> dict[str, str]:
    return {
        key: value
        for key, value in router.items()
        if isinstance(value, str) and value and (names is None or key in names)
    }


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
