"""`python -m distalex.bench`."""

from distalex.cli.main import entry

entry("bench")
