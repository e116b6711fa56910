"""``synccr restart``."""

from __future__ import annotations

from synccr.cli.detach import runs_at, start_detached
from synccr.cli.result import Result
from synccr.cli.running_instance import PATIENCE
from synccr.control import request
from synccr.errors import NoAnswer, NotRunning
from synccr.paths import Paths
from synccr.supervisor.lock import holder

_RESTART_PATIENCE = 900.0  # npm may have to bring another CCR over a slow line


def run() -> Result:
    """Replace synccr and CCR by fresh ones, without a lost request.

    Program, settings and profiles are read again, with the options of the start;
    should the fresh ones not come up, the old ones go on. On Windows CCR alone is
    replaced, with profiles and with what the settings say of CCR and its requests
    read again. Starts synccr in the background when it does not run.
    """
    instance = Paths.from_environment().instance
    try:
        request(instance, "status", timeout=PATIENCE)
        return runs_at(request(instance, "restart", timeout=_RESTART_PATIENCE))
    except NoAnswer as error:
        if not (there := holder(instance)):
            raise
        raise NoAnswer(
            f"The supervisor (pid {there.pid}) does not answer.",
            f"If it is suspended (Ctrl-Z): kill -CONT {there.pid}. Else: synccr stop; then "
            "synccr start --detach",
        ) from error
    except NotRunning:
        return start_detached([])
