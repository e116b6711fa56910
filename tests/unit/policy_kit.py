"""Histories for the policy: a script of events, the clock between them, and what was done.

A line of a script is ``TIME > EVENT`` (something happens) or ``TIME < ACTION`` (the policy's
answer); the last one is ``= STATE``. ``play`` takes the events, lets time pass as the policy
asked to be woken, and writes down the whole history as it really went; a test compares the two.

Events: ``ready`` ``died`` ``swapped`` ``failed`` (a swap) ``stop`` ``network`` ``silent``
``pin ROLE`` ``edit [ROUTE=MODEL ...]`` (the primary) ``broken`` ``clock SECONDS`` (the wall clock
moves), ``MODEL HTTP BODY [@SECONDS]`` (an error line in CCR's log, written then; several times
with ``xN``), ``probed MODEL=STATUS[!][+SECONDS] ...`` (``!`` the account's trouble, ``+`` when the
provider says it serves again). A model is ``a.main`` for ``a,main``; ``a.?`` names none.
"""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from synccr.config.profile import Local, Profile, Role
from synccr.config.reader import understand
from synccr.heal import heal
from synccr.models.report import ModelRef, Report, Status
from synccr.policy import events as e
from synccr.policy.choice import choose
from synccr.policy.events import Now
from synccr.policy.machine import IllegalTransition, PolicyState, decide, start
from synccr.settings import Settings

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
LOCAL = Local(3456)

BODIES = {
    "on-demand": '{"error": "Your plan doesn\'t cover on-demand models, and there\'s insufficient'
    ' credit balance"}',
    "no-quota": '{"error": "Insufficient quota and token balance: consider upgrading"}',
    "credit": '{"error": {"message": "insufficient credit balance", "type": "billing_error",'
    ' "code": "billing_required"}}',
    "cap": '{"error": "You\'ve exceeded your subscription rate limits. Upgrade, or try later."}',
    "cap-2h": '{"error": "Usage limit reached: daily quota exceeded, try again in 2 hours"}',
    "slow": '{"error": {"message": "Too many requests"}}',
    "slow-30s": '{"error": "Too many requests, try again in 30 seconds"}',
    "slow-2h": '{"error": "Too many requests, try again in 2 hours"}',
    "gone": '{"error": {"message": "The model does not exist", "code": "model_not_found"}}',
    "dead-400": "Model is unavailable",
    "too-long": '{"error": {"message": "prompt too long", "code": "context_length_exceeded"}}',
    "key": '{"error": {"message": "Invalid API key"}}',
    "oops": "Internal server error",
    "page": "<html><head><title>502 Bad Gateway</title></head></html>",
}
"""What providers answer, by a short name."""


def profiles() -> tuple[Profile, Profile]:
    """A primary on ``a,main`` with ``a,long`` for long context, a fallback on ``a,spare``;
    ``b,twin`` of another provider is the fallback's own second choice."""
    return (
        profile("primary", default="a,main", longContext="a,long", fallback="a,spare"),
        profile("fallback", default="a,spare", longContext="a,spare", fallback="b,twin"),
    )


def profile(role: Role, **routes: str) -> Profile:
    """A profile with these routes."""
    providers: list[dict[str, Any]] = [
        {"name": "a", "api_base_url": "https://a.test/v1", "api_key": "k" * 9},
        {"name": "b", "api_base_url": "https://b.test/v1", "api_key": "k" * 9},
    ]
    providers[0]["models"], providers[1]["models"] = ["main", "spare", "long"], ["twin"]
    if role == "primary":
        providers = providers[:1]
    return understand({"Providers": providers, "Router": routes}, role, role, {})


def report(ref: ModelRef, status: Status, at: datetime, **more: Any) -> Report:
    """What a probe found."""
    return Report(provider=ref.provider, model=ref.model, status=status, checked_at=at, **more)


def started(
    settings: Settings,
    primary: Profile,
    fallback: Profile,
    reports: list[Report] | None = None,
    local: Local = LOCAL,
    mono: float = 0.0,
) -> PolicyState:
    """The policy's state before its first backend, all models preflighted."""
    now = Now(mono, DAWN + timedelta(seconds=mono))
    if reports is None:
        models = {*primary.models(), *fallback.models()}
        reports = [report(ref, Status.OK, now.wall) for ref in models]
    known = {r.ref: r for r in reports}
    choice = choose(primary, fallback, known, local, None)
    healed = choice.healed if choice else heal(primary, {}, local)
    return start(settings, primary, fallback, healed, reports, local, now)


