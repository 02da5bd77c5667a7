"""Export of a trained network for other programs."""
