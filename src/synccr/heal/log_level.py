"""The third pass: CCR's log keeps errors, and neither prompts nor keys."""

from __future__ import annotations

from collections.abc import Iterator

from synccr.config.profile import Profile
from synccr.heal.change import Write, write

_QUIET = frozenset({"error", "warn"})
"""CCR 2.0.0 writes whole requests from ``info`` on; below ``error`` synccr would see none."""


def write_log(profile: Profile, asked: str | None) -> Iterator[Write]:
    """``LOG`` and ``LOG_LEVEL``, as far as they are not so already.

    Args:
        asked: the level of ``--log-level``; it goes before the profile.
    """
    raw = profile.raw
    before = raw.get("LOG_LEVEL")
    if raw.get("LOG") is False:
        yield write("LOG", before=False, value=True, reason="errors are seen in CCR's log")
    if asked and asked != before:
        reason = "asked for at the start (--log-level)"
        yield write("LOG_LEVEL", before=before, value=asked, reason=reason)
    elif not asked and before not in _QUIET:
        reason = "keeps errors, and neither prompts nor keys, on disk"
        yield write("LOG_LEVEL", before=before, value="error", reason=reason)
