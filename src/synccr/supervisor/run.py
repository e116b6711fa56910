"""``synccr start``: preflight, heal, launch, watch, decide, swap, until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synccr.ccr.backend import Backend
from synccr.ccr.launch import Launcher
from synccr.ccr.log import FetchFailed, ProviderError, Trouble, Unclear
from synccr.ccr.node import find_node
from synccr.ccr.orphans import Register, end_orphans
from synccr.ccr.package import Package, provide
from synccr.ccr.spawn import guarded
from synccr.ccr.watch import follow
from synccr.control.server import ControlServer
from synccr.errors import NoModelServes, SynccrError, UsageError
from synccr.journal import Journal, stamp, utc_now
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.policy.choice import Choice, choose
from synccr.policy.machine import Phase, start
from synccr.preflight.ask import ask_models
from synccr.profile import interpolate, probe_targets
from synccr.profiles import Profiles, keep_adopted
from synccr.relay import Relay, Request, Response, error
from synccr.report import ModelRef, Report
from synccr.settings import Settings
from synccr.supervisor import drift
from synccr.supervisor.edges import Edges
from synccr.supervisor.fleet import Fleet
from synccr.supervisor.handover import DETACHED, POSSIBLE, Channel, Heritage, Successor
from synccr.supervisor.lock import Lock, released
from synccr.supervisor.loop import Loop, Teller, now
from synccr.supervisor.port import (
    bind,
    browser_guard,
    exhaustion_told,
    most_clients,
    page_refusal,
)
from synccr.supervisor.signals import stoppable
from synccr.supervisor.status import serving, starting
from synccr.supervisor.succession import TAKING, Succession
from synccr.supervisor.traffic import Traffic

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
    started_at: str = field(default_factory=lambda: stamp(utc_now()))
    traffic: Traffic = field(default_factory=Traffic)
    _following: asyncio.Task[None] | None = None
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _heritage: Heritage | None = None
    _adopting: asyncio.Task[None] | None = None
    _succession: Succession | None = None

    async def run(self) -> int:
        """Serve until stopped.

        Returns:
            the exit code: 0, or that of the supervisor that has replaced this one.

        Raises:
            SynccrError: it could not start; nothing is left running or changed.
        """
        with released(Lock(self.paths.instance)) as self._lock:
            if self.channel:
                self._heritage = await Heritage.receive(self.channel)
            else:
                self._lock.acquire()
            self.profiles = self.load()
            self._seen_files = drift.signature(self.profiles.watch)
            self.journal = Journal(self.paths.instance / "journal.jsonl", self.profiles.redactor)
            asyncio.get_running_loop().set_exception_handler(exhaustion_told(self.tell))
            self.edges = Edges(self)
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
    def _successor(self) -> Successor | None:
        """The supervisor that has replaced this one."""
        return self._succession.successor if self._succession else None

    # ------------------------------------------------------------ start

    async def _start_and_serve(self) -> None:
        package, reports = await self._package_and_preflight()
        choice = self._choose(reports)
        launcher = Launcher(
            self.paths,
            self.environ,
            start_timeout=self.settings.start_timeout,
            redact=self.profiles.redactor,
            register=Register.of(self.paths),
        )
        self.fleet = Fleet(
            self.paths,
            self.settings,
            package,
            launcher,
            self.relay,
            on_died=lambda reason: self.loop.post(e.BackendDied(reason)),
            on_serving=self._follow,
            before_writing=self.edges.drift.save_edits,
            predecessor=self._heritage.predecessor if self._heritage else None,
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
        self.loop = Loop(state, self.fleet, self._probe, self.journal, self.tell)
        try:
            self._progress(f"starting Claude Code Router {package.version}")
            if self._heritage:
                await self._heritage.turn()
            await self.fleet.bring(choice.healed)
            if self._heritage:
                await self._take_over(self._heritage)
            self._announce(choice)
            await self.loop.run()
        finally:
            await self._end()

    async def _take_over(self, heritage: Heritage) -> None:
        await heritage.succeed()
        self._lock.acquire(TAKING)
        await self._open()
        heritage.taken(self.status())
        self._adopting = asyncio.create_task(heritage.adopt(self.relay.adopt))

    async def _package_and_preflight(self) -> tuple[Package, tuple[Report, ...]]:
        """CCR is fetched, should it have to be, while the models are asked."""
        node = find_node(self.environ, self.paths.cache)
        package = asyncio.create_task(
            provide(
                self.settings.ccr_version,
                node,
                self.environ,
                self.paths.cache,
                progress=self._progress,
            )
        )
        try:
            reports = await self._preflight()
            return await package, reports
        finally:
            package.cancel()

    async def _preflight(self) -> tuple[Report, ...]:
        if self.skip_preflight:
            return ()
        self._progress("asking the models")
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
            from synccr.heal import advice

            raise NoModelServes(
                "No model can serve: "
                + "; ".join(f"{report.ref} {report.status}" for report in reports)
                + ".",
                " ".join(advice(report.status for report in reports)),
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
        self.loop.post(e.BackendReady())
        self._spawn(drift.watch(self.profiles.watch, self._seen_files, self._reread))
        self._spawn(self._listen_for_silence())
        for work in self.edges.at_work():
            self._spawn(work)
        self.on_ready(self)

    # ------------------------------------------------------------- edges

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """The public port and the control channel, from the first moment on."""
        profiles, heritage = self.profiles, self._heritage
        host = profiles.primary.host
        self._address = (host, profiles.local.port)
        if heritage and heritage.address == self._address:
            self._listener = heritage.listener
        else:
            self._listener = bind(*self._address)
        self.relay = Relay(
            hold_timeout=self.settings.hold_timeout,
            carry_limit=self.settings.carry_limit,
            most_clients=most_clients(),
            guard=None if profiles.local.api_key else browser_guard(profiles.local.port, host),
            interceptors={(b"POST", b"/api/restart"): self._restart_from_page},
            observer=self.traffic.observe,
            on_backend_lost=lambda _generation: self.fleet.check_now(),
        )
        self.control = ControlServer(self.paths.instance, self._control)
        try:
            if not heritage:
                await self._open()
            yield
        finally:
            await self.relay.close(0.0)
            await self.control.close()
            self._listener.close()

    async def _open(self) -> None:
        await self.relay.start(self._listener)
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
        if self._succession:
            await self._succession.abandon()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._succession and self._succession.successor:
            self.tell(
                "stopping", "Another supervisor serves now; finishing what has begun.", "", False
            )
            return await self._succession.fade(self._adopting, STOP_GRACE)
        served = not self._heritage or self._adopting is not None
        if served:
            self.tell("stopping", "Ending; requests in flight get 5 seconds.", "", False)
        await self.relay.close(STOP_GRACE)
        await self.fleet.close(STOP_GRACE)
        if self._heritage and self._adopting:
            self._heritage.channel.finish()  # so that the predecessor ends as well
            await asyncio.wait({self._adopting}, timeout=3 * STOP_GRACE)
        if served:
            self.journal.write("stopped", pid=os.getpid())

    def _follow(self, backend: Backend) -> None:
        """Read the log of the backend that serves from now on."""
        if self._following:
            self._following.cancel()
        self._following = self._spawn(follow(backend, self._seen, self.settings.ccr_log_limit))

    def _seen(self, error: Trouble) -> None:
        """What CCR logged; keys that a provider echoes go no further."""
        redact = self.profiles.redactor
        match error:
            case ProviderError(provider, model, status, body, at):
                self.edges.overrides.suspect(provider, model)
                self.loop.post(e.ProviderFailed(provider, model, status, redact(body), at))
            case FetchFailed(message):
                self.loop.post(e.NetworkFailed(redact(message)))
            case Unclear():
                self.loop.post(e.UpstreamSilent(0.0))

    async def _probe(self, refs: Sequence[ModelRef]) -> tuple[Report, ...]:
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
        )
        self.edges.quota.take(result.quotas)
        return tuple(result.reports.values())

    async def _listen_for_silence(self) -> None:
        """An upstream that never answers is noticed long before CCR's own 301 s."""
        while True:
            await asyncio.sleep(min(_SILENCE_LOOKS, self.settings.silence_timeout / 4))
            age = self.fleet.silence()
            if age is not None and age > self.settings.silence_timeout:
                self.loop.post(e.UpstreamSilent(age))  # the policy bounds what follows

    def _reread(self) -> bool:
        """Whether no profile was edited. One that was is taken, or it is said why it cannot be."""
        return self.edges.drift.reread()

    # ----------------------------------------------------------- control

    async def _control(self, verb: str, args: dict[str, Any]) -> Any:
        match verb:
            case "status":
                return self.status()
            case "stop":
                if not self.stop():
                    os.kill(os.getpid(), signal.SIGTERM)
                return {"pid": os.getpid()}
            case "swap" | "restart" if not hasattr(self, "loop"):
                raise SynccrError(
                    "synccr is still starting.", "Try again once it is: synccr status"
                )
            case "swap":
                return await self._swap_by_hand(args)
            case "restart":
                return await self._restart()
        raise UsageError(f"The supervisor does not know {verb!r}.")

    async def _swap_by_hand(self, args: dict[str, Any]) -> dict[str, Any]:
        role = args.get("profile")
        if role not in ("primary", "fallback"):
            raise UsageError("A swap goes to primary or to fallback.")
        before, self.loop.last_failure = self.loop.swaps, None
        self.loop.post(e.SwapAsked(role))
        deadline = asyncio.get_running_loop().time() + 2 * self.settings.preflight_timeout
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
            state = self.loop.state
            if state.asked is None and state.phase is not Phase.SWAPPING:
                break
        swapped = self.loop.swaps > before
        failure = None if swapped else self.loop.last_failure
        return self.status() | {"swapped": swapped, "failure": failure}

    async def _restart(self) -> dict[str, Any]:
        """A fresh supervisor in place of this one; where that cannot be, a fresh CCR."""
        if not (POSSIBLE and self.command):
            settings = self.reload()
            self.load()  # what cannot be used is said here and now
            await self._apply(settings)
            return await self._renew() if self._reread() else self.status()
        command = tuple(self.command)
        self._succession = self._succession or Succession(
            # In the foreground whoever ends this process, however, means what it waits for.
            command if self.detached else guarded(command, signal.SIGTERM),
            # Not self.environ: what keys.env added to it is read again.
            {**os.environ, **({DETACHED: "1"} if self.detached else {})},
            self.settings,
            self.fleet,
            self.relay,
            self.control,
            self._lock,
        )
        status = await self._succession.carry_out(self._address, self._listener)
        self.journal.write("restarted", supervisor=status["supervisor"]["pid"], asked=True)
        self.loop.post(e.StopAsked())
        return status

    async def _apply(self, settings: Settings) -> None:
        """Go on with other settings."""
        node = find_node(self.environ, self.paths.cache)
        self.fleet.package = await provide(
            settings.ccr_version, node, self.environ, self.paths.cache, progress=self._progress
        )
        self.settings = self.fleet.settings = settings
        self.relay.hold_timeout, self.relay.carry_limit = (
            settings.hold_timeout,
            settings.carry_limit,
        )
        self.loop.state = replace(self.loop.state, settings=settings)

    async def _renew(self) -> dict[str, Any]:
        """A new CCR of the same configuration in place of the old one, unnoticed."""
        if backend := await self.fleet.renew():
            self.journal.write("restarted", pid=backend.pid, asked=True)
            if self.loop.state.phase is not Phase.SWAPPING:
                self.loop.post(e.BackendReady())
        return self.status()

    async def _restart_from_page(self, request: Request) -> Response:
        """CCR's page asks for a restart after saving: what was saved is applied by a swap."""
        local = self.profiles.local
        key = interpolate(local.api_key or "", self.environ)
        refusal = page_refusal(request.head, local.port, key)
        if refusal:
            return error(*refusal)
        if self._reread():
            self._spawn(self._renew_quietly())
        body = b'{"success": true, "message": "Service restart initiated"}'
        return Response(200, body)

    async def _renew_quietly(self) -> None:
        with contextlib.suppress(SynccrError):
            await self._renew()

    def status(self) -> dict[str, Any]:
        """The contract's ``status --json``, and a little more."""
        supervisor = {"pid": os.getpid(), "started_at": self.started_at}
        version = self.settings.ccr_version
        if not hasattr(self, "loop"):
            return starting(self.endpoint, version, supervisor)
        more = self.edges.status() | {"traffic": self.traffic.document()}
        return serving(self.endpoint, version, supervisor, self.loop, self.fleet, more)

    def _progress(self, text: str) -> None:
        self.tell("progress", text, "", False)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
