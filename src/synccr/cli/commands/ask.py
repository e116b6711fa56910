"""``synccr ask``: one prompt, its answer as it comes."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import httpx
import typer

from synccr.classify.error_body import read
from synccr.cli.context import redactor
from synccr.cli.endpoint import Endpoint, endpoint
from synccr.cli.output import print_data, print_note
from synccr.control import request
from synccr.errors import SynccrError, UsageError
from synccr.paths import Paths
from synccr.redact import escape_controls


def run(
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
            print_data("")
    print_note(f"answered by {answered or body['model']}", "dim")


def _piped() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        print_note("Type the prompt, then Ctrl-D on a line of its own.", "dim")
    return sys.stdin.buffer.read().decode("utf-8", "replace") if sys.stdin else ""


def _model_for(route: str, status: Mapping[str, Any]) -> str:
    """The model to name in the request: CCR itself routes to its own scenarios only."""
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
    try:
        turns = request(Paths.from_environment().instance, "trace")["turns"]
        latest = turns[-1]["tries"][-1]
    except (SynccrError, LookupError, TypeError):
        return ""
    return "" if latest["verdict"] == "ok" else str(latest["detail"]).rstrip(".")


def _pieces(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What ``_stream`` gives, from the lines of the answer."""
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
    return redactor().line(re.sub(r"(?s)^(.+?)\w{0,40}Error: \1$", r"\1", said))


def _refused(status: int, body: bytes) -> SynccrError:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace")
    return SynccrError(f"The router answered {status}: {_once(str(message))}", "See: synccr models")
