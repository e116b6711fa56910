"""Services: what is rendered is what each system accepts; writing is whole and undone whole."""

from __future__ import annotations

import os
import plistlib
import shutil
import stat
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ccr_kit import fake_node, make_paths

from synccr.ccr.generations import V2, V3
from synccr.ccr.node import Node, OldestNode
from synccr.ccr.package import Generation
from synccr.errors import SynccrError
from synccr.service import launchd, service_for, windows
from synccr.service.definition import Command, Service, Surroundings
from synccr.service.manage import carried, install, state, surroundings, uninstall

SECRET = "canary-2f7d90b1c4e85a36"


def around(home: Path, **changes: object) -> Surroundings:
    """A user's surroundings, with awkward names in them."""
    fields = {
        "command": (str(home / "venv $x 100%" / "bin" / "python"), "-m", "synccr", "start"),
        "path": "/opt/node & co/bin:/usr/bin",
        "environ": {"XDG_CONFIG_HOME": str(home / "con fig")},
        "keys": home / "con fig" / "synccr" / "keys.env",
        "home": home,
        "config_home": home / "con fig",
        "writable": (home, Path("/tmp")),
        "log": home / "log",
        "user": "501",
        **changes,
    }
    return Surroundings(**fields)  # type: ignore[arg-type]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say about it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here to ask")
    place = around(tmp_path)
    python = Path(place.command[0])
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    file = service_for("linux", place).file
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(file.content)
    (tmp_path / "run").mkdir()
    asked = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(file.path)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


def test_the_unit_is_hardened_as_far_as_node_allows(tmp_path: Path) -> None:
    """No new privileges, a read-only system, no secret; V8 needs executable memory."""
    unit = service_for("linux", around(tmp_path)).file.content.decode()
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "UMask=0077",
        "Restart=on-failure",
        "RestartPreventExitStatus=2 4 7",
        f"EnvironmentFile=-{tmp_path}/con fig/synccr/keys.env",
        "WantedBy=default.target",
    ):
        assert line in unit.splitlines()
    assert "MemoryDenyWriteExecute" not in unit
    assert "PrivateTmp" not in unit
    assert f'ExecStart="{tmp_path}/venv $x 100%%/bin/python" "-m" "synccr" "start"' in unit


def test_launchd_can_parse_the_agent(tmp_path: Path) -> None:
    """A property list with every argument as it was given."""
    place = around(tmp_path)
    service = service_for("darwin", place)
    agent = plistlib.loads(service.file.content)
    assert agent["ProgramArguments"] == list(place.command)
    assert agent["EnvironmentVariables"]["PATH"] == place.path
    assert (agent["RunAtLoad"], agent["KeepAlive"]) == (True, {"SuccessfulExit": False})
    assert agent["Umask"] == 0o077
    assert service.file.path == tmp_path / "Library/LaunchAgents" / f"{launchd.LABEL}.plist"
    assert service.install[-1] == ("launchctl", "bootstrap", "gui/501", str(service.file.path))


_ORDER = {
    "Task": ["RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"],
    "LogonTrigger": ["Enabled", "UserId"],
    "Principal": ["UserId", "LogonType", "RunLevel"],
    "RestartOnFailure": ["Interval", "Count"],
    "Exec": ["Command", "Arguments", "WorkingDirectory"],
}
"""Sequences of the task schema (MS-TSCH 2.5); ``Settings`` is an ``all`` there."""
_SETTINGS = {
    "AllowStartOnDemand", "RestartOnFailure", "MultipleInstancesPolicy",
    "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries", "AllowHardTerminate",
    "StartWhenAvailable", "RunOnlyIfNetworkAvailable", "WakeToRun", "Enabled", "Hidden",
    "DeleteExpiredTaskAfter", "IdleSettings", "NetworkSettings", "ExecutionTimeLimit",
    "Priority", "RunOnlyIfIdle",
}  # fmt: skip


def test_windows_task_keeps_to_the_schema(tmp_path: Path) -> None:
    """UTF-16 with the schema's elements in the schema's order; arguments quoted once."""
    command = ("C:\\P & Q\\python.exe", "-m", "synccr", "start", "--config", "C:\\a b\\c.json")
    service = service_for("win32", around(tmp_path, command=command, user="BOX\\o<k"))
    assert service.file.content[:2] in (b"\xff\xfe", b"\xfe\xff")
    task = ET.fromstring(service.file.content.decode("utf-16"))  # noqa: S314  # our own
    space = f"{{{windows.NAMESPACE}}}"
    assert (task.tag, task.get("version")) == (f"{space}Task", "1.2")
    for element in task.iter():
        names = [child.tag.removeprefix(space) for child in element]
        name = element.tag.removeprefix(space)
        if name in _ORDER:
            assert names == _ORDER[name]
        if name == "Settings":
            assert set(names) <= _SETTINGS
            assert len(set(names)) == len(names)
    found = {e.tag.removeprefix(space): e.text for e in task.iter()}
    assert found["Command"] == command[0]
    assert found["Arguments"] == '-m synccr start --config "C:\\a b\\c.json"'
    assert found["UserId"] == "BOX\\o<k"
    assert found["LogonType"] == "InteractiveToken"


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_no_secret_is_in_a_service(tmp_path: Path, platform: str) -> None:
    """Of the environment only what holds no secret goes into the file."""
    environ = {
        "SYNTHETIC_API_KEY": SECRET,
        "HTTPS_PROXY": f"http://me:{SECRET}@proxy:1",
        "SYNCCR_NOTIFY": f"https://hook/{SECRET}",
        "XDG_STATE_HOME": "/state",
    }
    service = service_for(platform, around(tmp_path, environ=carried(environ)))
    for encoding in ("utf-8", "utf-16"):
        assert SECRET not in service.file.content.decode(encoding, "replace")
    assert carried(environ) == {"XDG_STATE_HOME": "/state"}


