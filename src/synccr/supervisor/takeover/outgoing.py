"""The old supervisor's part in a takeover; see `protocol` for the sequence."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccr.ccr.process import end_tree_now, identify
from synccr.control.server import ControlServer
from synccr.errors import SynccrError, out_of_order
from synccr.proxy import Proxy
from synccr.settings import Settings
from synccr.supervisor.backend_lifecycle import Backends
from synccr.supervisor.lock import Lock
from synccr.supervisor.takeover.protocol import (
    CHANNEL,
    COMMIT,
    COMMIT_TIMEOUT,
    FAILED,
    PREPARED,
    PROCEED,
    READY,
    SERVING,
    Channel,
)

_EXIT_TIMEOUT = 5.0
"""Seconds between the end of the new one's channel and its exit."""


class NewProcess:
    """The new supervisor, seen from the old one.

    Raises:
        OSError: it cannot be started; nothing is left of it.
    """

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        with contextlib.ExitStack() as failed, theirs:
            failed.callback(self.channel.close)
            # A session of its own: what a terminal sends to its foreground is for us to pass on.
            self._process = subprocess.Popen(
                command,
                env={**environ, CHANNEL: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            failed.pop_all()
        self._identity = identify(self.pid)  # now, as its pid may become a stranger's

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def expect(self, word: str, timeout: float | None = None) -> Any:
        """What it says next, which has to be this.

        Raises:
            SynccrError: it failed, in its own words; or it said nothing in time.
        """
        try:
            async with asyncio.timeout(timeout):
                message, _, _ = await self.channel.receive()
        except EOFError:
            code = await self.exit_code(_EXIT_TIMEOUT)
            raise SynccrError(
                f"The new supervisor ended at once (exit code {code}); the old one goes on.",
                "Look at: synccr logs",
            ) from None
        except TimeoutError:
            raise SynccrError(
                f"The new supervisor was not ready within {timeout:.0f} s; the old one goes on.",
                "Look at: synccr logs",
            ) from None
        if failed := message.get(FAILED):
            error = SynccrError(failed["what"], failed["todo"])
            error.exit_code = failed["exit_code"]  # type: ignore[misc]  # its own
            raise error
        if word not in message:
            raise SynccrError("The new supervisor speaks another language; the old one goes on.")
        return message[word]

    def send(self, message: dict[str, Any], with_socket: socket.socket | None = None) -> None:
        """Send it a message.

        Raises:
            SynccrError: it is gone.
        """
        try:
            self.channel.send(message, with_socket)
        except OSError as error:
            raise SynccrError(
                "The new supervisor is gone; the old one goes on.", "Look at: synccr logs"
            ) from error

    def pass_connection(self, connection: socket.socket, ahead: bytes) -> bool:
        """Give it a client's connection and what has been read from it; False when it is gone
        or reads nothing. Then it takes none any more."""
        try:
            self.channel.send({}, connection, ahead)
        except OSError:
            return False
        return True

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    async def exit_code(self, timeout: float | None = None) -> int | None:
        """Wait for its end; the code as a shell would say it, None when it still runs."""
        try:
            code = await asyncio.to_thread(self._process.wait, timeout)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else 128 - code

    async def kill(self) -> None:
        """End it and everything it started, now."""
        identity = self._identity
        if identity is not None and self._process.poll() is None:
            end_tree_now(identity)
        await self.exit_code()
        self.channel.close()


@dataclass
class Takeover:
    """Replaces this supervisor by a fresh one.

    Attributes:
        command: starts it.
        environ: for it.
        settings: timeouts.
        backends, proxy, control, lock: what this one holds.
        new_process: the supervisor that serves now; None while this one does.
    """

    command: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    settings: Settings
    backends: Backends
    proxy: Proxy
    control: ControlServer
    lock: Lock
    new_process: NewProcess | None = None
    _under_way: asyncio.Task[Any] | None = None

    async def run(self, address: tuple[str, int], listener: socket.socket) -> dict[str, Any]:
        """Start the new one and hand over to it.

        Args:
            address: host and port as configured.
            listener: the public port.

        Returns:
            the new one's status.

        Raises:
            SynccrError: it did not come up, in its own words; this one goes on.
        """
        if self._under_way or self.new_process:
            raise SynccrError("A restart is under way already.", "See: synccr status")
        self._under_way = asyncio.current_task()
        try:
            new_process = self._spawn()
            try:
                host, port = address
                new_process.send({"host": host, "port": port}, listener)
                await new_process.expect(PREPARED)
                status = await self._hand_over(new_process)
            except BaseException:
                await new_process.kill()
                raise
        finally:
            self._under_way = None
        self.new_process = new_process
        return status

    async def cancel(self) -> None:
        """This one is to end: a new one that does not serve yet ends with it."""
        if self._under_way:
            self._under_way.cancel()
            await asyncio.wait({self._under_way})

    def _spawn(self) -> NewProcess:
        try:
            return NewProcess(self.command, dict(self.environ))
        except OSError as error:
            what = out_of_order(error).what.rstrip(".")
            raise SynccrError(
                f"The new supervisor cannot be started ({what}); the old one goes on.",
                "See that memory, processes and open files are left (ulimit -a) and that synccr is "
                "still installed, then: synccr restart",
            ) from error

    async def _hand_over(self, new_process: NewProcess) -> dict[str, Any]:
        async with self.backends.no_starts():
            new_process.send({PROCEED: True})
            await new_process.expect(READY, 5 * self.settings.start_timeout)
            self.lock.release()
            try:
                new_process.send({COMMIT: True})
                status: dict[str, Any] = await new_process.expect(SERVING, COMMIT_TIMEOUT)
            except BaseException:
                await new_process.kill()  # it may hold lock and control socket
                self.lock.acquire(COMMIT_TIMEOUT)
                self.control.withdraw()
                await self.control.start()
                raise
            self.control.withdraw()
            self.proxy.hand_over(new_process.pass_connection)
            self.backends.stop_for_takeover()
        return status

    async def drain_and_exit(self, adopting: asyncio.Task[None] | None, grace: float) -> None:
        """Finish what has begun, pass every connection on, end every CCR that is ours.

        Takes at most ``drain_timeout``; when the new one ends, about ``grace`` seconds.

        Args:
            adopting: receives the connections of this one's own predecessor.
            grace: seconds for requests in flight.
        """
        assert self.new_process is not None  # noqa: S101  # only then is it called
        gone = asyncio.create_task(self.new_process.channel.ended())
        passed = asyncio.create_task(self._all_passed(adopting))
        try:
            await asyncio.wait(
                {gone, passed},
                timeout=self.settings.drain_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            await self.proxy.close(grace if gone.done() else 0.0)
        finally:
            gone.cancel()
            passed.cancel()
            await asyncio.gather(gone, passed, return_exceptions=True)
            await self.backends.close(grace)
            self.new_process.channel.close()  # the new one waits for this when it ends

    async def _all_passed(self, adopting: asyncio.Task[None] | None) -> None:
        if adopting is not None:
            await asyncio.wait({adopting})
        await self.proxy.emptied()
