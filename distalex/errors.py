"""Exceptions that are reported as one line without a traceback, two that the training loop handles, and others' errors in few words."""

LONGEST = 1600
"""Most characters of a message; the middle of a longer one is left out."""


class UserError(ValueError):
    """An error that the user can fix, reported as one line.

    The line names the value, the place and the way out. Characters that cannot be printed are escaped, and a line of more than
    LONGEST characters is shortened in its middle.
    """

    def __init__(self, line: str) -> None:
        line = "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in line)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 400]} … {line[-400:]}")


class Stopped(Exception):
    """Raised on every rank after a stop signal, during training or evaluation."""


class NotFinite(ArithmeticError):
    """The loss of a step is not finite, as all ranks agree; `train.on_nonfinite` decides what follows."""


class TrainingError(RuntimeError):
    """Training cannot continue: one line with the step, the cause and what to try."""


def brief(reason: object, most: int = 200) -> str:
    """Put an error of another library, or any text, into one line of at most `most` characters; an empty one becomes its type's name."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    if len(text) <= most:
        return text
    text = text[: most - 2]
    return f"{text.rpartition(' ')[0] or text} …"
