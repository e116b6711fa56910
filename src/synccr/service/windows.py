"""A scheduled task of the user, started at logon."""

from __future__ import annotations

import subprocess
from xml.sax.saxutils import escape

from synccr.service.definition import NAME, File, Service, Surroundings

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def render(around: Surroundings) -> Service:
    """The task. Its environment is the user's own, and synccr reads its keys by itself."""
    program, *arguments = around.command
    user = escape(around.user)
    task = f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="{NAMESPACE}">
  <RegistrationInfo>
    <Description>synccr: Claude Code Router, supervised</Description>
    <URI>\\{NAME}</URI>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{user}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <AllowHardTerminate>true</AllowHardTerminate>
    <StartWhenAvailable>true</StartWhenAvailable>
    <AllowStartOnDemand>true</AllowStartOnDemand>
    <Enabled>true</Enabled>
    <Hidden>false</Hidden>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>10</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(program)}</Command>
      <Arguments>{escape(subprocess.list2cmdline(arguments))}</Arguments>
      <WorkingDirectory>{escape(str(around.home))}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""
    path = around.keys.parent / "task.xml"
    return Service(
        file=File(path, task.replace("\n", "\r\n").encode("utf-16"), 0o600),
        install=(
            ("schtasks", "/Create", "/TN", NAME, "/XML", str(path), "/F"),
            ("schtasks", "/Run", "/TN", NAME),
        ),
        uninstall=(
            ("schtasks", "/End", "/TN", NAME),
            ("schtasks", "/Delete", "/TN", NAME, "/F"),
        ),
        status=("schtasks", "/Query", "/TN", NAME),
        log=str(around.log / "service.log"),
        needs="schtasks",
    )
