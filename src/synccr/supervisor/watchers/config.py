"""What a person, or CCR's own page, edits in a profile while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from synccr.config.ccr_file import ConfigFile
from synccr.config.profile import Local
from synccr.config.store import Profiles, keep_adopted
from synccr.errors import SynccrError
from synccr.journal import Journal
from synccr.paths import Paths
from synccr.policy.machine import PolicyState
from synccr.supervisor.context import Reporter


@dataclass
class ConfigWatcher:
    """Takes edits of the profiles into a supervisor that runs.

    Attributes:
        paths: CCR's directory.
        load: reads the profiles; raises `SynccrError` when they cannot be used.
        state: the policy's state now.
        use: goes on with other profiles.
        journal, tell: get what was taken, and why something was not.
    """

    paths: Paths
    load: Callable[[], Profiles]
    state: Callable[[], PolicyState]
    use: Callable[[Profiles], None]
    journal: Journal
    tell: Reporter
    _refused: str = field(default="", init=False)

    def reload(self) -> bool:
        """Take what was edited when it can be used, else say once why not; what runs goes on.

        Returns:
            Whether nothing was edited.
        """
        state = self.state()
        try:
            profiles = on_running_port(self.load(), state.local)
            before = (state.primary.raw, state.fallback.raw, state.local)
            edited = (profiles.primary.raw, profiles.fallback.raw, profiles.local) != before
            keep_adopted(profiles)
        except (SynccrError, OSError) as error:
            self._report_refusal(error)
            return False
        self._refused = ""
        if edited:
            self.use(profiles)
            text = edit_message(profiles)
            self.journal.write("edited", text=text, applied=True)
            self.tell("edited", text, "", False)
        elif profiles.taken and profiles.notes:  # it was about the other profile
            self._report(" ".join(profiles.notes), "", applied=False)
        return not edited

    def adopt_edits(self) -> None:
        """What a person wrote into CCR's configuration a moment before it is replaced becomes
        the profile's, and is noticed there; a copy of what cannot be read is kept anyhow."""
        with contextlib.suppress(SynccrError, OSError):
            if ConfigFile(self.paths).changed_by_others():
                keep_adopted(self.load())

    def _report_refusal(self, error: SynccrError | OSError) -> None:
        what = error.what if isinstance(error, SynccrError) else str(error)
        todo = error.todo if isinstance(error, SynccrError) else "Free the disk or mend the mode."
        if what == self._refused:
            return
        self._refused = what
        text = f"An edit is not applied: {what}"
        self._report(text, todo, applied=False)

    def _report(self, text: str, todo: str, *, applied: bool) -> None:
        self.journal.write("edited", text=text, todo=todo, applied=applied)
        self.tell("edited", text, todo, not applied)


def on_running_port(profiles: Profiles, local: Local) -> Profiles:
    """The same profiles on the port that is open, which clients know: it stays until the end.
    So does a key that is taken away, because the port may be open to other machines, and a
    random one."""
    key = profiles.primary.api_key_text or local.api_key
    return replace(profiles, local=replace(profiles.local, port=local.port, api_key=key))


def edit_message(profiles: Profiles) -> str:
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
