"""The ports of a supervisor that replaces another one."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from synccr.supervisor.endpoints import Endpoints


async def nothing(*_: object) -> None:
    """Of a part that is not looked at here."""


@pytest.mark.parametrize("moved", [True, False])
async def test_a_port_that_is_left_is_left_by_both(moved: bool) -> None:
    """Else clients who still go there would wait for ever, as nobody accepts them; on the port
    that stays they are not refused for a moment."""
    listener = socket.create_server(("127.0.0.1", 0))
    old = listener.getsockname()
    endpoints = cast("Any", Endpoints.__new__(Endpoints))
    endpoints.parts = SimpleNamespace(predecessor=SimpleNamespace(address=old, listener=listener))
    endpoints.address = ("127.0.0.1", 0) if moved else old
    part = SimpleNamespace(start=nothing, close=nothing)
    endpoints.proxy = endpoints.provider_side = endpoints.control = part
    with listener:
        async with endpoints.open():
            assert (endpoints.listener.getsockname() != old) is moved
            if moved:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(old, 5).close()
            else:
                socket.create_connection(old, 5).close()
