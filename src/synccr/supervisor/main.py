"""``synccr start``: preflight, heal, launch, watch, decide, swap, until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccr.ccr.backend import Backend
from synccr.ccr.launch import Launcher
from synccr.ccr.log_watch import follow
from synccr.ccr.orphans import Register, end_orphans
from synccr.ccr.package import Package, PackageSource
from synccr.config.keys import read_keys
from synccr.config.profile import interpolate, probe_targets
from synccr.config.store import Profiles, keep_adopted
from synccr.control.server import ControlServer
from synccr.egress.silence_limits import SilenceLimits
from synccr.errors import NoModelServes
from synccr.files import sweep
from synccr.journal import Journal, stamp, utc_now
from synccr.models.report import ModelRef, Report
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.policy.choice import Choice, choose
from synccr.policy.machine import start
from synccr.policy.retry_budget import RetryBudget
from synccr.probe.ask import ask_models
from synccr.proxy import Proxy
from synccr.settings import Settings
from synccr.supervisor.backends import Backends
from synccr.supervisor.commands import Commands
from synccr.supervisor.health_store import HealthStore
from synccr.supervisor.lock import Lock, released
from synccr.supervisor.loop import Loop, Teller, now
from synccr.supervisor.provider_side import ProviderSide
from synccr.supervisor.public_port import (
    bind,
    browser_guard,
    exhaustion_told,
    most_clients,
)
from synccr.supervisor.signals import stoppable
from synccr.supervisor.status import serving, starting
from synccr.supervisor.takeover.new import Predecessor
from synccr.supervisor.takeover.old import NewProcess, Takeover
from synccr.supervisor.takeover.protocol import COMMIT_TIMEOUT, Channel
from synccr.supervisor.trace import tell_in_time
from synccr.supervisor.traffic import Traffic
from synccr.supervisor.turn_dispatcher import TurnDispatcher
from synccr.supervisor.watchers import files
from synccr.supervisor.watchers.around import Watchers
from synccr.turns.trace import TraceLog

STOP_GRACE = 5.0
"""Seconds that requests in flight get when everything ends."""
_SILENCE_LOOKS = 5.0


@dataclass
class Supervisor:
    """One run, from lock to last goodbye.

    Attributes:
        paths, settings, environ: the surroundings.
        reload: reads the settings again.
        load: reads the profiles; called again when they change.
        tell: shows a line to a person.
        on_probe: hears of each report of the first preflight.
        on_ready: called when the endpoint answers.
        skip_preflight: take every model to serve.
        unseen: nobody looks at what ``tell`` shows, so that a notification is worth it.
        command: starts such a supervisor; for a restart.
        channel: to the supervisor that this one replaces.
        detached: nobody waits for this process to end.
        trace_log: the last turns.
        given: the files that the command line names: ``config`` and ``fallback_config``.
        lock, journal, edges, relay, control, fleet, loop: its parts, from the moment on at
            which each is needed.
        address, listener: the public port.
        succession: to another supervisor, once a restart was asked for.
    """

    paths: Paths
    settings: Settings
    reload: Callable[[], Settings]
    environ: Mapping[str, str]
    load: Callable[[], Profiles]
    tell: Teller
    on_probe: Callable[[Report], None] = lambda _report: None
    on_ready: Callable[[Supervisor], None] = lambda _supervisor: None
    skip_preflight: bool = False
    unseen: bool = field(default_factory=lambda: not sys.stderr.isatty())
    command: Sequence[str] = ()
    channel: Channel | None = None
    detached: bool = False
    given: Mapping[str, str | None] = field(default_factory=dict)
    started_at: str = field(default_factory=lambda: stamp(utc_now()))
    traffic: Traffic = field(default_factory=Traffic)
    trace_log: TraceLog = field(default_factory=TraceLog)
    succession: Takeover | None = None
    _following: asyncio.Task[None] | None = None
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _heritage: Predecessor | None = None
    _adopting: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serve until stopped.

        Returns:
            the exit code: 0, or that of the supervisor that has replaced this one.

        Raises:
            SynccrError: it could not start; nothing is left running or changed.
        """
        with released(Lock(self.paths.instance)) as self.lock:
            if self.channel:
                self._heritage = await Predecessor.receive(self.channel)
            else:
                self.lock.acquire()
            for place in (self.paths.ccr, self.paths.config, self.paths.instance):
                sweep(place, time.time())
            self.profiles = self.load()
            self._seen_files = files.signature(self.profiles.watch)
            self.journal = Journal(self.paths.instance / "journal.jsonl", self.profiles.redactor)
            asyncio.get_running_loop().set_exception_handler(exhaustion_told(self.tell))
            self.edges = Watchers(self)
            self.provider_side = self._provider_side()
            async with stoppable(self.stop, self._forward):
                try:
                    async with self._listening():
                        await self._start_and_serve()
                finally:
                    await self.edges.notices.close()
                if self._successor and not self.detached:
                    return await self._successor.exit_code() or 0
        return 0

    @property
    def endpoint(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.profiles.local.port}"

    @property
    def _successor(self) -> NewProcess | None:
        """The supervisor that has replaced this one."""
        return self.succession.new_process if self.succession else None

    # ------------------------------------------------------------ start

    async def _start_and_serve(self) -> None:
        package, reports = await self._package_and_preflight()
        choice = self._choose(reports)
        self.provider_side.probed(reports)
        self.backends = Backends(
            self.paths,
            self.settings,
            self.packages(self.settings),
            self.provider_side,
            self.proxy,
            on_died=lambda reason: self.loop.post(e.BackendDied(reason)),
            on_serving=self._follow,
            before_writing=self.edges.drift.adopt_edits,
            predecessor=self._heritage.process if self._heritage else None,
        )
        if not self._heritage:
            await end_orphans(self.paths)
        keep_adopted(self.profiles)
        for note in self.profiles.notes:
            self.tell("edited", note, "", False)
        self._journal_healed(choice)
        state = start(
            self.settings,
            self.profiles.primary,
            self.profiles.fallback,
            choice.healed,
            reports,
            self.profiles.local,
            now(),
        )
        memory = HealthStore(self.paths.instance, state)
        self.loop = Loop(
            state, self.backends, self._probe, self.journal, self.tell, memory.save_soon
        )
        try:
            self.progress(f"starting Claude Code Router {package.version}")
            if self._heritage:
                await self._heritage.wait_to_proceed()
            await self.backends.start(choice.healed)
            if self._heritage:
                await self._take_over(self._heritage)
            self._announce(choice)
            await self.loop.run()
        finally:
            memory.save()
            await self._end()

    def _provider_side(self) -> ProviderSide:
        dispatcher = TurnDispatcher(
            state=lambda: self.loop.state if hasattr(self, "loop") else None,
            post=self._post,
            journal=self.journal,
            now=now,
            trace=self.trace_log,
            secret=secrets.token_urlsafe(24).encode(),
            budget=RetryBudget(self.settings.retry_budget),
        )
        launcher = Launcher(
            self.paths,
            self.environ,
            start_timeout=self.settings.start_timeout,
            redact=self.profiles.redactor,
            register=Register.of(self.paths),
        )
        return ProviderSide(
            dispatcher,
            lambda: self.profiles,
            self.environ,
            tuple(read_keys(self.paths.keys)),
            launcher,
            self.tell,
            SilenceLimits(self.settings.silence_timeout, self.settings.silence_ceiling),
            self.edges.quota.observe_headers,
        )

    async def _take_over(self, heritage: Predecessor) -> None:
        await heritage.wait_for_commit()
        self.lock.acquire(COMMIT_TIMEOUT)
        await self._open()
        heritage.announce(self.status())
        self._adopting = asyncio.create_task(heritage.receive_connections(self.proxy.adopt))

    async def _package_and_preflight(self) -> tuple[Package, tuple[Report, ...]]:
        """CCR is fetched, should it have to be, while the models are asked."""
        package = asyncio.create_task(self.packages(self.settings).now())
        try:
            reports = await self._preflight()
            return await package, reports
        finally:
            package.cancel()

    def packages(self, settings: Settings) -> PackageSource:
        """What is run, as settings say."""
        return PackageSource(
            settings.ccr_version,
            self.environ,
            self.paths.cache,
            settings.ccr_command,
            self.progress,
        )

    async def _preflight(self) -> tuple[Report, ...]:
        if self.skip_preflight:
            return ()
        self.progress("asking the models")
        pairs = probe_targets(self.profiles.primary, self.profiles.fallback)
        result = await ask_models(
            pairs,
            settings=self.settings,
            instance=self.paths.instance,
            fresh=self._heritage is not None,  # the old one may have learned from traffic since
            progress=self.on_probe,
            proxy=self.profiles.proxy,
        )
        self.edges.first(result)
        reports = tuple(result.reports.values())
        found = {str(report.ref): report.status.value for report in reports}
        self.journal.write("preflight", models=found)
        return reports

    def _choose(self, reports: Sequence[Report]) -> Choice:
        known = {report.ref: report for report in reports}
        profiles = self.profiles
        choice = choose(profiles.primary, profiles.fallback, known, profiles.local, None)
        if choice is None:
            from synccr.heal.advice import advice_on

            raise NoModelServes(
                "No model can serve: "
                + "; ".join(f"{report.ref} {report.status}" for report in reports)
                + ".",
                advice_on(reports),
            )
        return choice

    def _journal_healed(self, choice: Choice) -> None:
        changes = [
            {"path": c.path, "before": c.before, "after": c.after, "reason": c.reason}
            for c in choice.healed.changes
        ]
        self.journal.write(
            "healed", profile=choice.healed.profile.role, changes=changes, why=choice.why
        )
        for change in choice.healed.changes:
            if change.path.startswith("Router."):
                line = f"{change.path}: {change.before} -> {change.after} ({change.reason})"
                self.tell("healed", line, "", False)

    def _announce(self, choice: Choice) -> None:
        self.journal.write("started", endpoint=self.endpoint, pid=os.getpid(), why=choice.why)
        if self.backends.current:  # else it has died already, and its death was posted
            self.loop.post(e.BackendReady())
        self.spawn(files.watch_files(self.profiles.watch, self._seen_files, self.reread))
        self.spawn(self._listen_for_silence())
        self.spawn(tell_in_time(self.provider_side.dispatcher.resent_log, self.journal))
        for work in self.edges.at_work():
            self.spawn(work)
        self.on_ready(self)

    # ------------------------------------------------------------- edges

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """The public port and the control channel, from the first moment on."""
        profiles, heritage = self.profiles, self._heritage
        host = profiles.primary.host
        self.address = (host, profiles.local.port)
        if heritage and heritage.address == self.address:
            self.listener = heritage.listener
        else:
            self.listener = bind(*self.address)
        orders = Commands(self)
        self.proxy = Proxy(
            hold_timeout=self.settings.hold_timeout,
            carry_limit=self.settings.carry_limit,
            most_clients=most_clients(),
            guard=None if profiles.local.api_key else browser_guard(profiles.local.port, host),
            handlers={(b"POST", b"/api/restart"): orders.restart_from_page},
            observer=self.traffic.observe,
            turns=self.provider_side.dispatcher,
            on_backend_lost=lambda _generation: self.backends.check_now(),
        )
        self.control = ControlServer(self.paths.instance, orders.answer)
        try:
            await self.provider_side.start()
            if not heritage:
                await self._open()
            yield
        finally:
            await self.proxy.close(0.0)
            await self.provider_side.close()
            await self.control.close()
            self.listener.close()

    async def _open(self) -> None:
        await self.proxy.start(self.listener)
        await self.control.start()

    def _forward(self, number: int) -> bool:
        """Whether a signal is for the supervisor that has replaced this one; it is sent there."""
        if self._successor is None or self.detached:
            return False
        self._successor.signal(number)
        return True

    def stop(self) -> bool:
        """Begin to end; False when there is no loop yet that could be asked to."""
        if not hasattr(self, "loop"):
            return False
        self.loop.post(e.StopAsked())
        return True

    async def _end(self) -> None:
        """What was started ends, in order: clients get their answers, then CCR goes."""
        if self.succession:
            await self.succession.cancel()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self.succession and self.succession.new_process:
            self.tell(
                "stopping", "Another supervisor serves now; finishing what has begun.", "", False
            )
            return await self.succession.drain_and_exit(self._adopting, STOP_GRACE)
        served = not self._heritage or self._adopting is not None
        if served:
            self.tell("stopping", "Ending; requests in flight get 5 seconds.", "", False)
        await self.proxy.close(STOP_GRACE)
        await self.backends.close(STOP_GRACE)
        if self._heritage and self._adopting:
            self._heritage.channel.finish()  # so that the predecessor ends as well
            await asyncio.wait({self._adopting}, timeout=3 * STOP_GRACE)
        if served:
            self.journal.write("stopped", pid=os.getpid())

    def _post(self, event: e.PolicyEvent) -> None:
        self.loop.post(event)

    def _follow(self, backend: Backend) -> None:
        """Read the log of the backend that serves from now on."""
        if self._following:
            self._following.cancel()
        self._following = self.spawn(follow(backend, self._seen, self.settings.ccr_log_limit))

    def _seen(self, failure: e.LoggedFailure) -> None:
        """What CCR logged; keys that a provider echoes go no further."""
        if isinstance(failure, e.ProviderFailed):
            self.edges.overrides.on_error(failure.provider, failure.model)
        self.loop.post(failure.redacted(self.profiles.redactor))

    async def _probe(
        self, refs: Sequence[ModelRef], like: Mapping[ModelRef, e.Shape]
    ) -> tuple[Report, ...]:
        wanted = set(refs)
        state = self.loop.state
        pairs = [
            (provider, model)
            for provider, model in probe_targets(state.primary, state.fallback)
            if ModelRef(provider.name, model) in wanted
        ]
        result = await ask_models(
            pairs,
            settings=self.settings,
            instance=self.paths.instance,
            fresh=True,
            proxy=self.profiles.proxy,
            like=self.provider_side.like(like),
        )
        self.edges.quota.observe(result.quotas)
        self.provider_side.probed(result.reports.values())
        return tuple(result.reports.values())

    async def _listen_for_silence(self) -> None:
        """An upstream that never answers is noticed long before CCR's own 301 s."""
        while True:
            await asyncio.sleep(min(_SILENCE_LOOKS, self.settings.silence_timeout / 4))
            age = self.backends.oldest_unanswered()
            if age is not None and age > self.settings.silence_timeout:
                self.loop.post(e.UpstreamSilent())  # the policy bounds what follows

    def reread(self) -> bool:
        """Whether no profile was edited. One that was is taken, or it is said why it cannot be."""
        return self.edges.drift.reload()

    # ------------------------------------------------------------ for all

    def status(self) -> dict[str, Any]:
        """The contract's ``status --json``, and a little more."""
        supervisor = {"pid": os.getpid(), "started_at": self.started_at}
        version = self.packages(self.settings).named
        profiles = self.profiles
        origin = {
            "options": {
                **self.given,
                "port": profiles.local.port,
                "log_level": profiles.local.log_level,
            },
            "sources": {"primary": profiles.primary.source, "fallback": profiles.fallback.source},
            "turns": self.trace_log.document(),
        }
        if not hasattr(self, "loop"):
            return starting(self.endpoint, version, supervisor) | origin
        more = self.edges.status() | {"traffic": self.traffic.document()} | origin
        times = self.trace_log.first_bytes()
        return serving(self.endpoint, version, supervisor, self.loop, self.backends, more, times)

    def token(self) -> str | None:
        """What clients must show to the CCR that serves; None when it takes anything."""
        if hasattr(self, "loop"):
            key = self.loop.state.current.config.get("APIKEY")
        else:
            key = self.profiles.local.api_key
        return interpolate(key, self.environ) if key else None

    def progress(self, text: str) -> None:
        """Show what takes a moment."""
        self.tell("progress", text, "", False)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside the rest, at most until everything ends."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
