"""Predictions of how fast each parallel mode trains, on this machine or on a described cluster."""
