"""A CCR is led to the egress and holds no key, or a person is told that it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from synccr.ccr.launch_context import EgressAddress
from synccr.ccr.v2.led_launcher import NOT_LED, LedLauncher

KEY, PLACEHOLDER = {"ACME_API_KEY": "sk-canary"}, {"ACME_API_KEY": "placeholder"}


@dataclass(frozen=True)
class Launcher:
    """Starts what the scene says: its CCR loads the module, or does not."""

    scene: Scene
    environ: Mapping[str, str]
    egress: EgressAddress | None = None

    async def launch(self, _package: object, **_ours: object) -> Any:
        url = self.egress.url if self.egress else None
        self.scene.launched.append((url, self.environ))
        return SimpleNamespace(led=self.scene.loads and self.egress is not None, stop=self._stop)

    async def _stop(self, _deadline: float) -> None:
        self.scene.stopped += 1


@dataclass
class Scene:
    loads: bool
    launched: list[tuple[object, Mapping[str, str]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    stopped: int = 0

    async def launch(self) -> Any:
        egress = EgressAddress("egress", "secret", (), environ=PLACEHOLDER)
        context = SimpleNamespace(
            egress=lambda: egress, tell=lambda _kind, text, *_: self.told.append(text)
        )
        found = LedLauncher(cast("Any", context), cast("Any", Launcher(self, KEY)))
        return await found.launch(cast("Any", None), {})


async def test_a_ccr_that_loads_the_module_has_no_key() -> None:
    """It is the only one that is started."""
    scene = Scene(loads=True)
    assert (await scene.launch()).led
    assert scene.launched == [("egress", PLACEHOLDER)]
    assert (scene.told, scene.stopped) == ([], 0)


async def test_a_ccr_that_does_not_load_it_is_replaced_by_one_with_keys() -> None:
    """Without a key it could ask nobody."""
    scene = Scene(loads=False)
    assert not (await scene.launch()).led
    assert scene.launched == [("egress", PLACEHOLDER), (None, KEY)]
    assert (scene.told, scene.stopped) == ([NOT_LED], 1)


async def test_without_the_module_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node would end at once."""
    monkeypatch.setattr("synccr.ccr.v2.led_launcher.PRELOAD", tmp_path / "gone")
    scene = Scene(loads=True)
    await scene.launch()
    assert scene.launched == [(None, KEY)]
    assert (scene.told, scene.stopped) == ([NOT_LED], 0)
