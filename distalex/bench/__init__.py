"""Benchmarks: distalex and its peers measured in turn, each in a process of its own, with a JSON result."""
