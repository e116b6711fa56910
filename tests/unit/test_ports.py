"""Ports that nobody has, nor is given by chance."""

from __future__ import annotations

import socket

import pytest

from synccr import ports


def test_a_free_port_is_one_that_no_connection_is_numbered_with() -> None:
    """It can be bound, and lies below what systems hand out by themselves."""
    port = ports.free_port()
    assert port < 32_768
    with socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_a_full_range_is_no_dead_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all that were looked at are taken, the system is asked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(ports, "_RANGE", [taken.getsockname()[1]])
        monkeypatch.setattr(ports, "_TRIES", 1)
        assert ports.is_free(ports.free_port())
