"""A desktop on a session bus of its own: takes one notification from ``synccr.notify``.

Argument: the file for what came. Exit code: the notifier's.
"""

# ruff: noqa: F722, F821, N802  # D-Bus has its own types and names

import asyncio
import json
import sys
from pathlib import Path

from dbus_fast import BusType
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, method


class Desktop(ServiceInterface):
    def __init__(self) -> None:
        super().__init__("org.freedesktop.Notifications")

    @method()
    def Notify(
        self,
        app: "s",
        replaces: "u",
        icon: "s",
        summary: "s",
        body: "s",
        actions: "as",
        hints: "a{sv}",
        timeout: "i",
    ) -> "u":
        Path(sys.argv[1]).write_text(json.dumps([app, summary, body]))
        return 7

    @method()
    def GetCapabilities(self) -> "as":
        return ["body"]

    @method()
    def GetServerInformation(self) -> "ssss":
        return ["desktop", "tests", "1", "1.2"]


async def main() -> int:
    bus = await MessageBus(bus_type=BusType.SESSION).connect()
    bus.export("/org/freedesktop/Notifications", Desktop())
    await bus.request_name("org.freedesktop.Notifications")
    notifier = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "synccr.notify", stdin=asyncio.subprocess.PIPE
    )
    notice = {"kind": "swapped", "text": "primary -> fallback", "todo": "Top up.", "at": ""}
    await notifier.communicate(json.dumps({"way": "desktop", "url": "", "notice": notice}).encode())
    return notifier.returncode or 0


sys.exit(asyncio.run(main()))
