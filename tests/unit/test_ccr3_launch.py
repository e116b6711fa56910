"""A CCR 3 that does not come up: what it said is told at once."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from synccr.ccr.generations import V3
from synccr.ccr.launch_context import EgressAddress, LaunchContext
from synccr.ccr.package import Package
from synccr.ccr.start_failure import StartFailed
from synccr.ccr.v3.launch import Launcher3
from synccr.paths import Paths

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script as a program")

TOKEN = "secret-of-the-page"
NO_GATEWAY = (
    "Failed to start gateway during web startup: No available models.",
    f"CCR web management is running at http://127.0.0.1:1/?ccr_web_token={TOKEN}",
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (NO_GATEWAY, "Failed to start gateway during web startup: No available models."),
        (
            ("[config] Failed to load config: database or disk is full", *NO_GATEWAY),
            "[config] Failed to load config: database or disk is full.",
        ),
    ],
)
async def test_one_without_a_gateway_is_not_waited_for(
    tmp_path: Path, said: tuple[str, ...], told: str
) -> None:
    """Its management would go on for ever; the token of that is not told."""
    script = tmp_path / "ccr.py"
    words = "\n".join(said)
    script.write_text(f"import time\nprint({words!r}, flush=True)\ntime.sleep(60)\n")
    package = Package("3.1.1", (sys.executable, str(script)), script, V3)
    own = tmp_path / "own"
    paths = Paths(tmp_path / ".claude-code-router", own, own, own, own)
    egress = EgressAddress("http://127.0.0.1:9", "secret", (), {"acme": "1"}, dict(os.environ))
    starter = Launcher3(LaunchContext(paths, egress.environ, lambda: egress, lambda *_: None))
    provider = {"name": "acme", "api_base_url": "http://x/v1", "api_key": "k", "models": ["m"]}
    began = time.monotonic()
    with pytest.raises(StartFailed) as failed:
        await starter.launch(package, {"Providers": [provider], "Router": {"default": "acme,m"}})
    assert failed.value.what == f"CCR started no gateway: {told}"
    assert time.monotonic() - began < starter.context.start_timeout / 2
    assert list(own.rglob("run-*")) == []
