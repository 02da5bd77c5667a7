"""Trials that suggest a learning rate and a batch size."""
