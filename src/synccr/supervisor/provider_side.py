"""One supervisor's side towards the providers: its egress, and what is known of their models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from synccr.ccr.launch_context import EgressAddress
from synccr.config.store import Profiles
from synccr.egress.attempt_runner import AttemptServices
from synccr.egress.current_providers import CurrentProviders
from synccr.egress.egress import Egress
from synccr.egress.silence_limits import SilenceLimits
from synccr.models.report import ModelRef, Report, Status
from synccr.models.shape import Shape
from synccr.redact import Redactor
from synccr.supervisor.public_port import most_clients
from synccr.supervisor.turn_dispatcher import TurnDispatcher
from synccr.transport import Transport
from synccr.turns.attempt import Attempt
from synccr.turns.turn import Turn

_MOST_MODELS = 4096


class ProviderSide:
    """Made before the first CCR, and as long-lived as the supervisor.

    Args:
        dispatcher: says which models are asked, and hears what came of it.
        profiles: those that count first.
        environ: with the keys.
        kept: names that ``keys.env`` holds.
        redact: masks the keys that count, and counted.
        silence: how long models may be silent.
        quotas: hears of a provider's rate limits, in the headers of its answers.
    """

    def __init__(
        self,
        dispatcher: TurnDispatcher,
        profiles: Profiles,
        environ: Mapping[str, str],
        kept: Iterable[str],
        redact: Redactor,
        silence: SilenceLimits,
        quotas: Callable[[str, Mapping[str, str]], None],
    ) -> None:
        self.dispatcher = dispatcher
        self._environ = environ
        self._kept = kept
        self._silence = silence
        self._quotas = quotas
        self._done_alone: set[ModelRef] = set()
        self._finishing: set[ModelRef] = set()
        self._providers = CurrentProviders(environ)
        self._transport = Transport()
        self.use(profiles)
        services = AttemptServices(
            turns=dispatcher.turns,
            transport=self._transport,
            silence=silence,
            providers=lambda: self._providers.lookup,
            substitute=self._providers.substitute,
            provider_at=self._providers.at,
            permit=dispatcher.policy.permit,
            on_ended=self._attempt_ended,
            redact=redact,
            capture=lambda: dispatcher.trace.capture,
            done_alone=self._done_alone.__contains__,
        )
        self.egress = Egress(services, dispatcher.secret.decode(), most_clients())

    def use(self, profiles: Profiles) -> None:
        """These profiles count from now on."""
        self._finishing.clear()  # a name may stand for another server now
        self._providers.use(profiles.primary, profiles.fallback)
        self._transport.proxy = profiles.proxy

    async def start(self) -> None:
        """Open the egress.

        Raises:
            OSError: there is no port.
        """
        await self.egress.start()

    async def close(self) -> None:
        """End every request to a provider."""
        await self.egress.close()

    def address(self) -> EgressAddress:
        """Where a CCR that starts now is led to, with the providers that count now."""
        keyring = self._providers.keyring
        return EgressAddress(
            self.egress.url,
            self.egress.secret,
            keyring.origins,
            self._providers.places,
            keyring.environ_for_ccr(self._environ, self._kept),
        )

    def probed(self, reports: Iterable[Report]) -> None:
        """Learn from probes how long models take to answer, and whose streams end with
        ``[DONE]`` alone."""
        for report in reports:
            if report.done_alone:
                self._done_alone.add(report.ref)
            else:
                self._done_alone.discard(report.ref)
            if report.status is Status.OK and report.latency_ms is not None:
                self._silence.probed(report.ref, report.latency_ms / 1000)

    def like(self, shapes: Mapping[ModelRef, Shape]) -> Mapping[ModelRef, Shape]:
        """What probes are to resemble, with what traffic shows of the models' streams."""
        return {r: shape._replace(finishes=r in self._finishing) for r, shape in shapes.items()}

    def _attempt_ended(self, turn: Turn | None, attempt: Attempt) -> None:
        ref = attempt.ref
        whole = attempt.went_well and attempt.streamed and ref not in self._done_alone
        if whole and len(self._finishing) < _MOST_MODELS:
            self._finishing.add(ref)
        if attempt.headers:
            self._quotas(ref.provider, attempt.headers)
        self.dispatcher.policy.attempt_ended(turn, attempt)
