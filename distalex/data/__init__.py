"""Images: where they come from (`sources`), the prepared file (`beton`), how they are read (`readers`), in which order (`order`)."""
