"""What one run has from its first moment to its last, whatever stage it is in."""

from __future__ import annotations

import time

from synccr.background import Background
from synccr.ccr.package_source import PackageSource
from synccr.files import sweep
from synccr.journal import Journal
from synccr.models.report import Quota
from synccr.probe.preflight_run import ask_quotas
from synccr.settings import Settings, origin_of
from synccr.supervisor.context import Context, CurrentConfig
from synccr.supervisor.lock import Lock
from synccr.supervisor.notifier import Notifier
from synccr.supervisor.takeover.incoming import Predecessor
from synccr.supervisor.trace import Tracing
from synccr.supervisor.watchers.files import signature
from synccr.supervisor.watchers.quota import QuotaWatcher


class Parts:
    """Made once the lock is held, or the predecessor has been heard.

    Attributes:
        context: the surroundings.
        lock: this directory's.
        predecessor: the supervisor that this one replaces.
        config: settings and profiles that count now.
        seen_files: the profiles' files as they were when they were read.
        journal: keeps what is decided and done.
        background: what ends with the run.
        notifier: messages to a person who does not look.
        tell: shows a line to a person, who gets a message besides when it is worth one.
        quotas: what is left of each allowance.
        tracing: the last turns.
    """

    def __init__(self, context: Context, lock: Lock, predecessor: Predecessor | None) -> None:
        """Raises:
        SynccrError: a profile cannot be used.
        """
        paths, settings = context.paths, context.settings
        for place in (paths.ccr, paths.config, paths.instance):
            sweep(place, time.time())
        self.context, self.lock, self.predecessor = context, lock, predecessor
        self.config = config = CurrentConfig(settings, context.load())
        self.seen_files = signature(config.profiles.watch)
        self.journal = Journal(paths.instance / "journal.jsonl", config.redactor)
        self.background = Background()
        self.tracing = Tracing(paths.instance, self.journal, config.redactor, self.background)
        self.notifier = self._notifier()
        self.tell = self.notifier.with_notifications(context.tell)
        self.quotas = QuotaWatcher(
            paths.instance / "quota.json",
            self._ask_quotas,
            settings.quota_interval,
            self.journal,
            self.tell,
        )

    @property
    def endpoint(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.config.profiles.local.port}"

    def progress(self, text: str) -> None:
        """Show what takes a moment."""
        self.tell("progress", text, "", False)

    def packages(self, settings: Settings) -> PackageSource:
        """The CCR to run, as settings say."""
        paths, environ, command = self.context.paths, self.context.environ, settings.ccr_command
        name = "ccr_command" if command else "ccr_version"
        return PackageSource(
            settings.ccr_version,
            environ,
            paths.cache,
            command,
            self.progress,
            lambda: origin_of(name, paths.settings, environ),
        )

    def _notifier(self) -> Notifier:
        notifier = Notifier.from_setting(
            self.context.settings.notify,
            self.journal,
            self.config.redactor,
            self.context.environ,
            unseen=self.context.unseen,
        )
        if notifier.unusable:
            text = f"Messages will not arrive: {notifier.unusable}."
            self.journal.write("notified", delivered=False, text=text)
            self.context.tell("notified", text, "Try it: synccr notify", False)
        return notifier

    async def _ask_quotas(self) -> tuple[Quota, ...]:
        return await ask_quotas(self.config.providers, proxy=self.config.profiles.proxy)
