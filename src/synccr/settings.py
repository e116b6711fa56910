"""Settings: option over environment over ``synccr.toml`` over default."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from synccr.errors import ConfigError, UsageError
from synccr.models.report import ModelRef

Seconds = Annotated[float, msgspec.Meta(ge=0, le=10_000_000)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=10_000_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
OnTrouble = Literal["move", "wait", "stop"]
"""What becomes of a request whose model fails."""

PREFIX = "SYNCCR_"
_RESERVED = {"SYNCCR_DEBUG", "SYNCCR_EVENT"}
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.-]+)?")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Durations are seconds.

    Attributes:
        ccr_version: exact version of @musistudio/claude-code-router.
        ccr_command: a person's own command that runs CCR; empty for synccr's own installation.
        preflight_timeout: for one model, retries included.
        preflight_attempts: how often a model with a passing trouble is asked.
        preflight_concurrency: probes at one time.
        preflight_cache: how long a report is taken for fresh.
        recovery_interval: first pause before a model that is away is probed again.
        recovery_interval_max: the longest such pause.
        drain_timeout: how long an old backend may finish what it has begun.
        hold_timeout: how long a connection waits for a backend.
        swap_cooldown: no second swap of the same kind sooner.
        swap_limit: swaps allowed within twenty cooldowns.
        trouble_count: passing troubles of one model that count as persisting …
        trouble_window: … when they come within this time.
        silence_timeout: how long a provider may send nothing while little is known of its model.
        start_timeout: how long CCR may take to answer ``/health``.
        health_interval: between looks at ``/health``.
        carry_limit: bytes of a request kept for carrying over.
        ccr_log_limit: bytes of all of CCR's logs together, which CCR itself never bounds; 0 is
            none.
        weekly_check: between full preflights of a running supervisor; 0 is never.
        quota_interval: between looks at what is left of an allowance; 0 is never.
        notify: ``off``, ``desktop``, a URL or a command.
        on_trouble: what becomes of a request whose model fails: for all routes, or by route,
            and under ``named`` for a model that a person named itself.
        on_trouble_floor: ``provider,model``; no request is moved to a model that its owner
            prefers less. Empty for none.
        retry_budget: share of the latest requests that may be sent again.
        silence_ceiling: the longest that a provider may send nothing before it is given up.
        max_tries: models that one request is sent to.
    """

    ccr_version: str = "2.0.0"
    ccr_command: str = ""
    preflight_timeout: Positive = 30.0
    preflight_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    preflight_concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16
    preflight_cache: Seconds = 600.0
    recovery_interval: Positive = 300.0
    recovery_interval_max: Positive = 3600.0
    drain_timeout: Seconds = 600.0
    hold_timeout: Seconds = 30.0
    swap_cooldown: Seconds = 30.0
    swap_limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 6
    trouble_count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    trouble_window: Positive = 60.0
    silence_timeout: Positive = 45.0
    start_timeout: Positive = 30.0
    health_interval: Positive = 5.0
    carry_limit: Bytes = 32 * 1024 * 1024
    ccr_log_limit: Bytes = 64 * 1024 * 1024
    weekly_check: Seconds = 604_800.0
    quota_interval: Seconds = 300.0
    notify: str = "off"
    on_trouble: OnTrouble | dict[str, OnTrouble] = "move"
    on_trouble_floor: str = ""
    retry_budget: Share = 0.2
    silence_ceiling: Positive = 180.0
    max_tries: Annotated[int, msgspec.Meta(ge=1, le=8)] = 3

    def __post_init__(self) -> None:
        if self.on_trouble_floor:
            ModelRef.parse(self.on_trouble_floor)
        if not _VERSION.fullmatch(self.ccr_version):
            raise ValueError("`ccr_version` must be an exact version such as 2.0.0 or 3.1.1")

    def on_trouble_of(self, route: str) -> OnTrouble:
        """What becomes of a request of this route; ``named`` when a person named the model."""
        if isinstance(self.on_trouble, str):
            return self.on_trouble
        return self.on_trouble.get(route, "move")


