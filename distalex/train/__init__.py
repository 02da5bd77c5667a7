"""Training: the loop, its state, and what is logged."""
