"""Turns: what became of each request of a client, from its first try to its last."""
