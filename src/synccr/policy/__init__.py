"""Decide: when to leave a configuration, where to go, when to come back. No I/O, no clock.

**A function of state and event.** ``decide(state, event, now) -> (state, actions)`` in
:mod:`.machine` is the only way in. The loop of the supervisor posts events, one at a time, and
carries out the actions; nothing else changes the state.

*Events* (:mod:`.events`): how a request to a provider went, as the egress saw it, or, of a CCR that
could not be led there, as its log tells; the answers of probes; what became of a backend and of
a swap; edited profiles, a person's commands; time.

*State* (:mod:`.state`): what is known of each model (:mod:`.model_health`), what runs, the phase.
``TRANSITIONS`` names every phase that may follow a phase on an event, ``MODEL_TRANSITIONS`` in
:mod:`.availability` the same for one model; an event that has no place in a phase changes nothing.

**Observe, then plan.** Each event is first *observed* (:mod:`.observe`): the state knows more, and
nothing is decided. Then one function *plans* (:mod:`.plan`) from all that is known: probes that are
due, a restart that is due, a swap if another configuration is better now, the next wake-up.
It is the same one after every event, so that no order of events can leave something undone.

Between events three views of the state answer at once, for each request:

- :mod:`.breaker`: may this model be asked? *closed* while it is available, *open* while not,
  *half-open* while it returns: then one session tries it.
- :mod:`.route_plan`: which models serve a scenario, best first; who is next after a failure.
- :func:`.observe_traffic.wants`: is it news that a request went well?

An open breaker moves requests at once. The *swap* to another configuration follows: the one whose
models stand earliest in the owner's order (:mod:`.choice`).

**What is believed.** Traffic that fails is stronger evidence than a probe that passes. A fatal
status (billing, missing, refused key, spent quota) counts at once, a passing trouble when it
persists (:mod:`.outcomes`). What a model says of its account makes the others of the account be
asked, never be left.

**What is never done**

- a model is left for the words of a prompt: what a prompt can write leads to a probe at most;
- a route is moved to a model that is known to be unavailable, or to one in doubt before it
  was asked;
- a configuration that serves is left within the cooldown, or more often than ``swap_limit``
  in its window, but for a person's wish;
- one model is probed twice at a time, or more than a few times within ``recovery_interval``;
- the last configuration is given up: when nothing serves, CCR stays up, a person is told
  once, and probing goes on.
"""
