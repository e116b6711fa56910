"""``synccr env``: exports for a shell."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from synccr.cli.endpoint import client_environment, endpoint
from synccr.cli.result import Result
from synccr.cli.shells import SHELLS, shell_name
from synccr.errors import UsageError

FORMS = {
    "sh": "export {name}={value}",
    "fish": "set -gx {name} {value};",
    "powershell": "$env:{name} = {value}",
}
"""How each family of shells sets a variable."""


def run(
    shell: Annotated[
        str | None, typer.Option("--shell", help="bash, zsh, fish or powershell; else yours.")
    ] = None,
) -> Result:
    """Print the exports that point any Anthropic client at the router.

    Use it: eval "$(synccr env)", or in fish: synccr env | source
    """
    form = FORMS.get(SHELLS.get(shell_name(shell, "sh"), "" if shell else "sh"))
    if form is None:
        known = "bash, zsh, fish or powershell"
        raise UsageError(f"There is no form for the shell {shell!r}.", f"Use {known}.")
    variables = client_environment(endpoint()).items()
    return Result([form.format(name=name, value=_quote(value, form)) for name, value in variables])


def _quote(value: str, form: str) -> str:
    if form == FORMS["powershell"]:
        return "'" + value.replace("'", "''") + "'"
    if form == FORMS["fish"]:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return shlex.quote(value)