def load(path: Path, environ: Mapping[str, str], **options: Any) -> Settings:
    """Read the settings.

    Args:
        path: ``synccr.toml``; it need not exist.
        environ: the environment.
        options: from the command line; None means not given.

    Raises:
        UsageError: a wrong name or value; says which one, where, and the nearest right one.
        ConfigError: the file is there and cannot be read.
    """
    layers: list[tuple[str, dict[str, Any]]] = [
        (str(path), _from_file(path)),
        ("the environment", _from_environment(environ)),
        ("the command line", {k: v for k, v in options.items() if v is not None}),
    ]
    values: dict[str, Any] = {}
    for origin, layer in layers:
        for name in layer.keys() - set(Settings.__struct_fields__):
            raise UsageError(
                f"Unknown setting {_spelled(name, origin)} in {origin}.", _suggestion(name, origin)
            )
        for name, value in layer.items():
            try:
                msgspec.convert({name: value}, Settings, strict=origin != "the environment")
            except msgspec.ValidationError as error:
                given = repr(value) if isinstance(value, str | int | float) else "what stands there"
                raise UsageError(
                    f"{_spelled(name, origin)} in {origin} cannot be {given}.", _accepted(name)
                ) from error
        values |= layer
    return msgspec.convert(values, Settings, strict=False)


def origin_of(name: str, path: Path, environ: Mapping[str, str]) -> str:
    """Where the value of a setting comes from, as a predicate; arguments as of ``load``."""
    try:
        file = _from_file(path)
    except (ConfigError, UsageError):  # it could be read when the settings were
        file = {}
    for origin, layer in (("the environment", _from_environment(environ)), (str(path), file)):
        if name in layer:
            return f"is set by {_spelled(name, origin)} in {origin}"
    return "is the default"


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        what = (error.strerror or type(error).__name__).lower()
        raise ConfigError(
            f"{path} cannot be read: {what}.", "Check who owns it and what its mode is."
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Mend it or move it away.") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in _RESERVED and not name.startswith("SYNCCR_TEST_")
    }
    if "=" in found.get("on_trouble", ""):
        pairs = (pair.partition("=") for pair in found["on_trouble"].split(","))
        found["on_trouble"] = {route.strip(): word.strip() for route, _, word in pairs}
    return found


def _spelled(name: str, origin: str) -> str:
    return PREFIX + name.upper() if origin == "the environment" else name


def _suggestion(name: str, origin: str) -> str:
    known = list(get_type_hints(Settings))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {_spelled(close[0], origin)}?"
    return f"Known settings: {', '.join(known)}."


_TAKES = {
    "ccr_version": "an exact version, such as 2.0.0 or 3.1.1",
    "ccr_command": "a command line, such as npx -y @musistudio/claude-code-router@2.0.0",
    "on_trouble": "a word (move, wait or stop), or one for each route (default=move,named=stop)",
    "on_trouble_floor": "a model as provider,model",
}


def _accepted(name: str) -> str:
    """What a setting takes, and what it is when it is not set."""
    field = next(field for field in msgspec.structs.fields(Settings) if field.name == name)
    kind = msgspec.inspect.type_info(field.type)
    match kind:
        case msgspec.inspect.FloatType() if kind.le == 1:
            takes = "a share from 0 to 1"
        case msgspec.inspect.FloatType():
            least = "above 0" if kind.gt == 0 else "from 0"
            takes = f"a number of seconds {least} to {kind.le:.0f}"
        case msgspec.inspect.IntType():
            takes = f"a whole number from {kind.ge} to {kind.le}"
        case _:
            takes = _TAKES.get(name, "a text")
    usual = f"{field.default:g}" if isinstance(field.default, float) else field.default or "none"
    return f"It takes {takes}; without it, it is {usual}."
