"""``synccr status`` for people and programs; the live view is in ``status_watch``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from synccr.cli.output import style
from synccr.cli.result import Result
from synccr.control import request
from synccr.errors import NotRunning
from synccr.paths import Paths

GOOD = ("ok", "unverified")
"""States of models that may serve."""


def status(*, as_json: bool) -> Result:
    """What runs.

    Raises:
        SynccrError: nothing runs, or it does not answer.
    """
    try:
        document = request(Paths.from_environment().instance, "status")
    except NotRunning:
        if not as_json:
            raise
        return Result(document={"state": "stopped"}, exit_code=NotRunning.exit_code)
    return Result(document=document) if as_json else Result(lines(document))


def colour_of(state: str) -> str:
    """The colour of a state's word."""
    return {"running": "green", "degraded": "red"}.get(state, "yellow")


def lines(document: dict[str, Any]) -> list[str]:
    """What a person reads."""
    state, ccr = document["state"], document["ccr"]
    found = [
        (
            f"{style(state, colour_of(state), sys.stdout)} on the {document['profile']} profile "
            f"at {document['endpoint']}"
        ),
        (
            f"  CCR {ccr['version']}, pid {ccr['pid'] or '-'}, {ccr['restarts']} restarts; "
            f"supervisor pid {document['supervisor']['pid']}"
        ),
    ]
    if document.get("why"):
        found.append(f"  why: {document['why']}")
    if noted := turns_line(document):
        found.append(f"  {style(noted, 'yellow', sys.stdout)}")
    found += [f"  {style(line, 'yellow', sys.stdout)}" for line in plan_lines(document)]
    found.append("routes")
    found += [f"  {name:<12} {model}" for name, model in document["routes"].items()]
    found.append("models")
    for model in document["models"]:
        colour = "green" if model["status"] in GOOD else "red"
        shown = style(f"{model['status']:<12}", colour, sys.stdout)
        detail = f"  {model['detail']}" if model["detail"] else ""
        found.append(f"  {shown} {model['provider']},{model['model']}{detail}")
    found += _quota_lines(document.get("quota") or ())
    found += _override_lines(document.get("overrides") or ())
    if swap := document.get("last_swap"):
        found.append(
            f"last swap {swap['at']}: {swap['from']} -> {swap['to']} "
            f"({swap['reason']}), {swap['took_ms']} ms; {document['swaps']} in all"
        )
    return found


def turns_line(document: dict[str, Any]) -> str:
    """What a person should know of the traffic, in one line: models that are not asked, requests
    that nobody judged, a capture under way; empty when there is nothing."""
    breakers = document.get("breakers") or {}
    turns = document.get("turns") or {}
    parts = []
    if (document.get("ccr") or {}).get("judged") is False:
        parts.append("CCR runs without synccr's module: nothing is judged (synccr doctor running)")
    for state, words in (("open", "not asked now"), ("half_open", "on trial")):
        if names := [name for name, found in breakers.items() if found == state]:
            parts.append(f"{words}: {'; '.join(names)}")
    if names := _resting(document):
        parts.append(f"rests for a moment: {'; '.join(names)}")
    if count := turns.get("not_judged"):
        parts.append(f"{count} of {turns['requests']} requests not judged (synccr doctor running)")
    if path := turns.get("capture"):
        parts.append(f"requests and answers are written to {path}")
    return ". ".join(parts)


def plan_lines(document: dict[str, Any]) -> list[str]:
    """For each route whose own model is not asked now, who gets its requests; mostly none."""
    resting = _resting(document)
    found = []
    for name, rows in (document.get("plan") or {}).items():
        route = document["routes"].get(name)
        asked = (row for row in rows if row["breaker"] == "closed" and row["model"] not in resting)
        serving = next(asked, None)
        if route and serving and serving["model"] != route:
            found.append(f"{name} goes to {serving['model']} ({serving['reason']}), not to {route}")
    return found


def _resting(document: dict[str, Any]) -> list[str]:
    """Models that have just failed a request and are left alone for a moment."""
    rows = (row for rows in (document.get("plan") or {}).values() for row in rows)
    return list(dict.fromkeys(row["model"] for row in rows if row.get("rests")))


def _quota_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    lines = [f"  {quota_line(row)}" for row in rows]
    return ["quota", *lines] if lines else []


def quota_line(row: Mapping[str, Any]) -> str:
    """One allowance, as ``--json`` has it, for a person: left, renewal, end at this pace."""
    left, limit = row.get("remaining"), row.get("limit")
    if left is None:
        amount = "how much is left is not known" if limit is None else f"{limit:g} in all"
    else:
        amount = f"{left:g} of {limit:g} left"
    parts = [f"{row['provider']}: {amount} ({row['window']})"]
    if row.get("renews_at"):
        parts.append(f"renews {_local_time(row['renews_at'])}")
    if row.get("runs_out_at"):
        parts.append(f"runs out {_local_time(row['runs_out_at'])} at this pace")
    return "; ".join(parts)


def _local_time(stamp: str) -> str:
    """A time of ours on this machine's clock."""
    when = datetime.fromisoformat(stamp).astimezone()
    near = abs((when - datetime.now(UTC)).total_seconds()) < 20 * 3600
    return when.strftime("at %H:%M" if near else "on %Y-%m-%d at %H:%M")


def _override_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Files that override routes; what is wrong with one is red."""
    lines = []
    for row in rows:
        bad = [row["problem"]] if row["problem"] else []
        bad += [f"{t['route']} leads to {t['target']}, which {t['text']}" for t in row["trouble"]]
        mark = style("trouble", "red", sys.stdout) if bad else style("ok", "green", sys.stdout)
        lines.append(f"  {mark} {row['kind']} {row['name']}: {row['file']}")
        lines += [f"    {text}" for text in bad]
    return ["overrides", *lines] if lines else []
