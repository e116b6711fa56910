"""Lines to paste: what a person types into a shell, quoted for it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

_WINDOWS = os.name == "nt"


def quote(word: str | Path) -> str:
    """One word for the shell: POSIX, or PowerShell on Windows."""
    if _WINDOWS:
        return "'" + str(word).replace("'", "''") + "'"
    return shlex.quote(str(word))


def synccr(*arguments: str) -> str:
    """This program as it can be called from here."""
    program = "synccr" if shutil.which("synccr") else f"{quote(sys.executable)} -m synccr"
    if _WINDOWS and not program.startswith("synccr"):
        program = f"& {program}"
    return " ".join((program, *arguments))


def edit(path: Path) -> str:
    """Open a file where a person has to decide."""
    return f"notepad {quote(path)}" if _WINDOWS else f"${{EDITOR:-vi}} {quote(path)}"


def remove(paths: Iterable[Path]) -> str:
    """Delete files, or directories with what is in them."""
    listed = list(paths)
    words = list(map(quote, listed))
    if _WINDOWS:
        return f"Remove-Item -Recurse -Force {', '.join(words)}"
    flags = "-f" if all(path.is_file() for path in listed) else "-rf"
    return f"rm {flags} -- {' '.join(words)}"


def put_aside(path: Path) -> str:
    """Move what lies in the way."""
    verb = "Move-Item" if _WINDOWS else "mv --"
    return f"{verb} {quote(path)} {quote(f'{path}.aside')}"


def close(paths: Iterable[Path]) -> str:
    """Take files and directories from everybody else."""
    return f"chmod go-rwx -- {' '.join(map(quote, paths))}"


def let_in(path: Path) -> str:
    """Give a file or directory back to its owner."""
    return f"chmod u+rwX -- {quote(path)}"


def ask_for(name: str, *, shown: bool = False) -> str:
    """Have a variable typed; unless it is ``shown``, neither the screen nor the history has it."""
    if _WINDOWS:
        return f"$env:{name} = Read-Host {name}"
    return f"read -r {name} && export {name}" if shown else f"read -rs {name} && export {name}"


def export(name: str, value: str) -> str:
    """Set a variable; ``value`` is shell text, quoted by the caller."""
    return f"$env:{name} = {value}" if _WINDOWS else f"export {name}={value}"


def unset(names: Iterable[str]) -> str:
    """Take variables out of the environment."""
    if _WINDOWS:
        return "; ".join(f"Remove-Item Env:{name}" for name in names)
    return f"unset {' '.join(names)}"


def end(pid: int) -> str:
    """End a process."""
    if _WINDOWS:
        return f"Stop-Process -Force -Id {pid}"
    return f"kill {pid}"
