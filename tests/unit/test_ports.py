"""Ports that nobody has, nor is given by chance."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

import ports as for_tests
from processes import started
from synccr import ports

TESTS = Path(__file__).parents[1]


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


def test_tests_are_given_no_port_twice() -> None:
    """Neither in one process nor in two, nor one that the program chooses by itself."""
    ask = (
        "import sys, ports; print(*(ports.free_port() for _ in range(100)), flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", ask]
    with (
        started(command, cwd=TESTS, stdin=PIPE, stdout=PIPE) as one,
        started(command, cwd=TESTS, stdin=PIPE, stdout=PIPE) as other,
    ):
        given = [for_tests.free_port() for _ in range(100)]
        for process in (one, other):
            assert process.stdout is not None
            given += map(int, process.stdout.readline().split())
    assert len(set(given)) == 300
    assert not set(given) & set(ports._RANGE)
