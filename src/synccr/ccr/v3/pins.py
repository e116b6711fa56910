"""The versions of CCR 3.x that are known."""

from __future__ import annotations

from collections.abc import Mapping

from synccr.ccr.installation import Pin

PINS: Mapping[str, Pin] = {}
