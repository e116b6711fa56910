"""README.md and docs/ tell the truth: links, settings, commands, codes, scripts."""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from pages import DOCS, PAGES, ROOT, commands, prose
from synccr import errors
from synccr.cli.app import command
from synccr.models.report import Status
from synccr.settings import Settings

_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What a ``#`` may name: each heading as GitHub writes it."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


LINKS = [(page, link) for page in PAGES for link in _LINK.findall(prose(page))]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda part: getattr(part, "name", part))
def test_links_lead_somewhere(page: Path, link: str) -> None:
    """Every relative link is a file, and its anchor a heading there."""
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def test_every_page_is_in_the_index() -> None:
    """A page that nobody finds is none."""
    linked = set(_LINK.findall(prose(DOCS / "index.md")))
    assert {page.name for page in DOCS.glob("*.md")} - linked == {"index.md"}


def test_the_pages_can_be_built(tmp_path: Path) -> None:
    """mkdocs builds them without a warning."""
    done = subprocess.run(
        [ROOT / "scripts" / "docs", tmp_path / "site"],
        env={**os.environ, "BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "site" / "how-it-works.html").exists()


def test_tests_that_pages_name_are_there() -> None:
    """A claim leads to the test that shows it."""
    files = {path.stem: path for path in (ROOT / "tests").rglob("test_*.py")}
    functions = "\n".join(path.read_text() for path in files.values())
    for page in PAGES:
        for name in re.findall(r"`(?:tests/)?(?:\w+/)*(test_\w+)(?:\.py)?`", page.read_text()):
            assert name in files or f"def {name}(" in functions, f"{page.name}: {name}"


def test_rooms_that_pages_name_are_there() -> None:
    """The table of rooms names what is in the package."""
    rows = re.findall(r"^\| (`[^|]+`) \| ", prose(DOCS / "how-it-works.md"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w/]+(?:/|\.py))`", row)]
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "src/synccr" / name).exists()] == []


def test_settings_page() -> None:
    """Each setting once, with its default as TOML has it, and a reason."""
    page = (DOCS / "settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (.+) \|$", page, re.MULTILINE)
    told = tomllib.loads("\n".join(f"{name} = {default}" for name, default, _ in rows))
    assert told == {field.name: field.default for field in msgspec.structs.fields(Settings)}
    assert all(len(reason) > 20 for *_, reason in rows)


def test_commands_page() -> None:
    """It is what scripts/write-commands writes today."""
    script = runpy.run_path(str(ROOT / "scripts" / "write-commands"))
    assert script["page"]() == (DOCS / "commands.md").read_text(), "run scripts/write-commands"


def test_exit_codes() -> None:
    """The page's codes are those of the errors."""
    listed = set(map(int, re.findall(r"^\| (\d) \|", (DOCS / "commands.md").read_text(), re.M)))
    found = [e for e in vars(errors).values() if isinstance(e, type)]
    assert listed == {0, *(e.exit_code for e in found if issubclass(e, errors.SynccrError))}


def test_states_of_a_model() -> None:
    """Troubleshooting explains every word that a model's state can be."""
    table = (DOCS / "troubleshooting.md").read_text().partition("## The state of a model")[2]
    first = re.findall(r"^\| (`.+?) \|", table, re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(first))) == set(Status)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    """Every ``synccr COMMAND`` that a page names is one."""
    words = [re.search(r"(?:^|\W)synccr ([a-z]+)", line) for line in commands(page)]
    assert {word[1] for word in words if word} <= set(command().commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_exist(page: Path) -> None:
    """Every script that a page names can be run."""
    for script in set(re.findall(r"scripts/[a-z-]+", page.read_text())):
        assert os.access(ROOT / script, os.X_OK), script


def test_every_script_is_told() -> None:
    """A developer finds every script in the page for developers."""
    told = (DOCS / "contributing.md").read_text()
    helpers = {"environment"}  # called by the others
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file()} - helpers
    assert {name for name in scripts if f"scripts/{name}" not in told} == set()


MODULES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "src/synccr").rglob("*.py"))
}


def test_references_in_docstrings_lead_somewhere() -> None:
    """A function, class or module that a docstring names is there."""
    for module, path in MODULES.items():
        room = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in re.findall(r":(?:mod|func|class):`~?([\w.]+)`", path.read_text()):
            inside = f"{room}{name}" if name.startswith(".") else f"{module}.{name}"
            pkgutil.resolve_name(name if name.startswith("synccr.") else inside)


def test_the_head_of_a_room_names_what_is_there() -> None:
    """Each row of its table begins with files or rooms."""
    for module, path in MODULES.items():
        head = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[2]
        rows = re.findall(r"^([a-z_/]+(?:, [a-z_/]+)*),?(?: {2,}.*)?$", head, re.MULTILINE)
        for name in ", ".join(rows).split(", ") if path.name == "__init__.py" and rows else ():
            here = path.parent / name
            assert here.is_dir() or here.with_suffix(".py").is_file(), f"{module}: {name}"
