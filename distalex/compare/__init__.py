"""Comparison of two runs or checkpoints."""
