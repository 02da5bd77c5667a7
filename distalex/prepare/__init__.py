"""Writing images into .beton files."""
