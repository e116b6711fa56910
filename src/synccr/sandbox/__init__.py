"""An LLM provider for demonstrations and tests, on loopback, that fails on command."""

from synccr.sandbox.behaviours import (
    EVERY_MODEL,
    MODELS_LIST,
    PRESETS,
    QUOTAS,
    Behaviour,
    Kind,
    Tools,
    status,
)
from synccr.sandbox.dialect import Listed
from synccr.sandbox.provider import Provider, ProviderThread
from synccr.sandbox.records import Record

__all__ = [
    "EVERY_MODEL",
    "MODELS_LIST",
    "PRESETS",
    "QUOTAS",
    "Behaviour",
    "Kind",
    "Listed",
    "Provider",
    "ProviderThread",
    "Record",
    "Tools",
    "status",
]
