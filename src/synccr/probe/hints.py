"""What is odd in how a provider is written down, and the nearest right thing."""

from __future__ import annotations

import difflib
from urllib.parse import urlsplit, urlunsplit

from synccr.config.profile import Provider
from synccr.probe.dialects import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    SHARED_TRANSFORMERS,
    TRANSFORMERS,
    ProbeDialect,
    dialect_of,
    used,
)

_KNOWN: dict[tuple[str, ProbeDialect], str] = {
    ("api.synthetic.new", CHAT): "/openai/v1/chat/completions",
    ("api.synthetic.new", MESSAGES): "/anthropic/v1/messages",
    ("api.groq.com", CHAT): "/openai/v1/chat/completions",
    ("openrouter.ai", CHAT): "/api/v1/chat/completions",
    ("api.deepseek.com", CHAT): "/chat/completions",
    ("api.deepseek.com", MESSAGES): "/anthropic/v1/messages",
    ("generativelanguage.googleapis.com", CHAT): "/v1beta/openai/chat/completions",
    ("dashscope.aliyuncs.com", CHAT): "/compatible-mode/v1/chat/completions",
}
"""Paths of providers that are not the usual ones, from their documentation."""

_LAST_WORDS = ("chat", "completions", "messages", "responses", "models")
_BASES = frozenset({"api", "openai", "anthropic"})


def url_hint(provider: Provider) -> str | None:
    """The nearest right address when ``api_base_url`` lacks its path, else None.

    CCR posts to ``api_base_url`` as it stands and adds no path. A path that ends as its
    form should, or that resembles nothing known (a gateway's own), gets no hint.
    """
    dialect = dialect_of(provider)
    try:
        parts = urlsplit(provider.url)
    except ValueError:
        return None
    if dialect is None or not parts.hostname or _form_of(parts.path) not in {None, CHAT}:
        return None
    path = _right_path(dialect, parts.hostname, parts.path)
    return None if path is None else urlunsplit(parts._replace(path=path))


def _right_path(dialect: ProbeDialect, host: str, path: str) -> str | None:
    if path.endswith(dialect.ending):
        return None
    segments = [segment for segment in path.split("/") if segment]
    whole = len(segments)
    while segments and difflib.get_close_matches(segments[-1], _LAST_WORDS, n=1, cutoff=0.75):
        segments.pop()
    versioned = any(_is_version(segment) for segment in segments)
    is_base = _BASES.issuperset(segments)
    if len(segments) == whole and not (is_base or _is_version(segments[-1])):
        return None
    if known := _KNOWN.get((host, dialect)):
        return known
    if is_base and not versioned:
        segments.append("v1beta" if dialect is GEMINI else "v1")
    return "".join(f"/{segment}" for segment in segments) + dialect.ending


def _is_version(segment: str) -> bool:
    return segment[:1] == "v" and segment[1:2].isdigit() and len(segment) <= 8


def _form_of(path: str) -> ProbeDialect | None:
    """The form that an address is made for."""
    return next((d for d in (CHAT, MESSAGES, RESPONSES, GEMINI) if path.endswith(d.ending)), None)


def transformer_hint(provider: Provider) -> str | None:
    """One sentence when CCR does not do what the transformer section seems to ask for."""
    entries = used(provider.transformer)
    for entry in entries:
        if entry.options and entry.name in SHARED_TRANSFORMERS:
            return (
                f'CCR drops the provider {provider.name}, because "{entry.name}" takes no '
                f'options; write "{entry.name}" alone.'
            )
        same = [name for name in TRANSFORMERS if name.lower() == entry.name.lower()]
        if same and entry.name not in same:
            return f'CCR knows no transformer "{entry.name}"; write "{same[0]}".'
    names = [entry.name for entry in entries if entry.name in TRANSFORMERS]
    if "Anthropic" in names and len(names) > 1:
        return 'CCR heeds "Anthropic" only when it is the one transformer; take the others out.'
    form = _form_of(provider.url.partition("?")[0])
    if form not in {None, CHAT} and dialect_of(provider) is CHAT:
        wanted = form.transformer if form else ""
        return (
            "CCR sends OpenAI's chat form to this address; "
            f'write "transformer": {{"use": ["{wanted}"]}}.'
        )
    return None
