from distalex.cli import entry

entry("bench")
