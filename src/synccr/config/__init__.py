"""Profiles, in CCR's own format, and what is done to them."""
