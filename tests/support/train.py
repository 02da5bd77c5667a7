"""Training in this process."""

from support.runs import options

from distalex.cli.main import main


def train(**changes):
    return main(["train", *options(**changes)])
