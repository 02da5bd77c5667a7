from distalex.cli import entry

entry("plan")
