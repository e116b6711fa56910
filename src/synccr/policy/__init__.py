"""Decide: when to leave a configuration, where to go, when to come back.

Events in, actions out; no I/O, no clock of its own. Start at :mod:`.machine`.
"""
