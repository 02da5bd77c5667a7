"""Labels and probabilities of images."""
