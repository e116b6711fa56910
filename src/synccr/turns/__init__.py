"""Turns: what became of each request of a client, from its first attempt to its last."""
