"""An LLM provider on loopback that fails on command: four forms, and every trouble in each."""

from synccr.demo.openai import ListedModel

from .behaviour import Behaviour, Kind, Tools
from .presets import PRESETS, behaviour, status
from .provider import FakeProvider
from .records import ReceivedRequest
from .script import EVERY_MODEL, MODELS_LIST, QUOTAS

__all__ = [
    "EVERY_MODEL",
    "MODELS_LIST",
    "PRESETS",
    "QUOTAS",
    "Behaviour",
    "FakeProvider",
    "Kind",
    "ListedModel",
    "ReceivedRequest",
    "Tools",
    "behaviour",
    "status",
]
