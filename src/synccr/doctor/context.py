"""What a check may look at: made from the environment once, shared by all checks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from synccr.ccr.loss import Loss, unservable
from synccr.ccr.node import OLDEST, Node, find_node
from synccr.ccr.package import Generation
from synccr.ccr.package_source import known_generation, losses_of
from synccr.config.ccr3.database import DATABASE
from synccr.config.profile import Profile, probe_targets, variables
from synccr.config.store import FILES, Profiles, load_profiles, read_written
from synccr.control import request
from synccr.doctor import lines
from synccr.doctor.secrets import Secrets, key_fields
from synccr.errors import ConfigError, NotRunning, RuntimeMissing, SynccrError, UsageError
from synccr.models.report import Report
from synccr.paths import Paths
from synccr.probe.dialects import ProbeRequest
from synccr.probe.preflight_run import PreflightResult
from synccr.probe.recorded_preflight import ask_models
from synccr.probe.transport import NoReply, ProbeReply, make_client, send
from synccr.redact import Redactor
from synccr.settings import Settings, load

_VISIT_TIMEOUT = 10.0
_STATUS_TIMEOUT = 5.0

T = TypeVar("T")


class Blocked(Exception):
    """A check cannot look, because of what another check reports."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class _Shared(Generic[T]):
    """A value made by whoever needs it first; a failure is the same for all, too."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: list[T] = []
        self._error: Exception | None = None

    def __call__(self) -> T:
        with self._lock:
            if self._error:
                raise self._error
            if not self._value:
                try:
                    self._value.append(self._make())
                except Exception as error:
                    self._error = error
                    raise
            return self._value[0]


def once(make: Callable[[Context], T]) -> Callable[[Context], T]:
    """A method of a context that makes its value, or fails, once for all checks."""

    def shared(context: Context) -> T:
        value: T = context.made.setdefault(make.__name__, _Shared(lambda: make(context)))()
        return value

    shared.__doc__ = make.__doc__
    return shared


@dataclass
class Context:
    """The surroundings of the checks. What costs something is made when it is first asked for.

    Attributes:
        paths: where things are.
        environ: the environment.
        cwd: the project that the person stands in.
        config, fallback_config, port: as on the command line.
        tell: hears of each model that has been asked.
        now: the wall clock, UTC.
        free: bytes free for this user on the disk of a path.
        writable: whether this user can make files in a directory.
        resolve: addresses of a host and port; as ``socket.getaddrinfo``.
        managed: settings of Claude Code that an administrator made.
        named: checks that the person asked for by name.
        made: what has been made, by the method that makes it.
    """

    paths: Paths
    environ: Mapping[str, str] = field(repr=False)
    cwd: Path = field(default_factory=Path.cwd)
    config: Path | None = None
    fallback_config: Path | None = None
    port: int | None = None
    tell: Callable[[Report], None] = lambda _report: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    writable: Callable[[Path], bool] = lambda path: os.access(path, os.W_OK | os.X_OK)
    resolve: Callable[[str, int], Sequence[Any]] = socket.getaddrinfo
    managed: tuple[Path, ...] = ()
    named: frozenset[str] = frozenset()
    made: dict[str, _Shared[Any]] = field(default_factory=dict, init=False, repr=False)

    def again(self) -> Context:
        """The same surroundings, to be looked at afresh."""
        return replace(self)

    @property
    def home(self) -> Path:
        """The person's home directory, as CCR finds it."""
        return self.paths.ccr.parent

    # ------------------------------------------------------------ settings, profiles

    @property
    def settings(self) -> Settings:
        """The settings, or the defaults when they cannot be used (``settings.valid`` says why)."""
        found = self._read_settings()
        return found if isinstance(found, Settings) else Settings()

    @property
    def settings_error(self) -> UsageError | ConfigError | None:
        """Why the settings cannot be used."""
        found = self._read_settings()
        return None if isinstance(found, Settings) else found

    @once
    def _read_settings(self) -> Settings | UsageError | ConfigError:
        try:
            return load(self.paths.settings, self.environ)
        except (UsageError, ConfigError) as error:
            return error

    @property
    def profiles(self) -> Profiles:
        """Both profiles, whether their keys are set or not.

        Raises:
            Blocked: they cannot be used.
        """
        try:
            return self.profiles_or_error()
        except (ConfigError, OSError) as error:
            raise Blocked("config.valid") from error

    @once
    def profiles_or_error(self) -> Profiles:
        """Both profiles.

        Raises:
            ConfigError: they cannot be used.
        """
        for path in self.profile_files():
            if not path.is_file():  # a pipe would be waited for without end
                raise ConfigError(f"{path} is no file.", "Move it away.")
        return load_profiles(
            self.paths,
            self.environ,
            config=self.config,
            fallback_config=self.fallback_config,
            port=self.port,
            keyless=True,
        )

    def profile_files(self) -> list[Path]:
        """Files in which a person may have written a profile; those that exist."""
        candidates = [
            self.config or self.paths.config / FILES["primary"],
            self.fallback_config or self.paths.config / FILES["fallback"],
            self.paths.ccr_config,
        ]
        return [path for path in dict.fromkeys(candidates) if path.exists()]

    def is_in_ccr3(self, profile: Profile) -> bool:
        """Whether it stands in CCR 3's database, and in no file of its own before the first
        start."""
        return Path(profile.source) == self.paths.ccr / DATABASE

    def edit(self, profile: Profile) -> str:
        """The line that opens a profile; a shipped one is copied to where edits stay."""
        source = Path(profile.source)
        if self.is_in_ccr3(profile):
            own = self.paths.config / FILES[profile.role]
            return f"{lines.synccr('init')} && {lines.edit(own)}"
        if not profile.shipped and source.is_file():
            return lines.edit(source)
        target = self.paths.config / FILES[profile.role]
        if not profile.shipped:  # derived from the primary
            return self.edit(self.profiles.primary)
        made = f"mkdir -p {lines.quote(target.parent)} && cp {lines.quote(source)}"
        return f"{made} {lines.quote(target)} && {lines.edit(target)}"

    # ------------------------------------------------------------ what runs

    @property
    def node(self) -> Node:
        """Node.

        Raises:
            Blocked: there is none.
        """
        try:
            return self.node_or_error()
        except RuntimeMissing as error:
            raise Blocked("node.version") from error

    @once
    def node_or_error(self) -> Node:
        """A Node that the configured CCR runs on.

        Raises:
            RuntimeMissing: there is none.
        """
        oldest = self.generation.oldest_node if self.generation else OLDEST
        return find_node(self.environ, self.paths.cache, oldest)

    @property
    def generation(self) -> Generation | None:
        """Of the configured CCR; None when it cannot be run, as ``ccr.package`` says."""
        return known_generation(self.settings)

    @property
    def status(self) -> dict[str, Any] | None:
        """The supervisor's status; None when none runs.

        Raises:
            Blocked: it does not answer.
        """
        try:
            return self.status_or_error()
        except SynccrError as error:
            raise Blocked("supervisor.healthy") from error

    @once
    def status_or_error(self) -> dict[str, Any] | None:
        """The supervisor's status; None when none runs.

        Raises:
            SynccrError: it does not answer.
        """
        try:
            status = request(self.paths.instance, "status", timeout=_STATUS_TIMEOUT)
        except NotRunning:
            return None
        return status if isinstance(status, dict) else None

    # ------------------------------------------------------------ providers

    @property
    def survey(self) -> PreflightResult:
        """Every model of both profiles, asked now.

        Raises:
            Blocked: the profiles, or the proxy settings, cannot be used.
        """
        try:
            return self._ask_models()
        except ConfigError as error:
            raise Blocked("provider.proxy") from error

    @once
    def _ask_models(self) -> PreflightResult:
        profiles = self.profiles
        return asyncio.run(
            ask_models(
                probe_targets(profiles.primary, profiles.fallback),
                settings=self.settings,
                instance=self.paths.instance,
                fresh=True,
                progress=self.tell,
                proxy=profiles.proxy,
                unservable=unservable(self.losses),
            )
        )

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What of both profiles the CCR does not do that settings name.

        Raises:
            Blocked: the profiles cannot be used.
        """
        profiles = self.profiles
        return losses_of(self.settings, profiles.primary, profiles.fallback)

    @property
    def visits(self) -> Mapping[str, ProbeReply | NoReply]:
        """What each provider's server answers to a request without a key, by provider.

        Raises:
            Blocked: the profiles, or the proxy settings, cannot be used.
        """
        try:
            return self._visit()
        except ConfigError as error:
            raise Blocked("provider.proxy") from error

    @once
    def _visit(self) -> Mapping[str, ProbeReply | NoReply]:
        providers = self.providers()
        roots = {p.name: "{0.scheme}://{0.netloc}/".format(urlsplit(p.url)) for p in providers}

        async def visit() -> dict[str, ProbeReply | NoReply]:
            async with make_client(providers, proxy=self.profiles.proxy) as client:
                urls = list(dict.fromkeys(roots.values()))
                answers = await asyncio.gather(
                    *(
                        send(ProbeRequest("GET", url, {}), client, timeout=_VISIT_TIMEOUT)
                        for url in urls
                    )
                )
            found = dict(zip(urls, answers, strict=True))
            return {name: found[url] for name, url in roots.items()}

        return asyncio.run(visit())

    def providers(self) -> list[Any]:
        """The providers of both profiles, each name once."""
        profiles = self.profiles
        both = (*profiles.primary.providers, *profiles.fallback.providers)
        return list({p.name: p for p in reversed(both)}.values())[::-1]

    # ------------------------------------------------------------ secrets

    @property
    def secrets(self) -> Secrets:
        """Every key that is known here, the local port's among them."""
        return self._gather()

    @property
    def redactor(self) -> Redactor:
        """Masks all of them."""
        return Redactor(self.secrets.values)

    @property
    def local_keys(self) -> set[str]:
        """Keys of the local port, which have to stand in CCR's configuration."""
        written = read_written(self.paths)
        found = [written.document.get("APIKEY") if written else None]
        with contextlib.suppress(Blocked):
            found += [p.api_key for p in (self.profiles.primary, self.profiles.fallback)]
        return {key for key in found if isinstance(key, str) and key}

    @once
    def _gather(self) -> Secrets:
        literals: list[str] = [v for path in self.key_files() for v in key_fields(path)]
        names: Iterable[str] = ()
        try:
            both = (self.profiles.primary, self.profiles.fallback)
            literals += [s for p in both for s in p.secrets()]
            names = {n for p in both for n in variables([p.raw.get("Providers"), p.api_key_text])}
        except Blocked:
            pass  # what stands in the environment and in files is known all the same
        return Secrets.gather(self.environ, [*literals, *self.local_keys], names)

    def key_files(self) -> list[Path]:
        """Configurations and their copies, CCR's presets included."""
        found = [
            *self.profile_files(),
            *self.paths.ccr.glob("config.json*"),
            *self.paths.ccr.glob("presets/**/*.json"),
            *self.paths.config.glob("*.json*"),
        ]
        return [path for path in dict.fromkeys(found) if path.is_file()]
