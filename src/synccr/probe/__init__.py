"""Preflight: which models serve, and what to use instead of those that do not.

``probe.preflight_run.preflight`` asks (it brings in the transport, so import it where it is
called); what is here is light and pure but for ``ModelRecord``'s file.
"""

from synccr.models.catalog import OfferedModel, alternatives
from synccr.probe.hints import transformer_hint, url_hint
from synccr.probe.record import ModelRecord

__all__ = ["ModelRecord", "OfferedModel", "alternatives", "transformer_hint", "url_hint"]
