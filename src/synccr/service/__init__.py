"""``synccr service``: start at login, as each system does it.

A renderer is pure: it turns `definition.Surroundings` into files and the commands that
make the system read them. `manage` writes and runs.
"""

from __future__ import annotations

from synccr.service.definition import Service, Surroundings


def service_for(platform: str, around: Surroundings) -> Service:
    """The service of a platform, as ``sys.platform`` names it."""
    if platform == "darwin":
        from synccr.service.launchd import render
    elif platform == "win32":
        from synccr.service.windows import render
    else:
        from synccr.service.systemd import render
    return render(around)
