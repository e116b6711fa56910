"""``python -m tests.provider``: the provider as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from synccr.demo.openai import ListedModel

from .provider import FakeProvider

_OPEN_FILES = 16384

_Behaviour = str | int | dict[str, Any]


class ProviderSetup(msgspec.Struct, forbid_unknown_fields=True):
    """The file that ``--behaviours`` names (JSON). Every field as the argument of ``FakeProvider``
    with the same name; behaviours are preset names, HTTP statuses or objects.
    """

    models: dict[str, _Behaviour | list[_Behaviour]] = {}
    listed: list[str | ListedModel] | None = None
    quotas: dict[str, Any] | None = None
    credit: dict[str, int] = {}
    unknown: _Behaviour = "ok"

    def provider(self, *, port: int, key: str | None, control: bool) -> FakeProvider:
        """The provider this describes.

        Raises:
            ValueError: a behaviour that does not exist.
        """
        return FakeProvider(
            self.models,
            port=port,
            key=key,
            listed=self.listed,
            quotas=self.quotas,
            credit=self.credit,
            unknown=self.unknown,
            control=control,
        )


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT or, if asked, the end of standard input. Returns the exit code:
    2 when the setup cannot be used, 7 when the port is taken.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any)")
    parser.add_argument("--behaviours", type=Path, help="JSON file: models and how they behave")
    parser.add_argument("--key-env", metavar="NAME", help="variable with the API key to expect")
    parser.add_argument("--control", action="store_true", help="take orders under /_control/")
    parser.add_argument("--until-eof", action="store_true", help="end with standard input")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"{options.port} is not a port")
    key = os.environ.get(options.key_env) if options.key_env else None
    if options.key_env and not key:
        parser.error(f"the environment variable {options.key_env} is not set")
    try:
        content = options.behaviours.read_bytes() if options.behaviours else b"{}"
        setup = msgspec.json.decode(content, type=ProviderSetup)
        provider = setup.provider(port=options.port, key=key, control=options.control)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    _allow_many_connections()
    try:
        asyncio.run(_serve(provider, until_eof=options.until_eof))
    except OSError as error:
        print(f"Port {options.port} cannot be used: {error.strerror}.", file=sys.stderr)
        return 7
    return 0


async def _serve(provider: FakeProvider, *, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    async with provider:
        print(json.dumps({"url": provider.base_url}), flush=True)
        if until_eof:
            # Not sys.stdin: its lock, held by this thread, would disturb the interpreter's end.
            threading.Thread(
                target=_at_eof, args=(lambda: loop.call_soon_threadsafe(done.set),), daemon=True
            ).start()
        await done.wait()


def _at_eof(call: Callable[[], object]) -> None:
    while os.read(0, 4096):
        pass
    call()


def _allow_many_connections() -> None:
    """Raise the soft limit of open files, 1024 by default, as far as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
