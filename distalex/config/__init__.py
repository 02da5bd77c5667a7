"""What a run is asked to do: typed options, YAML files, overrides, help."""
