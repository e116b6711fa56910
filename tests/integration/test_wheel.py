"""The wheel with nothing around it: what is in it, and ``uvx --from WHEEL synccr demo``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from home import Home

pytestmark = [pytest.mark.integration, pytest.mark.long]

ROOT = Path(__file__).parents[2]
OF_PIP_FOR_UV = {
    "cert": "SSL_CERT_FILE",
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
}
"""How packages are reached: uv reads none of pip's configuration."""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def pip(*arguments: str | Path, python: str | Path = sys.executable) -> str:
    """What pip prints. pip is there wherever these tests are, since it installed them."""
    done = run(python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is, by the build backend that the development environment has."""
    place = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", place, ROOT)
    (built,) = place.glob("synccr-*.whl")
    return built


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of the package and the shipped profiles; no test, no second package."""
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in (source / "synccr").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {f"synccr/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == wanted


@pytest.mark.timeout(600)
def test_the_demo_runs_from_the_wheel_alone(wheel: Path, home: Home, tmp_path: Path) -> None:
    """``uvx`` and a wheel are enough: with an empty home, none of our files near, no key."""
    away = tmp_path / "away"
    away.mkdir()
    home.env["TMPDIR"] = str(away)
    done = run(*synccr(wheel, tmp_path), "demo", env=home.env | of_uv(), cwd=away, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "primary -> fallback" in done.stdout
    assert list(away.glob("synccr-demo-*")) == []


def synccr(wheel: Path, tmp_path: Path) -> list[str | Path]:
    """``uvx`` as it is here or as PyPI has it; where neither is, a new environment."""
    uvx = shutil.which("uvx")
    made = tmp_path / "made"
    if not uvx:
        assert run(sys.executable, "-m", "venv", made).returncode == 0
        try:
            pip("install", "--quiet", "uv", python=made / "bin" / "python")
            uvx = str(made / "bin" / "uvx")
        except AssertionError:  # not every platform has uv
            pip("install", "--quiet", wheel, python=made / "bin" / "python")
            return [made / "bin" / "synccr"]
    return [uvx, "--python", sys.executable, "--from", wheel, "synccr"]


def of_uv() -> dict[str, str]:
    """pip's way to packages, said to uv."""
    said = re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", pip("config", "list"), re.M)
    told = {OF_PIP_FOR_UV[name]: value for name, value in said if name in OF_PIP_FOR_UV}
    ours = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "SSL_"))}
    return {"UV_PYTHON_DOWNLOADS": "never", **told, **ours}
