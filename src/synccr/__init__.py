"""synccr: Claude Code Router, supervised."""

__version__ = "0.1.0"
