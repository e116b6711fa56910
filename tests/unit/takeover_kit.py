"""Two ends of a channel, and new supervisors that are small programs."""

from __future__ import annotations

import os
import socket
import sys

from synccr.supervisor.takeover.outgoing import NewProcess
from synccr.supervisor.takeover.protocol import Channel


def pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return Channel(one), Channel(other)


def new_process(program: str) -> NewProcess:
    return NewProcess([sys.executable, "-c", program], dict(os.environ))
