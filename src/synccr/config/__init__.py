"""Profiles, in the form of CCR 2's ``config.json``, and what is done to them."""