class Machine:
    """A system that takes commands: what was run, and what fails."""

    def __init__(self, failing: str = "", words: str = "") -> None:
        self.ran: list[Command] = []
        self.failing, self.words = failing, words
        self.active = False

    def __call__(self, command: Command) -> tuple[int, str]:
        self.ran.append(command)
        if self.failing and self.failing in command:
            return 1, self.words
        if {"restart", "bootstrap", "/Run"} & set(command):
            self.active = True
        if {"disable", "bootout", "/End"} & set(command):
            self.active = False
        if {"is-active", "print", "/Query"} & set(command):
            return (0 if self.active else 3), ""
        return 0, ""


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_install_twice_and_uninstall(tmp_path: Path, platform: str) -> None:
    """The second install changes nothing; uninstall leaves no file of the service."""
    place = around(tmp_path)
    service = service_for(platform, place)
    machine = Machine()
    install(service, place, machine)
    assert stat.S_IMODE(service.file.path.stat().st_mode) == service.file.mode
    assert machine.active
    before = service.file.path.stat().st_mtime_ns, len(machine.ran)
    install(service, place, machine)
    assert (service.file.path.stat().st_mtime_ns, len(machine.ran)) == (before[0], before[1] + 1)
    (place.log / "service.log").write_text("x")
    assert uninstall(service, place, machine)
    assert not machine.active
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not uninstall(service, place, machine)


def test_a_changed_service_replaces_the_old_one(tmp_path: Path) -> None:
    """Another interpreter: the old service ends before the new one starts."""
    machine = Machine()
    first = service_for("darwin", around(tmp_path))
    install(first, around(tmp_path), machine)
    place = around(tmp_path, command=("/new/python", "-m", "synccr", "start"))
    install(service_for("darwin", place), place, machine)
    verbs = [command[1] for command in machine.ran]
    assert verbs == ["enable", "bootstrap", "bootout", "enable", "bootstrap"]


def test_without_a_bus_it_says_what_to_run(tmp_path: Path) -> None:
    """The unit is written, and the rest is there to be pasted."""
    place = around(tmp_path)
    service = service_for("linux", place)
    machine = Machine("daemon-reload", "Failed to connect to bus: No medium found")
    with pytest.raises(SynccrError, match="Failed to connect to bus") as caught:
        install(service, place, machine)
    assert service.file.path.read_bytes() == service.file.content
    assert "systemctl --user daemon-reload && systemctl --user enable synccr" in caught.value.todo
    assert uninstall(service, place, machine)
    assert not service.file.path.exists()


def test_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, installed, running, of another synccr, and a system that cannot be asked."""
    monkeypatch.setattr(shutil, "which", lambda _name: "/bin/it")
    place = around(tmp_path)
    service: Service = service_for("linux", place)
    machine = Machine()
    assert state(service, machine).installed is False
    install(service, place, machine)
    assert state(service, machine) == (found := state(service, machine))
    assert (found.installed, found.current, found.active) == (True, True, True)
    service.file.path.write_text("older")
    assert state(service, machine).current is False
    deaf = Machine("is-active", "Failed to connect to bus")
    assert state(service, deaf).active is None


@pytest.mark.parametrize(
    ("settings", "generation"),
    [
        ("", V2),
        ('ccr_version = "3.1.1"', V3),
        ('ccr_command = "npx @musistudio/claude-code-router@3.1.1"', V3),
        ('ccr_command = "npx @musistudio/claude-code-router@2.0.0"', V2),
        ('ccr_version = "4.0.0"', V2),
        ("ccr_version = 3", V2),
    ],
)
def test_the_node_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, generation: Generation
) -> None:
    """It is that of the CCR which the file names: the service has no variable of this shell. One
    that cannot be started can be removed all the same."""
    asked: list[OldestNode] = []

    def find(_environ: object, _cache: object, oldest: OldestNode) -> Node:
        asked.append(oldest)
        return fake_node(tmp_path / "node")

    monkeypatch.setattr("synccr.service.manage.find_node", find)
    paths = make_paths(tmp_path)
    paths.config.mkdir()
    paths.settings.write_text(settings)
    monkeypatch.setenv("SYNCCR_CCR_VERSION", "3.1.1" if generation is V2 else "2.0.0")
    found = surroundings(paths, os.environ)
    assert asked == [generation.oldest_node]
    assert str(tmp_path / "node") in found.path
