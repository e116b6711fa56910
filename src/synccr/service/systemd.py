"""A systemd user unit."""

from __future__ import annotations

from synccr.errors import ConfigError, Taken, UsageError
from synccr.service.definition import NAME, File, Service, Surroundings

_HOPELESS = (UsageError, ConfigError, Taken)
"""Ends that another start does not change. A model may serve again, so NoModelServes may."""
_NOT_OURS = (".ssh", ".gnupg")


def render(around: Surroundings) -> Service:
    """The unit. Its sandbox leaves CCR what it needs: V8 makes code executable at run time,
    so there is no MemoryDenyWriteExecute; the control socket may be below /tmp, so there is
    no PrivateTmp; CCR writes ~/.claude.json, npm its cache, so the home is writable."""
    program, *arguments = around.command  # variables are replaced in arguments only
    environ = {"PATH": around.path, **around.environ}
    variables = "".join(f"Environment={_quoted(f'{n}={v}')}\n" for n, v in environ.items())
    writable = "".join(f"ReadWritePaths=-{_quoted(str(path))}\n" for path in around.writable)
    secret = " ".join(f"-{_quoted(str(around.home / name))}" for name in _NOT_OURS)
    hopeless = " ".join(str(error.exit_code) for error in _HOPELESS)
    unit = f"""\
[Unit]
Description=synccr: Claude Code Router, supervised
StartLimitIntervalSec=600
StartLimitBurst=10

[Service]
Type=exec
ExecStart={_quoted(program)} {" ".join(_quoted(a).replace("$", "$$") for a in arguments)}
{variables}EnvironmentFile=-{_escaped(str(around.keys))}
WorkingDirectory={_escaped(str(around.home))}
Restart=on-failure
RestartSec=10
RestartPreventExitStatus={hopeless}
KillMode=mixed
TimeoutStopSec=30
UMask=0077

NoNewPrivileges=yes
ProtectSystem=strict
{writable}InaccessiblePaths={secret}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""
    path = around.config_home / "systemd" / "user" / f"{NAME}.service"
    control = ("systemctl", "--user")
    return Service(
        file=File(path, unit.encode(), 0o644),
        install=(
            (*control, "daemon-reload"),
            (*control, "enable", NAME),
            (*control, "restart", NAME),
        ),
        uninstall=(
            (*control, "disable", "--now", NAME),
            (*control, "daemon-reload"),
            (*control, "reset-failed", NAME),
        ),
        status=(*control, "is-active", "--quiet", NAME),
        log=f"journalctl --user --unit {NAME}",
        needs="systemctl",
    )


def _escaped(text: str) -> str:
    """``%`` begins a specifier in every value, see systemd.unit(5)."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a command line or list, see systemd.syntax(7) and "Command lines" of
    systemd.service(5)."""
    text = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
