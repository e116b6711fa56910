"""What a launch of CCR is given, whichever generation it is of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from synccr.ccr.backend import Backend
from synccr.ccr.orphans import Register
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId
from synccr.errors import SynccrError
from synccr.paths import Paths
from synccr.redact import Redactor


@dataclass(frozen=True)
class EgressAddress:
    """Where CCR's provider requests go.

    Attributes:
        url: origin of the egress, ``http://127.0.0.1:PORT``.
        secret: what the proxy, CCR's process and the egress know; visible ASCII.
        origins: of the providers; ``https://host``, with a port where it is not the usual.
        places: what stands for each provider's address in a path of the egress, by its name.
        environ: for a CCR that is led there; it holds no key.
    """

    url: str
    secret: str = field(repr=False)
    origins: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class LaunchContext:
    """The surroundings of each launch.

    Attributes:
        paths: CCR's directory, and our own.
        environ: with the provider keys.
        egress: where CCR's provider requests are to go now.
        tell: shows a line to a person: kind, text, what can be done, whether it is worth a
            notification.
        start_timeout: seconds until ``/health`` has to answer.
        redact: applied to what CCR says before it is quoted.
        register: keeps what was started, for a successor of ours.
    """

    paths: Paths
    environ: Mapping[str, str] = field(repr=False)
    egress: Callable[[], EgressAddress]
    tell: Callable[[str, str, str, bool], None]
    start_timeout: float = 30.0
    redact: Redactor = field(default_factory=Redactor)
    register: Register | None = None


class Starter(Protocol):
    """Starts one CCR on a private port."""

    async def launch(
        self, package: Package, config: Mapping[str, Any], *, ours: Collection[ProcessId] = ()
    ) -> Backend:
        """Start CCR and wait until it serves.

        Call it in the thread that lives as long as the program: on Linux CCR ends
        with the thread that started it.

        Args:
            package: what to start.
            config: what to serve, as CCR 2 has it in ``config.json``, where it stands by now.
            ours: the CCR processes of this supervisor that run.

        Raises:
            StartFailed: CCR died or did not answer; its last error is quoted.
            Taken: another CCR serves this directory.
            RuntimeMissing: it could not be run at all.
            SynccrError: a directory cannot be written.
        """
        ...


class StartFailed(SynccrError):
    """CCR did not come up.

    Attributes:
        exit_code_of_ccr: what it exited with; negative for a signal; None when it
            still ran and was ended because it did not answer in time.
    """

    def __init__(self, what: str, exit_code_of_ccr: int | None, see: str = "synccr logs") -> None:
        super().__init__(what, f"See: {see}")
        self.exit_code_of_ccr = exit_code_of_ccr


class TryAgain(Exception):
    """The start was lost to a coincidence, such as a port that was taken meanwhile."""
