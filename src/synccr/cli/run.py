"""Commands that start, end and move a supervisor: start, stop, restart, swap, demo."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from synccr.cli.options import Config, FallbackConfig, Port
from synccr.cli.output import say
from synccr.errors import NotRunning, SynccrError, UsageError
from synccr.paths import Paths

_STOP_PATIENCE = 30.0
_RESTART_PATIENCE = 900.0  # npx may have to bring another CCR over a slow line


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(start)
    app.command()(stop)
    app.command()(restart)
    app.command()(swap)
    app.command()(demo)


def start(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go to the background once the endpoint answers.")
    ] = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    port: Port = None,
    skip_preflight: Annotated[
        bool, typer.Option("--skip-preflight", help="Start without asking the models first.")
    ] = False,
) -> None:
    """Check the models, heal the configuration, start CCR, watch it, recover.

    Runs until Ctrl-C or SIGTERM, which end CCR too.
    """
    from synccr.cli.serve import Options, serve

    options = Options(config, fallback_config, port, skip_preflight)
    if detach:
        from synccr.cli.detach import detach as start_detached

        status = start_detached(options.as_arguments(), progress=lambda line: say(line, "dim"))
        say(f"synccr runs at {status['endpoint']} (pid {status['supervisor']['pid']}).")
        return
    if code := serve(options):
        sys.exit(code)


def stop() -> None:
    """End the supervisor and CCR with it. Nothing else is touched.

    Exit code 0 also when nothing runs.
    """
    from synccr.control import request

    instance = Paths.from_environment().instance
    try:
        pid = int(request(instance, "stop")["pid"])
    except NotRunning:
        say("synccr is not running.")
        return
    _wait_for_end(pid)
    say("Stopped.")


def _wait_for_end(pid: int) -> None:
    """Success is an observed exit; one that its parent has not waited for yet is one, too."""
    from synccr.ccr.identity import identify

    there = identify(pid)
    deadline = time.monotonic() + _STOP_PATIENCE
    while there and identify(pid) == there:
        if time.monotonic() > deadline:
            raise SynccrError(
                f"The supervisor (pid {pid}) has not ended within {_STOP_PATIENCE:.0f} s.",
                f"Look at: synccr logs; as the last resort: kill -9 {pid}",
            )
        time.sleep(0.02)


def restart() -> None:
    """Replace synccr and CCR by fresh ones, without a lost request.

    Program, settings and profiles are read again, with the options of the start;
    should the fresh ones not come up, the old ones go on. On Windows CCR alone is
    replaced, with profiles and with what the settings say of CCR and its requests
    read again. Starts synccr in the background when it does not run.
    """
    from synccr.control import request

    try:
        status = request(Paths.from_environment().instance, "restart", timeout=_RESTART_PATIENCE)
    except NotRunning:
        from synccr.cli.detach import detach

        status = detach([], progress=lambda line: say(line, "dim"))
    say(f"synccr runs at {status['endpoint']} (pid {status['supervisor']['pid']}).")


def swap(
    profile: Annotated[str, typer.Argument(metavar="primary|fallback", help="Where to go.")],
) -> None:
    """Move the running CCR to a profile by hand.

    It stays there until you swap back or none of its models can serve.
    """
    from synccr.control import request

    if profile not in ("primary", "fallback"):
        raise UsageError(f"There is no profile {profile!r}.", "Write: synccr swap primary|fallback")
    begin = time.monotonic()
    status: dict[str, Any] = request(
        Paths.from_environment().instance, "swap", timeout=180.0, profile=profile
    )
    if status["profile"] != profile:
        if status["failure"]:
            raise SynccrError(
                f"The {profile} profile did not come up: {status['failure']}. "
                f"{status['profile']} serves on.",
                "See: synccr logs",
            )
        raise SynccrError(
            f"The {profile} profile cannot serve now; {status['profile']} serves on.",
            "See why: synccr status",
        )
    if not status["ccr"]["pid"]:
        raise SynccrError(
            f"{profile} is chosen, but Claude Code Router does not come up with it.",
            "See what it says: synccr logs",
        )
    took = f" in {time.monotonic() - begin:.1f} s" if status["swapped"] else " already"
    say(f"{profile} serves{took}: {status['routes']['default']}")


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's directory and say where it is.")
    ] = False,
) -> None:
    """Show the whole main job on an embedded provider: no key, no account, no configuration.

    The real Claude Code Router runs in a directory of its own; its main model
    runs out of credit, and synccr moves to the fallback. Everything is removed.
    """
    from synccr.sandbox.demo import run_demo

    sys.exit(run_demo(keep=keep))