@dataclass
class Player:
    """Plays one script."""

    settings: Settings = field(default_factory=Settings)
    wall_offset: float = 0.0
    mono: float = 0.0
    lines: list[str] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.primary, self.fallback = profiles()
        self.state = started(self.settings, self.primary, self.fallback)

    @property
    def now(self) -> Now:
        return Now(self.mono, DAWN + timedelta(seconds=self.mono + self.wall_offset))

    def play(self, script: str) -> str:
        """The history as it went."""
        for line in script.splitlines():
            time, _, text = line.strip().partition(" > ")
            if text:
                self._let_pass(float(time))
                self.mono = max(self.mono, float(time))
                self.lines.append(f"{time} > {text}")
                self._happen(text)
        self.lines.append(f"= {_state(self.state)}")
        return "\n".join(self.lines)

    def _let_pass(self, until: float) -> None:
        while self.wakes and self.wakes[0] < until:
            self.mono = max(self.mono, heapq.heappop(self.wakes))
            self.wakes.clear()
            self._decide(e.WokeUp())

    def _happen(self, text: str) -> None:
        verb, *words = text.split()
        if verb == "clock":
            self.wall_offset += float(words[0])
            return
        times = 1
        if words and (many := re.fullmatch(r"x(\d+)", words[-1])):
            times = int(many[1])
            words.pop()
        for _ in range(times):
            self._decide(self._event(verb, words))

    def _event(self, verb: str, words: list[str]) -> e.PolicyEvent:
        match verb:
            case "ready":
                return e.BackendReady()
            case "died":
                return e.BackendDied("exit code 1")
            case "swapped":
                return e.SwapDone()
            case "failed":
                return e.SwapFailed("it did not come up")
            case "stop":
                return e.StopAsked()
            case "network":
                return e.NetworkFailed("fetch failed")
            case "silent":
                return e.UpstreamSilent()
            case "wake":
                return e.WokeUp()
            case "pin":
                return e.SwapAsked("primary" if words[0] == "primary" else "fallback")
            case "edit":
                routes = dict(word.replace(".", ",", 1).split("=") for word in words)
                named = {n: str(r) for n, r in self.state.primary.routes.items()}
                edited = profile("primary", **named | routes)
                return e.ProfilesRead(edited, self.state.fallback)
            case "probed":
                return e.Probed(tuple(self._report(word) for word in words))
        return self._failure(verb, words)

    def _report(self, word: str) -> Report:
        name, _, found = word.partition("=")
        found, _, seconds = found.partition("+")
        retry_at = self.now.wall + timedelta(seconds=float(seconds)) if seconds else None
        status = Status(found.rstrip("!"))
        account = found.endswith("!")
        return report(_ref(name), status, self.now.wall, account=account, retry_at=retry_at)

    def _failure(self, name: str, words: list[str]) -> e.ProviderFailed:
        ref = _ref(name)
        ago = float(words[2].removeprefix("@")) if len(words) > 2 else 0.0
        at = self.now.wall + timedelta(seconds=ago)
        model = None if ref.model == "?" else ref.model
        return e.ProviderFailed(ref.provider, model, int(words[0]), BODIES[words[1]], at)

    def _decide(self, event: e.PolicyEvent) -> None:
        try:
            self.state, actions = decide(self.state, event, self.now)
        except IllegalTransition as error:
            self.lines.append(f"{self.mono:g} ! {error}")
            return
        for action in actions:
            if isinstance(action, e.WakeAt):
                self.wakes[:] = [action.mono]
            else:
                self.lines.append(f"{self.mono:g} < {_action(action)}")


def _ref(name: str) -> ModelRef:
    provider, _, model = name.partition(".")
    return ModelRef(provider, model)


def _name(ref: ModelRef) -> str:
    return f"{ref.provider}.{ref.model}"


def _action(action: e.PolicyAction) -> str:
    match action:
        case e.Probe(refs):
            return " ".join(["probe", *map(_name, refs)])
        case e.Swap(to, reason, because):
            cause = f"{reason} of {_name(because)}" if because else reason
            return f"swap to {_configuration(to)}: {cause}"
        case e.Restart():
            return "restart"
        case e.Tell(kind, text, _, notify):
            name = re.match(r"(?:Provider )?\S+", text)
            subject = f" {name[0].replace(',', '.', 1)}" if name and " is away" in text else ""
            status = re.search(r"is away \((\w+)", text)
            subject += f" {status[1]}" if status else ""
            subject += f" {name[0].replace(',', '.', 1)}" if name and "serves again" in text else ""
            return f"{'notify' if notify else 'tell'} {kind}{subject}"
    raise AssertionError(action)


def _configuration(healed: Any) -> str:
    default, long = healed.scenario("default"), healed.scenario("longContext")
    long_too = "" if long == default else f" (long {_name(long)})"
    return f"{healed.profile.role} on {_name(default)}{long_too}"


def _state(state: PolicyState) -> str:
    word = f"{state.phase} {_configuration(state.current)}"
    word += ", degraded" if state.degraded else ""
    return word + (f", pinned {state.pinned}" if state.pinned else "")
