"""The old supervisor's end: a new one that does not come up."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import Any, cast

import pytest
from takeover_kit import new_process

from synccr.ccr.process import identify
from synccr.errors import SynccrError
from synccr.settings import Settings
from synccr.supervisor.takeover import outgoing
from synccr.supervisor.takeover.outgoing import Takeover
from synccr.supervisor.takeover.protocol import PREPARED

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets cannot be given away there")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENOENT])
async def test_a_new_one_that_cannot_be_started(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said why, each time it is asked for; no socket is left open."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", fails)
    nothing = cast("Any", None)
    takeover = Takeover(["synccr"], {}, Settings(), nothing, nothing, nothing, nothing)
    before = os.listdir("/dev/fd")  # noqa: PTH208
    for _ in range(2):
        with pytest.raises(SynccrError, match=os.strerror(number)) as caught:
            await takeover.run(("127.0.0.1", 1), nothing)
        assert "synccr restart" in caught.value.todo
    assert len(os.listdir("/dev/fd")) == len(before)  # noqa: PTH208


FAILS = """
import os
from synccr.errors import ConfigError
from synccr.supervisor.takeover.incoming import channel_of
with channel_of(os.environ):
    raise ConfigError("It is broken.", "Mend it.")
"""


@pytest.mark.parametrize(
    ("program", "said", "code"),
    [
        (FAILS, "It is broken. Mend it.", 4),
        ("import sys; sys.exit(9)", "ended at once (exit code 9)", 1),
        ("import os; os.kill(os.getpid(), 9)", "ended at once (exit code 137)", 1),
        ("import time; time.sleep(60)", "was not ready within 1 s", 1),
    ],
)
async def test_a_new_process_that_does_not_come_up(program: str, said: str, code: int) -> None:
    """Its own words where it has some; in any case the old one is told, and it is gone."""
    new = new_process(program)
    try:
        with pytest.raises(SynccrError) as caught:
            await new.expect(PREPARED, 1.0 if "sleep" in program else 60.0)
    finally:
        await new.kill()
    assert said in str(caught.value)
    assert caught.value.exit_code == code
    assert not os.path.exists(f"/proc/{new.pid}")  # noqa: PTH110


async def test_a_stranger_with_its_number_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a new process that has ended may be given out again."""
    new = new_process("")
    assert await new.exit_code(60.0) == 0
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with stranger:
        monkeypatch.setattr(outgoing, "identify", lambda _pid: identify(stranger.pid))
        await new.kill()
        assert stranger.stdin
        stranger.stdin.write(b"\n")
        stranger.stdin.close()
        assert stranger.wait(60) == 0
