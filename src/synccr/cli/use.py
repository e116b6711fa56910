"""Commands that use the running router: ask, code, env, statusline."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from synccr.cli.output import put, say
from synccr.errors import NotRunning, RuntimeMissing, SynccrError, UsageError
from synccr.paths import Paths
from synccr.redact import escape_controls

COMPLETE = "_SYNCCR_COMPLETE"
"""The variable with which a shell's completion script asks what could come next."""
_NO_KEY = "synccr"  # clients insist on a token; CCR without APIKEY takes any


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(ask)
    app.command(
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "help_option_names": [],
        }
    )(code)
    app.command()(env)
    app.command()(completion)
    app.command()(statusline)


@dataclass(frozen=True)
class Endpoint:
    """Where clients go and what they must show.

    Attributes:
        url: base address.
        token: the local port's key, or a placeholder.
        status: the supervisor's, as ``status --json``.
    """

    url: str
    token: str = field(repr=False)
    status: dict[str, Any] = field(repr=False)


def endpoint() -> Endpoint:
    """The running router.

    Raises:
        NotRunning: there is none.
    """
    from synccr.control import request

    found = request(Paths.from_environment().instance, "client")
    status = found["status"]
    return Endpoint(status["endpoint"], found["token"] or _NO_KEY, status)


def client_environment(found: Endpoint) -> dict[str, str]:
    """What points an Anthropic client at the router."""
    host = "127.0.0.1,localhost"
    # Both names, because the one in lower case goes first in Claude Code and curl.
    present = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    exempt = present if "127.0.0.1" in present else f"{present},{host}".strip(",")
    return {
        "ANTHROPIC_BASE_URL": found.url,
        "ANTHROPIC_AUTH_TOKEN": found.token,
        "NO_PROXY": exempt,
        "no_proxy": exempt,
    }


