"""FFCV's prepared files: writing, verifying and reading them."""
