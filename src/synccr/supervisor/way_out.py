"""The way out of one supervisor: its egress, and a CCR that is led there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from synccr.ccr.backend import Backend
from synccr.ccr.identity import Identity
from synccr.ccr.launch import Launcher
from synccr.ccr.package import Package
from synccr.ccr.way_in import PRELOAD, EgressAddress
from synccr.egress.directory import Directory
from synccr.egress.egress import Egress
from synccr.egress.patience import Patience
from synccr.keyring import Keyring
from synccr.profile import Provider
from synccr.profiles import Profiles
from synccr.report import Report, Status
from synccr.supervisor.loop import Teller
from synccr.supervisor.turn_desk import TurnDesk
from synccr.transport import Transport

_FORMER = 4
"""Keyrings: a CCR that drains may be of the profiles before the last edits."""
_OLD_PROVIDERS = 64

NOT_LED = (
    "CCR came up without synccr's module: its provider requests are not judged, and it has the "
    "provider keys itself."
)


@dataclass
class WayOut:
    """Made before the first CCR, and as long-lived as the supervisor.

    Attributes:
        desk: where proxy and egress meet.
        profiles: those that count now.
        environ: with the keys.
        kept: names that ``keys.env`` holds.
        launcher: starts a CCR that asks providers by itself.
        tell: shows a line to a person.
        patience: how long models may be silent.
    """

    desk: TurnDesk
    profiles: Callable[[], Profiles]
    environ: Mapping[str, str] = field(repr=False)
    kept: Iterable[str]
    launcher: Launcher
    tell: Teller
    patience: Patience
    _of: Profiles | None = None
    _rings: deque[Keyring] = field(default_factory=lambda: deque(maxlen=_FORMER))
    _known: dict[tuple[str, str, str], Provider] = field(default_factory=dict)
    _directory: Directory = field(default_factory=lambda: Directory(()))

    def __post_init__(self) -> None:
        self.transport = Transport(environ=self.environ)
        self.egress = Egress(
            turns=self.desk.turns,
            transport=self.transport,
            patience=self.patience,
            directory=lambda: self._now()._directory,
            substitute=self._substitute,
            permit=self.desk.permit,
            told=self.desk.told,
            redact=lambda: self.profiles().redactor,
            capture=lambda: self.desk.trace.capture,
            secret=self.desk.secret.decode(),
        )

    async def start(self) -> None:
        """Open the egress.

        Raises:
            OSError: there is no port.
        """
        await self.egress.start()

    async def close(self) -> None:
        """End every request to a provider."""
        await self.egress.close()

    async def launch(self, package: Package, *, ours: Collection[Identity] = ()) -> Backend:
        """Start a CCR that is led to the egress and holds no key; one that cannot be led gets
        the keys and asks providers by itself, as it is said.

        Raises:
            SynccrError: as `Launcher.launch`.
        """
        keyring, egress = self._now()._rings[0], self.egress
        if not PRELOAD.is_file():
            return await self._launch_bare(package, ours)
        address = EgressAddress(egress.url, egress.secret, keyring.origins)
        environ = keyring.environ_for_ccr(self.environ, self.kept)
        backend = await replace(self.launcher, environ=environ, egress=address).launch(
            package, ours=ours
        )
        if backend.led:
            return backend
        await backend.stop(0)
        return await self._launch_bare(package, ours)

    def probed(self, reports: Iterable[Report]) -> None:
        """How long models took to answer a probe: less is never called silence."""
        for report in reports:
            if report.status is Status.OK and report.latency_ms is not None:
                self.egress.patience.probed(report.ref, report.latency_ms / 1000)

    async def _launch_bare(self, package: Package, ours: Collection[Identity]) -> Backend:
        self.tell("error_seen", NOT_LED, "See: synccr doctor", True)
        return await self.launcher.launch(package, ours=ours)

    def _now(self) -> WayOut:
        """Keys and providers are those of the profiles that count now, and, for a CCR that was
        started before, those of the few before them."""
        profiles = self.profiles()
        if profiles is not self._of:
            self._of = profiles
            both = (profiles.primary, profiles.fallback)
            self._rings.appendleft(Keyring.of([one.raw for one in both], self.environ))
            found = {(p.name, p.url, p.key): p for one in both for p in one.providers}
            self._known = dict(islice((found | self._known).items(), len(found) + _OLD_PROVIDERS))
            self._directory = Directory(tuple(self._known.values()))
            self.transport.proxy = profiles.proxy
        return self

    def _substitute(
        self, url: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[str, Sequence[tuple[bytes, bytes]]]:
        for ring in self._now()._rings:
            url, headers = ring.substitute(url, headers)
        return url, headers
