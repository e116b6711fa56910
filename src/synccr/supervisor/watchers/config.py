"""Noticing that a person, or CCR's own page, changed a profile while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synccr.ccr.config_file import ConfigFile
from synccr.config.store import Profiles, keep_adopted
from synccr.errors import SynccrError
from synccr.heal import Local
from synccr.journal import Journal
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.policy.machine import State
from synccr.supervisor.context import CurrentConfig, Reporter

INTERVAL = 1.0
"""Seconds between looks. Three ``stat`` calls cost less than a watcher would."""

Signature = tuple[tuple[int, int, int] | None, ...]


def signature(files: Sequence[Path]) -> Signature:
    """What tells one state of some files from another."""
    return tuple(_one(path) for path in files)


def _one(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def watch(files: Sequence[Path], seen: Signature, changed: Callable[[], object]) -> None:
    """Call ``changed`` once files differ from ``seen`` and are left alone for one interval."""
    while True:
        await asyncio.sleep(INTERVAL)
        found = signature(files)
        if found == seen:
            continue
        while True:
            await asyncio.sleep(INTERVAL)
            again = signature(files)
            if again == found:
                break
            found = again
        seen = found
        changed()


@dataclass
class ConfigWatcher:
    """Takes edits into a supervisor that runs.

    Attributes:
        paths: CCR's configuration.
        load: reads the profiles again.
        config: where profiles that can be used go.
        state: the policy's state now.
        post: takes events to the policy.
        journal, tell: hear of edits.
    """

    paths: Paths
    load: Callable[[], Profiles]
    config: CurrentConfig
    state: Callable[[], State]
    post: Callable[[e.Event], None]
    journal: Journal
    tell: Reporter
    _refused: str = ""

    def reread(self) -> bool:
        """Take what was edited when it can be used, else say once why not; what runs goes on.

        Returns:
            Whether nothing was edited.
        """
        state = self.state()
        try:
            profiles = settled(self.load(), state.local)
            before = (state.primary.raw, state.fallback.raw, state.local)
            if (profiles.primary.raw, profiles.fallback.raw, profiles.local) == before:
                self._refused = ""
                keep_adopted(profiles)
                if profiles.taken and profiles.notes:  # it was about the other profile
                    self._say(" ".join(profiles.notes), "", applied=False)
                return True
            keep_adopted(profiles)
        except (SynccrError, OSError) as error:
            self._refuse(error)
            return False
        self._refused = ""
        self.config.profiles = profiles
        text = story(profiles)
        self.journal.write("edited", text=text, applied=True)
        self.tell("edited", text, "", False)
        self.post(e.ProfilesRead(profiles.primary, profiles.fallback, profiles.local))
        return False

    def save_edits(self) -> None:
        """What a person wrote into CCR's configuration a moment before it is replaced becomes
        the profile's, and is noticed there; a copy of what cannot be read is kept anyhow."""
        with contextlib.suppress(SynccrError, OSError):
            if ConfigFile(self.paths).changed_by_others():
                keep_adopted(self.load())

    def _refuse(self, error: SynccrError | OSError) -> None:
        what = error.what if isinstance(error, SynccrError) else str(error)
        todo = error.todo if isinstance(error, SynccrError) else "Free the disk or mend the mode."
        if what == self._refused:
            return
        self._refused = what
        text = f"An edit is not applied: {what}"
        self._say(text, todo, applied=False)

    def _say(self, text: str, todo: str, *, applied: bool) -> None:
        self.journal.write("edited", text=text, todo=todo, applied=applied)
        self.tell("edited", text, todo, not applied)


def settled(profiles: Profiles, local: Local) -> Profiles:
    """The same profiles on the port that is open, which clients know: it stays until the end.
    So does a key that is taken away, because the port may be open to other machines, and a
    random one."""
    key = profiles.primary.api_key_text or local.api_key
    return replace(profiles, local=replace(profiles.local, port=local.port, api_key=key))


def story(profiles: Profiles) -> str:
    """What an edit that is taken means, for a person."""
    text = " ".join(["A profile was edited; its models are checked.", *profiles.notes])
    later = []
    if profiles.primary.port != profiles.local.port:
        later.append(f"the port {profiles.primary.port}")
    if (
        profiles.local.api_key
        and not profiles.primary.api_key_text
        and not profiles.primary.shipped
    ):
        later.append("taking APIKEY away")
    if later:
        text += f" What counts from the next start on: {' and '.join(later)}."
    return text
