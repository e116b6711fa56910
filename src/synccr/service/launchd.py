"""A launchd agent of the user."""

from __future__ import annotations

import plistlib

from synccr.service.definition import NAME, File, Service, Surroundings

LABEL = NAME


def render(around: Surroundings) -> Service:
    """The agent. launchd knows no environment file; synccr reads its keys by itself."""
    log = str(around.log / "service.log")
    document = {
        "Label": LABEL,
        "ProgramArguments": list(around.command),
        "EnvironmentVariables": {"PATH": around.path, **around.environ},
        "WorkingDirectory": str(around.home),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,
        "ExitTimeOut": 30,
        "Umask": 0o077,
        "ProcessType": "Interactive",  # a person waits for its answers
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    path = around.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    domain = f"gui/{around.user}"
    return Service(
        file=File(path, plistlib.dumps(document), 0o644),
        install=(
            ("launchctl", "enable", f"{domain}/{LABEL}"),
            ("launchctl", "bootstrap", domain, str(path)),
        ),
        uninstall=(("launchctl", "bootout", f"{domain}/{LABEL}"),),
        status=("launchctl", "print", f"{domain}/{LABEL}"),
        log=f'tail -f "{log}"',
        needs="launchctl",
    )
