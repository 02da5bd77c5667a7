"""Keyed crops, flips, colour noise and mixing."""
