"""`python -m distalex.tune`."""

from distalex.cli.main import entry

entry("tune")
