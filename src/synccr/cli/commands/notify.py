"""``synccr notify``: try out where messages go."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from synccr.cli.context import CommandContext
from synccr.cli.options import Json
from synccr.cli.result import Note, Result
from synccr.clock import utc_now
from synccr.errors import SynccrError
from synccr.journal import stamp
from synccr.notify import Notice, send, target
from synccr.redact import Redactor


def run(
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="What to say.")
    ] = "This is a test; notifications arrive.",
    test: Annotated[  # noqa: ARG001  # the one thing that the command does
        bool, typer.Option("--test", help="Send a test message (this is the default).")
    ] = True,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="WHERE", help="Try this value of the setting notify."),
    ] = None,
    json: Json = False,
) -> Result:
    """Send a message to where the setting notify says: desktop, a URL or a command.

    \b
    A supervisor in the background sends one when something happens that you
    should know. In synccr.toml:
      notify = "desktop"
      notify = "https://ntfy.sh/my-topic"
      notify = "notify-send synccr"     the message comes as the last argument
    """
    context = CommandContext.make()
    where = target(to if to is not None else context.settings.notify)
    if where.way == "off":
        raise SynccrError(
            "Notifications are off.",
            'Write notify = "desktop" (or a URL or a command) into '
            f"{context.paths.settings}, or try: synccr notify --to desktop",
        )
    failure = asyncio.run(send(where, Notice("test", text, "", stamp(utc_now())), context.environ))
    if failure:
        hidden = failure.replace(where.url, "(the address)") if where.url else failure
        raise SynccrError(
            f"The message was not delivered: {Redactor().line(hidden, 200)}.",
            "Mend the setting notify, then try again.",
        )
    if json:
        return Result(document={"way": where.way, "delivered": True})
    return Result([Note(f"Delivered ({where.way}).", "green")])
