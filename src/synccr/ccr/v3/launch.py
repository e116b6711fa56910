"""Starting CCR 3: in a directory of its own, on two private ports, until it serves."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from synccr.ccr.launch_context import EgressAddress, LaunchContext
from synccr.ccr.liveness import answers
from synccr.ccr.output import last_error
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId, identify
from synccr.ccr.spawn import environ_of, serving, spawn
from synccr.ccr.start_failure import StartFailed, TryAgain, unwritable
from synccr.ccr.v3.backend import Backend3
from synccr.ccr.v3.run_directory import RunDirectory
from synccr.ccr.v3.translation import Translation, translate
from synccr.ccr.v3.warm_up import warm_up
from synccr.ports import free_port, is_free

_MANAGED = "CCR web management is running at"
"""What CCR says when it has started: from then on it handles SIGTERM."""
_HEAP_LIMIT: Final = 1024
"""MiB of JavaScript objects in each process of CCR (``--max-old-space-size`` in ``NODE_OPTIONS``).

Without it V8 lets garbage grow as the machine's memory allows: on 25 GB the gateway takes 886 MB
after 58 thousand requests and gives none back. With it, 362 MB after 50 thousand, as fast; with 256
no less. It must not be small: the gateway dies with 256 on ten requests of 10 MB at once or two of
30, with 512 on twenty of 10 or six of 30; with 1024 it serves those, and takes 1.5 GB meanwhile.
"""
_NO_GATEWAY = "Failed to start gateway"
"""What it says just before, when nothing will ever serve; its management goes on."""
_CAUSE = re.compile(r"^\[config\] Failed.*", re.MULTILINE)
"""What it says first of a configuration that it could not keep, as on a full disk."""
_STEP = 0.02
_ATTEMPTS = 4


@dataclass(frozen=True)
class Launcher3:
    """Starts CCR 3 for one supervisor; its requests to providers always go to the egress.

    Attributes:
        context: the surroundings.
    """

    context: LaunchContext

    async def launch(
        self,
        package: Package,
        config: Mapping[str, Any],
        *,
        ours: Collection[ProcessId] = (),  # noqa: ARG002  # they are in each other's way nowhere
    ) -> Backend3:
        """Start CCR and wait until it serves. See `Starter.launch`."""
        last: TryAgain | None = None
        for _ in range(_ATTEMPTS):
            backend, ready = None, False
            try:
                backend = await self._spawn(package, config)
                await self._until_ready(backend)
                ready = True
            except TryAgain as lost:
                last = lost
            except OSError as error:
                raise unwritable(error, self.context.paths.instance) from error
            else:
                return backend
            finally:
                if backend and not ready:
                    backend.kill()
                    await backend.stop(0)
        raise StartFailed(f"CCR could not be started: {last}.")

    async def _spawn(self, package: Package, config: Mapping[str, Any]) -> Backend3:
        context, egress = self.context, self.context.egress()
        port, page = free_port(), free_port()
        directory = RunDirectory.make(context.paths, _ourselves())
        try:
            translated = self._translated(config)
            directory.write(
                {
                    **translated.document,
                    "HOST": "127.0.0.1",
                    "PORT": port,
                    "APIKEY": egress.secret,
                    "CUSTOM_ROUTER_PATH": str(directory.router),
                },
                translated.routes,
            )
            kept = egress.environ.get("NODE_OPTIONS", "")
            environ = {
                **directory.environ(environ_of(package, egress.environ, context.paths)),
                "NODE_OPTIONS": f"{kept} --max-old-space-size={_HEAP_LIMIT}".lstrip(),
                "CCR_WEB_AUTH_TOKEN": secrets.token_urlsafe(24),
            }
            process, root, output = await spawn(
                package,
                (*package.command, "--port", str(page)),
                directory.path,
                environ,
                register=context.register,
            )
        except BaseException:
            directory.remove()
            raise
        return Backend3(
            process,
            package=package,
            port=port,
            root=root,
            output=output,
            register=context.register,
            directory=directory,
            serves=translated,
            translate=self._translated,
        )

    def _translated(self, config: Mapping[str, Any]) -> Translation:
        egress = self.context.egress()
        return translate(config, partial(_address, egress), self.context.paths, egress.environ)

    async def _until_ready(self, backend: Backend3) -> None:
        timeout = self.context.start_timeout
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if backend.exit_code is not None:
                raise self._died(backend)
            managed = _MANAGED in backend.output
            if managed and await answers(backend.port, 1.0) and (found := serving(backend)):
                backend.identity = found
                left = max(0.1, deadline - time.monotonic())
                await warm_up(backend.port, self.context.egress().secret, left)
                return
            if managed and not is_free(backend.port) and not serving(backend):
                raise TryAgain(f"port {backend.port} was taken by another process")
            if managed and _NO_GATEWAY in backend.output:
                raise StartFailed(f"CCR started no gateway: {self._detail(backend)}.")
            await asyncio.sleep(_STEP)
        raise StartFailed.silent(backend.port, timeout, self._detail(backend))

    def _died(self, backend: Backend3) -> StartFailed:
        backend.last_words()
        return StartFailed.exited(backend.exit_code, self._detail(backend))

    def _detail(self, backend: Backend3) -> str:
        said, managed, _ = backend.output.partition(_MANAGED)  # what follows is its token
        if managed and _NO_GATEWAY not in said:
            return ""
        cause = _CAUSE.search(said)
        line = cause[0] if cause else last_error(said)
        return self.context.redact.line(line).rstrip(".")


def _address(egress: EgressAddress, provider: str) -> str:
    return f"{egress.url}/to/{egress.places[provider]}"


def _ourselves() -> ProcessId:
    return identify(os.getpid()) or ProcessId(os.getpid(), "")
