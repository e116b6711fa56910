"""A supervisor that is to be replaced."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import Any, cast

import pytest

from synccr.errors import SynccrError
from synccr.settings import Settings
from synccr.supervisor.takeover.old import Takeover

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
    succession = Takeover(["synccr"], {}, Settings(), nothing, nothing, nothing, nothing)
    before = os.listdir("/dev/fd")  # noqa: PTH208
    for _ in range(2):
        with pytest.raises(SynccrError, match=os.strerror(number)) as caught:
            await succession.carry_out(("127.0.0.1", 1), nothing)
        assert "synccr restart" in caught.value.todo
    assert len(os.listdir("/dev/fd")) == len(before)  # noqa: PTH208
