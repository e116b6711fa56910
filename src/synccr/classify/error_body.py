"""Reading an error body: the fields that providers use, and what is wrapped inside them.

Shapes met: ``{"error": {"message", "type", "code", "param"}}`` (OpenAI, LiteLLM,
Anthropic), ``{"error": "..."}`` (synthetic.new, Ollama), ``{"detail": ...}``
(FastAPI), ``[{"error": {"status", "details": [...]}}]`` (Gemini), ``{"code": 30001,
"message"}`` (SiliconFlow), another provider's JSON inside a string (OpenRouter's
``metadata.raw``, LiteLLM, gateways), plain text, HTML.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_TEXT_LIMIT = 4096
"""Characters of a body's own words that are read."""
_BEFORE = "\ufeff \t\r\n"
"""What may stand before a body: a byte order mark, blanks."""
_DEPTH = 6
_ITEMS = 5
_TITLE = re.compile(r"<title[^>]*>([^<]{0,200})", re.IGNORECASE)
_CODE_FIELDS = ("type", "code", "status", "reason", "error", "error_code", "quotaId")
_INNER_FIELDS = (
    *("error", "errors", "message", "msg", "detail", "details", "title"),
    *("metadata", "raw", "violations"),
)


@dataclass
class Words:
    """What a body says.

    Attributes:
        codes: code words, lower case, letters and digits only: ``modelnotfound``, ``1113``.
        sentences: for people, in the order found.
        headers: HTTP headers that are repeated in the body, names in lower case.
        http: an HTTP error status inside the body.
        param: the field of the request that is blamed.
        delay: Google's ``retryDelay``.
        html: the body is a page; then only its title was read, because menus of
            pages speak of plans and billing.
        completion: the body is a completion, in any provider's form.
    """

    codes: set[str] = field(default_factory=set)
    sentences: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    http: int | None = None
    param: str = ""
    delay: str = ""
    html: bool = False
    completion: bool = False

    @property
    def text(self) -> str:
        """All sentences, cut at 4096 characters."""
        return " ".join(self.sentences)[:_TEXT_LIMIT]


def read(body: str) -> Words:
    """Take a body apart. Never raises."""
    words = Words()
    if body[:200].lstrip(_BEFORE).startswith("<"):
        words.html = True
        title = _TITLE.search(body[:_TEXT_LIMIT])
        words.sentences.append(title[1] if title else "")
        return words
    document = _json(body)
    if document is None:
        words.sentences.append(body[:_TEXT_LIMIT])
    else:
        words.completion = _is_completion(document)
        _collect(document, words, _DEPTH)
        if failed := failed_choice(document):
            _collect(failed.get("error"), words, _DEPTH)
            if not words.sentences:
                words.sentences.append("the completion ended in an error")
    return words


def failed_choice(document: Any) -> dict[str, Any] | None:
    """The first choice of OpenAI's chat form when it is an error and no completion.

    OpenRouter tells so what its upstream met after the 200 was sent, with the error's own
    code inside (https://openrouter.ai/docs/errors).
    """
    rows = document.get("choices") if isinstance(document, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    if not isinstance(first, dict):
        return None
    return first if first.get("error") or first.get("finish_reason") == "error" else None


def _json(text: str) -> Any:
    try:
        return json.loads(text.lstrip(_BEFORE))
    except (ValueError, RecursionError):
        return None


def _is_completion(document: Any) -> bool:
    """OpenAI chat, Gemini, Anthropic messages or OpenAI responses."""
    if not isinstance(document, dict) or document.get("error") or failed_choice(document):
        return False
    for name in ("choices", "candidates"):
        rows = document.get(name)
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            return True
    if document.get("type") == "message":
        return isinstance(document.get("content"), list)
    return document.get("object") == "response" and isinstance(document.get("output"), list)


def _collect(node: Any, words: Words, depth: int) -> None:
    if depth == 0:
        return
    if isinstance(node, str):
        inner = _json(node) if node.lstrip(_BEFORE)[:1] in {"{", "["} else None
        if isinstance(inner, dict | list):
            _collect(inner, words, depth - 1)
        else:
            words.sentences.append(node[:_TEXT_LIMIT])
    elif isinstance(node, list):
        for item in node[:_ITEMS]:
            _collect(item, words, depth - 1)
    elif isinstance(node, dict):
        _collect_fields(node, words)
        for name in _INNER_FIELDS:
            _collect(node.get(name), words, depth - 1)


def _collect_fields(node: dict[str, Any], words: Words) -> None:
    for name in _CODE_FIELDS:
        value = node.get(name)
        if isinstance(value, str) and " " in value:
            if name not in _INNER_FIELDS:
                words.sentences.append(value[:_TEXT_LIMIT])
        elif isinstance(value, str | int):
            words.codes.add(re.sub(r"[^a-z0-9]", "", str(value)[:100].lower()))
            if isinstance(value, int) and 400 <= value < 600:
                words.http = words.http or value
    words.param = words.param or _blamed(node)
    if isinstance(delay := node.get("retryDelay"), str):
        words.delay = delay
    if "flagged_input" in node:
        words.codes.add("moderation")
    if isinstance(headers := node.get("headers"), dict):
        pairs = list(headers.items())[:50]
        words.headers |= {name.lower(): str(value)[:200] for name, value in pairs}


def _blamed(node: dict[str, Any]) -> str:
    """The request's field at fault: OpenAI's ``param``, FastAPI's ``loc``, Google's violations."""
    param, place = node.get("param"), node.get("loc")
    if isinstance(param, str):
        return "" if param == "None" else param[:100]
    if isinstance(place, list):
        return ".".join(str(name) for name in place[:8] if name != "body")[:100]
    return "body" if node.get("fieldViolations") else ""
