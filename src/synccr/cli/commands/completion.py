"""``synccr completion``."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from synccr.cli.result import Result
from synccr.cli.shells import COMPLETE, SHELLS, shell_name
from synccr.errors import UsageError


def run(
    shell: Annotated[
        str | None, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")
    ] = None,
) -> Result:
    """Print the completion script for your shell.

    \b
    bash:        eval "$(synccr completion bash)"   in ~/.bashrc
    zsh:         eval "$(synccr completion zsh)"    in ~/.zshrc, after compinit
    fish:        synccr completion fish > ~/.config/fish/completions/synccr.fish
    PowerShell:  synccr completion powershell | Out-String | Invoke-Expression
    """
    wanted = shell_name(shell)
    if wanted not in SHELLS or wanted == "sh":
        raise UsageError(
            f"There is no completion for the shell {wanted!r}.",
            "Write: synccr completion bash|zsh|fish|powershell",
        )
    script = get_completion_script(prog_name="synccr", complete_var=COMPLETE, shell=wanted)
    return Result([script])
