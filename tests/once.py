"""What is made once for all workers of a test run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The directory that ``make`` filled, for the first worker that asked.

    Args:
        factory: pytest's own; its place is shared by the workers of a run.
        name: of the directory.
        make: given the directory, empty. When it fails, the next worker tries.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = factory.getbasetemp().parent
    else:
        root = factory.getbasetemp()
    place = root / name
    with FileLock(root / f"{name}.lock"):
        if not (done := root / f"{name}.done").exists():
            place.mkdir(exist_ok=True)
            make(place)
            done.touch()
    return place
