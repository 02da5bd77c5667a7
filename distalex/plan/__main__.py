"""`python -m distalex.plan`."""

from distalex.cli.main import entry

entry("plan")
