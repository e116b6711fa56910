"""What runs: the port, CCR's pid file, the supervisor, its backend, the service."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

from synccr.ccr.liveness import answers
from synccr.ccr.orphans import end_orphans, find_orphans
from synccr.ccr.process import ProcessId, identify
from synccr.ccr.v2.pid_file import (
    ForeignCCR,
    Stranger,
    pid_file_owner,
    read_pid_file,
    remove_pid_file,
)
from synccr.doctor import lines
from synccr.doctor.context import Blocked, Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, warn
from synccr.errors import NoAnswer, RuntimeMissing, SynccrError
from synccr.ports import free_port, listener_of
from synccr.service import service_for
from synccr.service.manage import state, surroundings
from synccr.supervisor.lock import holder

_HEALTH_TIMEOUT = 5.0
_NOT_RUNNING = "synccr is not running"


def port(context: Context) -> Diagnosis:
    """The public port is free, or synccr's."""
    status = context.status
    number = context.profiles.local.port
    if status and status["endpoint"].endswith(f":{number}"):
        return ok(f"synccr serves at {status['endpoint']}")
    if _can_listen(number):
        return ok(f"port {number} is free")
    owner = pid_file_owner(context.paths)
    if isinstance(owner, ForeignCCR) and number in owner.ports:
        return fail(
            f"A Claude Code Router that synccr did not start (pid {owner.identity.pid}) serves on "
            f"port {number}.",
            lines.end(owner.identity.pid),
        )
    whose = listener_of(number) or "another process"
    return fail(
        f"Port {number} is taken by {whose}.",
        lines.synccr("start", "--port", str(free_port())),
    )


def _can_listen(number: int) -> bool:
    """As the supervisor would: a port in TIME_WAIT is free."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
            probe.listen()
        except OSError:
            return False
    return True


def pid_file(context: Context) -> Diagnosis:
    """CCR's pid file names a live CCR, or is not there."""
    status, paths = context.status, context.paths
    pid = read_pid_file(paths)
    if pid is None:
        if paths.ccr_pid.exists():
            return warn(
                f"{paths.ccr_pid} holds no number.",
                lines.remove([paths.ccr_pid]),
                lambda: _remove_pid_file(context, None),
            )
        shared = status is not None and context.generation and not context.generation.apart
        return ok("there is none" + "; ccr status shows nothing" * bool(shared))
    owner = pid_file_owner(paths, _backend(status))
    line = lines.remove([paths.ccr_pid])
    if owner is None:
        return warn(
            f"{paths.ccr_pid} names pid {pid}, which does not run.",
            line,
            lambda: _remove_pid_file(context, pid),
        )
    if isinstance(owner, Stranger):
        return fail(
            f"{paths.ccr_pid} names pid {pid}, which is no Claude Code Router: ccr start would do "
            "nothing, and ccr stop would end that process.",
            line,
            lambda: _remove_pid_file(context, pid),
        )
    if isinstance(owner, ForeignCCR):
        return warn(
            f"It names a Claude Code Router (pid {pid}) that synccr did not start.", lines.end(pid)
        )
    return ok(f"it names the CCR that serves (pid {pid})")


def _backend(status: dict[str, Any] | None) -> list[ProcessId]:
    pid = status["ccr"]["pid"] if status else None
    identity = identify(pid) if pid else None
    return [identity] if identity else []


def _remove_pid_file(context: Context, pid: int | None) -> str:
    remove_pid_file(context.paths, pid)
    return "removed CCR's pid file."


