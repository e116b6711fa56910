"""Clients whose streamed answers stay under way, a process of its own.

``python -m benchmarks.held PORT COUNT`` asks, prints a line when each answer has its first text,
and lets go when standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import wire

_AT_ONCE = 50
"""Requests without a text so far: what is measured is many streams, not a rush."""


@contextlib.contextmanager
def held(port: int, count: int) -> Iterator[None]:
    """So many answers are under way meanwhile.

    Raises:
        RuntimeError: one of them did not begin.
    """
    command = [sys.executable, "-m", "benchmarks.held", str(port), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"held\n":
            raise RuntimeError("not every stream began")
        yield


async def _hold(port: int, gate: asyncio.Semaphore) -> asyncio.StreamWriter:
    body = wire.message(stream=True)
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wire.request("/v1/messages", body))
        await reader.readuntil(wire.TEXT)
    return writer


def _allow_files(count: int) -> None:
    """As many open files as that takes; 1024 is usual."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < count + 64:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, hard))


async def _run(port: int, count: int) -> None:
    _allow_files(count)
    gate = asyncio.Semaphore(_AT_ONCE)
    writers = await asyncio.gather(*(_hold(port, gate) for _ in range(count)))
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    for writer in writers:
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2])))
