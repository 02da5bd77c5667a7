"""The two exceptions that mean: this line is for the user, and no traceback is."""

LONGEST = 1600  # characters of a line


class UserError(ValueError):
    """A mistake in what the user gave, found before work starts; one line with the value, the place and the way out.

    What stood in a value and is no printable character is escaped, and the middle of an endless one left out.
    """

    def __init__(self, line: str) -> None:
        line = "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in line)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 400]} … {line[-400:]}")


class Stopped(Exception):
    """A signal asked for the end in the middle of something that can be done again."""


class NotFinite(ArithmeticError):
    """The loss of a step is not finite, on all ranks' word; what the run does then is configured."""


class TrainingError(RuntimeError):
    """Training cannot go on; one line with the step, the cause and what to try."""
