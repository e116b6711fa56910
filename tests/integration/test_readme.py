"""README.md tells the truth: its commands exist, its links lead somewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from home import Home

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"(?:`|\(|^|\| )synccr ([a-z]+)", TEXT, re.MULTILINE)))
)
def test_commands_exist(home: Home, command: str) -> None:
    """Every ``synccr COMMAND`` of the README is one, and teaches."""
    listed = home.run("--help").stdout
    assert re.search(rf"^  {command}\b", listed, re.MULTILINE), command


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/[a-z]+", TEXT))))
def test_scripts_exist(script: str) -> None:
    """Every script of the README can be run."""
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))))
def test_links_lead_somewhere(link: str) -> None:
    """Every relative link is a file or a directory."""
    assert (ROOT / link).exists()
