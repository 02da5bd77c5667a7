"""Benchmarks: both sides in turn in one run, each a process of its own, medians and spread into a JSON file."""
