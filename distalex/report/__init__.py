"""Runs as people look at them: one page of HTML that needs nothing else."""
