"""Notifications for a person who does not look at the terminal: one for one trouble."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from synccr.background import Background
from synccr.clock import now, utc_now
from synccr.errors import UsageError
from synccr.journal import Journal, stamp
from synccr.notify import Notice, Target, lacks, send, target
from synccr.redact import Redactor
from synccr.supervisor.context import Reporter

REPEAT_AFTER = 6 * 3600.0
"""Seconds until the same trouble is worth another message."""
MAX_MESSAGES = 10
"""Messages within ``WINDOW``."""
WINDOW = 3600.0
"""Seconds."""
_CLOSE_TIMEOUT = 3.0
"""Seconds for messages under way when the supervisor ends."""
_DURATION = re.compile(r"\d+(?:\.\d+)?(?= (?:s|ms)\b)")


@dataclass
class RateLimiter:
    """At most one message for one trouble, and never a flood. Pure but for its memory.

    Two lines are of one trouble when they differ in durations only.
    """

    _passed: dict[tuple[str, str], float] = field(default_factory=dict)
    _recent: deque[float] = field(default_factory=deque)

    def allows(self, kind: str, text: str, moment: float) -> bool:
        """Whether this is worth a message at ``moment``, monotonic seconds."""
        while self._recent and self._recent[0] <= moment - WINDOW:
            self._recent.popleft()
        self._passed = {k: t for k, t in self._passed.items() if t > moment - REPEAT_AFTER}
        key = (kind, _DURATION.sub("#", text))
        if key in self._passed or len(self._recent) >= MAX_MESSAGES:
            return False
        self._passed[key] = moment
        self._recent.append(moment)
        return True


@dataclass
class Notifier:
    """Sends notifications in the background; nothing waits for it.

    Attributes:
        to: where messages go.
        journal: gets an entry for each message, delivered or not.
        redact: applied to what goes out and to what a notifier says.
        environ: of the notifier.
        limiter: bounds how many there are.
        unusable: why messages will not arrive, should that be known.
    """

    to: Target
    journal: Journal
    redact: Redactor
    environ: Mapping[str, str] = field(repr=False)
    unusable: str | None = None
    limiter: RateLimiter = field(default_factory=RateLimiter)
    _sending: Background = field(default_factory=Background)

    @classmethod
    def from_setting(
        cls,
        setting: str,
        journal: Journal,
        redact: Redactor,
        environ: Mapping[str, str],
        *,
        unseen: bool,
    ) -> Notifier:
        """What the setting says, when nobody looks at the terminal.

        A setting that cannot be used must not keep CCR from its work: it is in ``unusable``.
        """
        try:
            to, why = (target(setting) if unseen else Target("off")), None
            why = lacks(to, environ)
        except UsageError as error:
            to, why = Target("off"), str(error)
        return cls(to, journal, redact, environ, unusable=why)

    def with_notifications(self, tell: Reporter) -> Reporter:
        """``tell``, which also sends a message when the line is worth one."""

        def both(kind: str, text: str, todo: str, notify: bool) -> None:
            tell(kind, text, todo, notify)
            if notify:
                self.notify(kind, text, todo)

        return both

    def notify(self, kind: str, text: str, todo: str = "") -> None:
        """Send a message in the background, unless the limiter says no."""
        if self.to.way == "off" or not self.limiter.allows(kind, text, now().mono):
            return
        line = self.redact.line
        notice = Notice(kind, line(text), line(todo), stamp(utc_now()))
        self._sending.spawn(self._send(notice))

    async def _send(self, notice: Notice) -> None:
        failure = await send(self.to, notice, self.environ)
        outcome = "Delivered" if failure is None else f"Not delivered ({self._clean(failure)})"
        self.journal.write(
            "notified",
            delivered=failure is None,
            about=notice.kind,
            text=f"{outcome}: {notice.text}",
        )

    def _clean(self, text: str) -> str:
        if self.to.url:
            text = text.replace(self.to.url, "(the address)")
        return self.redact.line(text, 200)

    async def close(self) -> None:
        """Messages under way get a moment, then they are given up."""
        await self._sending.finish(_CLOSE_TIMEOUT)