def supervisor(context: Context) -> Diagnosis:
    """The supervisor answers and has a model for every route."""
    try:
        status = context.status_or_error()
    except SynccrError as error:
        if isinstance(error, NoAnswer):
            there = holder(context.paths.instance)
            who = f"It is pid {there.pid}: suspended (Ctrl-Z), or it hangs." if there else ""
            return fail(f"{error.what} {who}".rstrip(), lines.synccr("stop"))
        return fail(error.what, f"ls -ld -- {lines.quote(context.paths.instance)}")
    if status is None:
        return skip(f"{_NOT_RUNNING}; synccr start runs it")
    where = f"{status['state']} on the {status['profile']} profile at {status['endpoint']}"
    if status["state"] == "degraded":
        return warn(f"It is {where}: some route has no healthy model.", lines.synccr("models"))
    version = status["ccr"]["version"]
    if version != context.settings.ccr_version and not context.settings.ccr_command:
        return warn(
            f"It runs CCR {version}, and the settings say {context.settings.ccr_version}.",
            f"{lines.synccr('stop')} && {lines.synccr('start', '--detach')}",
        )
    return ok(where)


def backend(context: Context) -> Diagnosis:
    """The CCR behind the public port answers."""
    status = context.status
    if status is None:
        return skip(_NOT_RUNNING)
    ccr = status["ccr"]
    restart = lines.synccr("restart")
    if not ccr["pid"] or not ccr["port"]:
        return warn("The supervisor has no CCR at this moment.", restart)
    if not asyncio.run(answers(ccr["port"], _HEALTH_TIMEOUT)):
        return fail(
            f"CCR (pid {ccr['pid']}) does not answer on its port {ccr['port']} within "
            f"{_HEALTH_TIMEOUT:g} s.",
            restart,
        )
    if ccr["restarts"] > 2:
        return warn(
            f"CCR answers, and had to be started anew {ccr['restarts']} times.",
            lines.synccr("logs"),
        )
    return ok(f"CCR {ccr['version']} (pid {ccr['pid']}) answers on port {ccr['port']}")


def not_judged(context: Context) -> Diagnosis:
    """Requests that went to a provider without synccr seeing its answer."""
    status = context.status
    if status is None:
        return skip(_NOT_RUNNING)
    if (status.get("ccr") or {}).get("judged") is False:
        return warn(
            "CCR came up without synccr's module: no provider's answer is judged, and CCR has the "
            "provider keys. Another start may load it.",
            lines.synccr("restart"),
        )
    turns = status.get("turns") or {}
    count, requests = turns.get("not_judged", 0), turns.get("requests", 0)
    if not requests:
        return skip("no request has come yet")
    if not count:
        return ok(f"synccr has judged the provider's own answer to all {requests} requests")
    return warn(
        f"{count} of the last {requests} requests went round synccr's egress and were not judged, "
        "so a trouble after the first byte is not seen. Usually a plugin (transformer) with its "
        "own HTTP client.",
        lines.synccr("trace"),
    )


def orphans(context: Context) -> Diagnosis:
    """A CCR whose supervisor was killed."""
    if context.status is not None:
        return ok("the supervisor knows every CCR of its own")
    found = find_orphans(context.paths)
    if not found:
        return ok("none")

    def mend() -> str:
        ended = asyncio.run(end_orphans(context.paths))
        return f"ended {len(ended)} CCR that nobody supervised."

    pids = ", ".join(str(orphan.pid) for orphan in found)
    return warn(
        f"A supervisor that was killed left CCR running: pid {pids}.",
        "\n".join(lines.end(orphan.pid) for orphan in found),
        mend,
    )


def service(context: Context) -> Diagnosis:
    """The service that starts synccr at login, if there is one."""
    try:
        service = service_for(sys.platform, surroundings(context.paths, context.environ))
    except RuntimeMissing as error:
        raise Blocked("node.version") from error
    found, unit = state(service), service.file.path
    again = lines.synccr("service", "install")
    if not found.installed:
        return skip("not installed; synccr service install starts it at login")
    if not found.current:
        return warn(f"{unit} was written for another synccr or Node.", again)
    if found.active is False:
        return fail(f"{unit} is installed, and does not run.", again)
    if found.active is None and context.status is None:
        return warn(
            f"{unit} is installed; the system cannot be asked, and synccr is not running.",
            lines.synccr("start", "--detach"),
        )
    return ok(f"{unit} is installed" + (", and runs" if found.active else ""))
