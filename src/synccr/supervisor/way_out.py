"""The way out of one supervisor: its egress, and a CCR that is led there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from synccr.ccr.backend import Backend
from synccr.ccr.egress_lead import PRELOAD, EgressAddress
from synccr.ccr.launch import Launcher
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId
from synccr.config.keyring import Keyring
from synccr.config.profile import Provider
from synccr.config.store import Profiles
from synccr.egress.directory import Directory
from synccr.egress.egress import Egress
from synccr.egress.patience import Patience
from synccr.models.report import ModelRef, Report, Status
from synccr.models.shape import Shape
from synccr.supervisor.context import Reporter
from synccr.supervisor.public_port import most_clients
from synccr.supervisor.turn_desk import TurnDesk
from synccr.transport import Transport
from synccr.turns.turn import Try, Turn

_FORMER = 4
"""Keyrings: a CCR that drains may be of the profiles before the last edits."""
_OLD_PROVIDERS = 64
_MOST_MODELS = 4096

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
        quotas: hears of a provider's rate limits, in the headers of its answers.
    """

    desk: TurnDesk
    profiles: Callable[[], Profiles]
    environ: Mapping[str, str] = field(repr=False)
    kept: Iterable[str]
    launcher: Launcher
    tell: Reporter
    patience: Patience
    quotas: Callable[[str, Mapping[str, str]], None]
    _done_alone: set[ModelRef] = field(default_factory=set)
    _finishing: set[ModelRef] = field(default_factory=set)
    _of: Profiles | None = None
    _rings: deque[Keyring] = field(default_factory=lambda: deque(maxlen=_FORMER))
    _known: dict[tuple[str, str, str], Provider] = field(default_factory=dict)
    _directory: Directory = field(default_factory=lambda: Directory(()))

    def __post_init__(self) -> None:
        self.transport = Transport()
        self.egress = Egress(
            turns=self.desk.turns,
            transport=self.transport,
            patience=self.patience,
            directory=lambda: self._now()._directory,
            substitute=self._substitute,
            permit=self.desk.permit,
            told=self._told,
            redact=lambda: self.profiles().redactor,
            capture=lambda: self.desk.trace.capture,
            done_alone=self._done_alone.__contains__,
            most_unproven=most_clients(),
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

    async def launch(self, package: Package, *, ours: Collection[ProcessId] = ()) -> Backend:
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
        """How long models took to answer a probe: less is never called silence; and whose
        streams end with ``[DONE]`` alone."""
        for report in reports:
            if report.done_alone:
                self._done_alone.add(report.ref)
            else:
                self._done_alone.discard(report.ref)
            if report.status is Status.OK and report.latency_ms is not None:
                self.egress.patience.probed(report.ref, report.latency_ms / 1000)

    def like(self, shapes: Mapping[ModelRef, Shape]) -> Mapping[ModelRef, Shape]:
        """What probes are to resemble, with what traffic shows of the models' streams."""
        return {r: shape._replace(finishes=r in self._finishing) for r, shape in shapes.items()}

    def _told(self, turn: Turn | None, attempt: Try) -> None:
        ref = attempt.ref
        whole = attempt.went_well and attempt.streamed and ref not in self._done_alone
        if whole and len(self._finishing) < _MOST_MODELS:
            self._finishing.add(ref)
        if attempt.headers:
            self.quotas(ref.provider, attempt.headers)
        self.desk.told(turn, attempt)

    async def _launch_bare(self, package: Package, ours: Collection[ProcessId]) -> Backend:
        self.tell("error_seen", NOT_LED, "See: synccr doctor", True)
        return await self.launcher.launch(package, ours=ours)

    def _now(self) -> WayOut:
        """Keys and providers are those of the profiles that count now, and, for a CCR that was
        started before, those of the few before them."""
        profiles = self.profiles()
        if profiles is not self._of:
            self._of = profiles
            self._finishing.clear()  # a name may stand for another server now
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
