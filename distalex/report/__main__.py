from distalex.cli import entry

entry("report")
