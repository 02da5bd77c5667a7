"""Processes, their mesh, and how a network is divided among them."""
