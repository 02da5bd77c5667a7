"""The options of a run and of every command: types, YAML files, overrides and help."""
