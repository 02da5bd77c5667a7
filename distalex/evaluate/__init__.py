"""Exact evaluation on any number of processes."""