def ask(
    text: Annotated[str | None, typer.Argument(help="The prompt; else standard input.")] = None,
    route: Annotated[
        str, typer.Option("--route", help="A route of the profile, or provider,model.")
    ] = "default",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 4096,
) -> None:
    """Send one prompt through the running router; the answer is streamed to stdout.

    Which model answered is said on stderr.
    """
    found = endpoint()
    model = _model_for(route, found.status)
    prompt = text if text is not None else _piped()
    if not prompt.strip():
        raise UsageError("There is no prompt.", 'Write: synccr ask "..." or pipe text into it.')
    prompt = prompt.encode("utf-8", "replace").decode()  # a lone surrogate is no text
    body = {
        "model": model,
        "max_tokens": max_tokens,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    answered = ""
    ended = True
    try:
        for kind, value in _stream(found, body):
            if kind == "model":
                answered = value
            else:
                # A pipe gets the answer as it is; a terminal would obey what is in it.
                sys.stdout.write(escape_controls(value) if sys.stdout.isatty() else value)
                sys.stdout.flush()
                ended = value.endswith("\n")
    finally:
        if not ended:
            put("")
    say(f"answered by {answered or body['model']}", "dim")


def _piped() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        say("Type the prompt, then Ctrl-D on a line of its own.", "dim")
    return sys.stdin.buffer.read().decode("utf-8", "replace") if sys.stdin else ""


def _model_for(route: str, status: Mapping[str, Any]) -> str:
    """The model to name in the request: CCR itself routes to its own scenarios only."""
    import difflib

    routes = status["routes"]
    if route in routes:
        return str(routes[route])
    known = [f"{row['provider']},{row['model']}" for row in status["models"]]
    provider, comma, model = route.partition(",")
    if comma and model and provider in {ref.partition(",")[0] for ref in known}:
        return route  # a model that the profile does not list is the provider's to judge
    close = difflib.get_close_matches(route, [*routes, *known], n=1, cutoff=0.5)
    what = "model" if comma else "route"
    todo = f"Did you mean {close[0]}?" if close else ""
    if not comma:
        todo = f"{todo} Routes: {', '.join(routes)}.".strip()
    raise UsageError(f"There is no {what} {route!r}.", todo or f"Models: {' '.join(known)}")


def _stream(found: Endpoint, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """``("model", name)`` once, then ``("text", piece)`` as they come."""
    import httpx

    headers = {"authorization": f"Bearer {found.token}", "anthropic-version": "2023-06-01"}
    timeout = httpx.Timeout(10.0, read=600.0)
    try:
        with (
            httpx.Client(timeout=timeout, trust_env=False) as client,
            client.stream("POST", f"{found.url}/v1/messages", json=body, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise _refused(answer.status_code, answer.read())
            yield from _pieces(answer.iter_lines())
    except httpx.HTTPError as error:
        if why := _why_broken_off():
            raise SynccrError(f"The provider broke off: {why}.", "See: synccr trace") from error
        raise SynccrError(
            f"The router did not answer to the end ({error or type(error).__name__}).",
            "See: synccr status",
        ) from error


def _why_broken_off() -> str:
    """What the trace says of the latest turn, when its answer broke off; else nothing."""
    from synccr.cli.setup import Setup
    from synccr.control import request

    try:
        turns = request(Setup.make().paths.instance, "trace")["turns"]
        latest = turns[-1]["tries"][-1]
    except (SynccrError, LookupError, TypeError):
        return ""
    return "" if latest["verdict"] == "ok" else str(latest["detail"]).rstrip(".")


def _pieces(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What ``_stream`` gives, from the lines of the answer."""
    import json

    from synccr.classify.body import read

    whole = False
    for line in lines:
        if not line.startswith("data:"):
            continue
        try:
            event = json.loads(line[5:])
        except ValueError:
            continue
        match event:
            case {"type": "message_start", "message": {"model": str(model)}}:
                yield "model", model
            case {"type": "content_block_delta", "delta": {"text": str(text)}}:
                yield "text", text
            case {"type": "error"}:
                # Anthropic's form names it "error", CCR 2.0.0 "message", with JSON in it.
                said = _once(read(line[5:]).text) or "no reason given"
                raise SynccrError(
                    f"The provider broke off: {said.rstrip('.')}.", "See: synccr models"
                )
            case {"type": "message_stop"}:
                whole = True
    if not whole:
        raise SynccrError("The answer broke off before its end.", "See: synccr events")


def _once(message: str) -> str:
    """CCR's words without its stack, which repeats them; keys masked."""
    said = message.split("\n    at ")[0]
    return _masked(re.sub(r"(?s)^(.+?)\w{0,40}Error: \1$", r"\1", said))


def _masked(text: str) -> str:
    from synccr.cli.setup import redactor

    return redactor().line(text)


def _refused(status: int, body: bytes) -> SynccrError:
    import json

    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace")
    return SynccrError(f"The router answered {status}: {_once(str(message))}", "See: synccr models")


def code(context: typer.Context) -> None:
    """Run Claude Code through the router, which is started when needed.

    All arguments go to Claude Code; terminal, signals and exit code are its own,
    and none of its settings is changed.
    """
    program = shutil.which("claude")
    if program is None:
        raise RuntimeMissing(
            "Claude Code is not installed (no claude on the PATH).",
            "Run: npm install -g @anthropic-ai/claude-code",
        )
    try:
        found = endpoint()
    except NotRunning:
        from synccr.cli.detach import detach

        say("Starting the router ...", "dim")
        detach([], progress=lambda line: say(line, "dim"))
        found = endpoint()
    environ = {**os.environ, **client_environment(found)}
    environ.pop("ANTHROPIC_API_KEY", None)  # Claude Code would prefer it to the token
    command = [program, *context.args]
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":
        import subprocess

        raise typer.Exit(subprocess.run(command, env=environ, check=False).returncode)
    os.execve(program, command, environ)  # noqa: S606  # exit code and terminal are then its own


_SHELLS = {
    "sh": "export {name}={value}",
    "fish": "set -gx {name} {value};",
    "powershell": "$env:{name} = {value}",
}
_SHELL_NAMES = {"bash": "sh", "zsh": "sh", "sh": "sh", "fish": "fish", "pwsh": "powershell"}
_SHELL_NAMES["powershell"] = "powershell"


def env(
    shell: Annotated[
        str | None, typer.Option("--shell", help="bash, zsh, fish or powershell; else yours.")
    ] = None,
) -> None:
    """Print the exports that point any Anthropic client at the router.

    Use it: eval "$(synccr env)", or in fish: synccr env | source
    """
    wanted = shell or os.path.basename(os.environ.get("SHELL", "sh"))  # noqa: PTH119  # a name
    form = _SHELLS.get(_SHELL_NAMES.get(wanted.removesuffix(".exe"), "" if shell else "sh"))
    if form is None:
        known = "bash, zsh, fish or powershell"
        raise UsageError(f"There is no form for the shell {shell!r}.", f"Use {known}.")
    for name, value in client_environment(endpoint()).items():
        put(form.format(name=name, value=_quote(value, form)))


def _quote(value: str, form: str) -> str:
    import shlex

    if form == _SHELLS["powershell"]:
        return "'" + value.replace("'", "''") + "'"
    if form == _SHELLS["fish"]:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return shlex.quote(value)


def completion(
    shell: Annotated[
        str | None, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")
    ] = None,
) -> None:
    """Print the completion script for your shell.

    \b
    bash:        eval "$(synccr completion bash)"   in ~/.bashrc
    zsh:         eval "$(synccr completion zsh)"    in ~/.zshrc, after compinit
    fish:        synccr completion fish > ~/.config/fish/completions/synccr.fish
    PowerShell:  synccr completion powershell | Out-String | Invoke-Expression
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    wanted = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119  # a name
    if wanted not in _SHELL_NAMES or wanted == "sh":
        raise UsageError(
            f"There is no completion for the shell {wanted!r}.",
            "Write: synccr completion bash|zsh|fish|powershell",
        )
    put(get_completion_script(prog_name="synccr", complete_var=COMPLETE, shell=wanted))


def statusline() -> None:
    """One line for Claude Code's statusLine setting: what serves, and why.

    Put it into ~/.claude/settings.json:
    "statusLine": {"type": "command", "command": "synccr statusline"}

    Reads Claude Code's JSON on standard input. Prints nothing when nothing runs.
    """
    from synccr.cli.statusline import show_line

    show_line()
