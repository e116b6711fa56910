"""All checks, in the order in which they are shown; slow ones stand last."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from synccr.doctor.checks import (
    ccr,
    ccr3,
    client,
    configuration,
    keys,
    models,
    network,
    running,
    system,
)
from synccr.doctor.result import Check
from synccr.errors import UsageError

_ASKING = 120.0
"""Seconds: a preflight with its confirming questions, and some more."""

CHECKS: tuple[Check, ...] = (
    Check("platform.system", "Platform", system.system),
    Check("settings.valid", "synccr's settings", system.settings),
    Check("disk.space", "Disk space", system.disk),
    Check("node.version", "Node", ccr.node),
    Check("node.environment", "Variables that change CCR", ccr.runtime),
    Check("npm.present", "npm", ccr.npm),
    Check("ccr.package", "Claude Code Router, the pinned version", ccr.package),
    Check("ccr.global", "A global ccr", ccr.global_ccr),
    Check("ccr.generation3", "Data of CCR 3", ccr3.generation3),
    Check("ccr.orphans", "CCR without a supervisor", running.orphans),
    Check("config.valid", "Profiles", configuration.valid),
    Check("ccr.translation", "Profiles on this CCR", ccr3.translation),
    Check("config.written", "The configuration CCR reads", configuration.written),
    Check("fallback.inflight", "Another model for a failed request", configuration.in_flight),
    Check("keys.set", "Provider keys are set", keys.are_set),
    Check("keys.clear", "Provider keys in clear", keys.in_clear),
    Check("profile.literal_key", "Provider keys that CCR gets", keys.literal),
    Check("profile.exposed_key", "Variables whose key CCR needs", keys.exposed),
    Check("apikey.local", "Key of the local port", configuration.api_key),
    Check("files.modes", "File modes", system.modes),
    Check("log.level", "What CCR's log keeps", configuration.log_level),
    Check("port.free", "Port", running.port),
    Check("pidfile.stale", "CCR's pid file", running.pid_file),
    Check("supervisor.healthy", "Supervisor", running.supervisor),
    Check("backend.healthy", "CCR behind the port", running.backend),
    Check("running.not_judged", "Requests that nobody judged", running.not_judged),
    Check("state.leftovers", "Leftovers", system.leftovers),
    Check("service.installed", "Service", running.service),
    Check("client.present", "Claude Code", client.present),
    Check("client.points", "Claude Code's way to the router", client.points),
    Check("log.leaks", "Keys in old logs", keys.leaks, slow=True, timeout=60.0),
    Check("provider.dns", "Providers: name", network.dns, slow=True),
    Check("provider.proxy", "Providers: proxy", network.proxy, slow=True),
    Check("provider.connect", "Providers: connection", network.connect, slow=True),
    Check("provider.clock", "Clock", network.clock, slow=True),
    Check("key.accepted", "Keys are accepted", keys.accepted, slow=True, timeout=_ASKING),
    Check("models.state", "Models", models.state, slow=True, timeout=_ASKING),
    Check("models.tools", "Tools", models.tools, slow=True, timeout=_ASKING),
    Check("routes.served", "Routes", models.routes, slow=True, timeout=_ASKING),
    Check("routes.overrides", "Routes of projects", configuration.overrides, slow=True,
          timeout=_ASKING),
    Check("quota.left", "Quota", models.quota, slow=True, timeout=_ASKING),
)  # fmt: skip


def select(names: Sequence[str]) -> list[Check]:
    """The checks that are meant: by id, or by the beginning of one; all without a name.

    Raises:
        UsageError: a name means none.
    """
    if not names:
        return list(CHECKS)
    for name in names:
        if not any(check.id.startswith(name) for check in CHECKS):
            ids = [check.id for check in CHECKS]
            near = difflib.get_close_matches(name, ids, n=1, cutoff=0.4)
            raise UsageError(
                f"There is no check {name!r}.",
                f"Did you mean {near[0]}?" if near else "See: synccr doctor --list",
            )
    return [check for check in CHECKS if any(check.id.startswith(name) for name in names)]
