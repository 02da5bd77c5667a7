"""Labels and probabilities of images, and images that a network finds similar."""
