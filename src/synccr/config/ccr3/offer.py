"""CCR 3's configuration as what can become the primary profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from synccr.config.ccr3.database import DATABASE, Unreadable, read_database
from synccr.config.ccr3.profile import Taken, old_document, take
from synccr.config.ccr_file import ConfigFile
from synccr.config.reader import understand
from synccr.errors import ConfigError
from synccr.paths import Paths


def offered(paths: Paths, environ: Mapping[str, str]) -> Taken | None:
    """The profile that CCR 3's configuration makes; None when it has no provider to use.

    Raises:
        Unreadable, Torn: there is a configuration of CCR 3, and it cannot be read.
    """
    stored = read_database(paths.ccr)
    if stored is None:
        return None
    ours = ConfigFile(paths).is_ours
    found = (old_document(content) for content in stored.imported if not ours(content))
    old = next((document for document in found if document), None)
    passed_over: tuple[str, ...] = ()
    why = ""
    for document in [old, None] if old else [None]:
        taken = take(stored, document, directory=paths.ccr, known=environ)
        if taken is None:
            return None
        why = _unusable(taken, environ)
        if not why:
            return replace(taken, left=(*taken.left, *passed_over))
        # What CCR 3 has now may be used all the same.
        passed_over = (f"the old config.json, which cannot be used: {why}",)
    raise Unreadable(f"{paths.ccr / DATABASE} cannot be a profile: {why}", "Mend it in CCR 3.")


def _unusable(taken: Taken, environ: Mapping[str, str]) -> str:
    """Why it cannot be a profile; empty when it can."""
    try:
        understand(taken.document, DATABASE, "primary", {**taken.keys, **environ})
    except ConfigError as error:
        return error.what
    return ""
