"""Commands that start, end and move a supervisor: start, stop, restart, swap, demo."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synccr.cli.options import Config, FallbackConfig, LogLevel, Port
from synccr.cli.output import say
from synccr.errors import NoAnswer, NotRunning, SynccrError, UsageError
from synccr.paths import Paths

if TYPE_CHECKING:
    from synccr.ccr.process import ProcessId

_ANSWER_PATIENCE = 5.0
_STOP_PATIENCE = 30.0
_KILL_AFTER = 15.0  # a supervisor gives requests in flight and CCR 5 seconds each
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
    log_level: LogLevel = None,
) -> None:
    """Check the models, heal the configuration, start CCR, watch it, recover.

    Runs until Ctrl-C or SIGTERM, which end CCR too. CCR's log keeps errors only, unless
    --log-level says otherwise; synccr restart keeps to that, and synccr logs shows it.
    """
    from synccr.cli.serve import Options, serve

    options = Options(config, fallback_config, port, skip_preflight, log_level)
    if detach:
        from synccr.cli.detach import detach as start_detached

        status = start_detached(options.as_arguments(), progress=lambda line: say(line, "dim"))
        say(f"synccr runs at {status['endpoint']} (pid {status['supervisor']['pid']}).")
        return
    if code := serve(options):
        sys.exit(code)


def stop() -> None:
    """End the supervisor and CCR with it. Nothing else is touched.

    One that does not answer is resumed, in case it was suspended, and asked by a signal;
    what does not end then is killed. Exit code 0 also when nothing runs.
    """
    from synccr.ccr.process import identify
    from synccr.control import request
    from synccr.supervisor.lock import holder

    paths = Paths.from_environment()
    try:
        pid = int(request(paths.instance, "stop", timeout=_ANSWER_PATIENCE)["pid"])
    except NotRunning:
        say("synccr is not running.")
        return
    except NoAnswer:
        silent = holder(paths.instance)
        if silent is None:
            raise
        _end_silent(paths, silent)
    else:
        there = identify(pid)
        if there and not _ended(there, _STOP_PATIENCE):
            raise SynccrError(
                f"The supervisor (pid {pid}) has not ended within {_STOP_PATIENCE:.0f} s.",
                f"Look at: synccr logs; as the last resort: kill -9 {pid}",
            )
    say("Stopped.")


def _end_silent(paths: Paths, there: ProcessId) -> None:
    """End a supervisor that does not answer, and should it have to be killed, its CCR."""
    import asyncio

    from synccr.ccr.orphans import end_orphans
    from synccr.ccr.process import ask_to_end, end_now, resume

    say(f"The supervisor (pid {there.pid}) does not answer; it is ended by a signal.")
    ask_to_end(there)
    resume(there)
    if not _ended(there, _KILL_AFTER):
        end_now(there)
        _ended(there, _ANSWER_PATIENCE)
        asyncio.run(end_orphans(paths))


def _ended(process: ProcessId, patience: float) -> bool:
    """Success is an observed exit; one that its parent has not waited for yet is one, too."""
    from synccr.ccr.process import is_alive

    deadline = time.monotonic() + patience
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def restart() -> None:
    """Replace synccr and CCR by fresh ones, without a lost request.

    Program, settings and profiles are read again, with the options of the start;
    should the fresh ones not come up, the old ones go on. On Windows CCR alone is
    replaced, with profiles and with what the settings say of CCR and its requests
    read again. Starts synccr in the background when it does not run.
    """
    from synccr.control import request

    instance = Paths.from_environment().instance
    try:
        request(instance, "status", timeout=_ANSWER_PATIENCE)
        status = request(instance, "restart", timeout=_RESTART_PATIENCE)
    except NoAnswer as error:
        from synccr.supervisor.lock import holder

        if not (there := holder(instance)):
            raise
        raise NoAnswer(
            f"The supervisor (pid {there.pid}) does not answer.",
            f"If it is suspended (Ctrl-Z): kill -CONT {there.pid}. Else: synccr stop; then "
            "synccr start --detach",
        ) from error
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
