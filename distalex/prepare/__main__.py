"""`python -m distalex.prepare`: write images into prepared files, check these, and draw augmented images."""

from distalex.cli.main import entry

entry("prepare")
