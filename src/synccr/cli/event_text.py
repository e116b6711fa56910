"""The journal's entries for people."""

from __future__ import annotations

from typing import Any


def event_line(entry: dict[str, Any]) -> str:
    """One event for a person: its text, or what its fields say."""
    try:
        text = _text(entry)
    except (KeyError, TypeError, AttributeError):  # written by another version
        text = None
    if not text:
        shown = {k: v for k, v in entry.items() if k not in ("at", "kind") and v is not None}
        text = ", ".join(f"{key} {value}" for key, value in shown.items())
    at = str(entry.get("at", ""))[:19].replace("T", " ")
    return f"{at:<19}  {entry['kind']:<12} {text}"


def _text(entry: dict[str, Any]) -> str | None:
    match entry["kind"]:
        case "swapped":
            return (
                f"{entry['from']} -> {entry['to']} ({entry['reason']}) in {entry['took_ms']} ms; "
                f"{entry.get('why', '')}"
            )
        case "preflight":
            return ", ".join(f"{ref} {status}" for ref, status in entry["models"].items())
        case "healed":
            count = len(entry["changes"])
            many = "1 change" if count == 1 else f"{count} changes"
            return f"{entry['profile']}, {many}; {entry.get('why', '')}"
    return entry.get("text")
