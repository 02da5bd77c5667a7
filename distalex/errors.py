"""The two exceptions that mean: this line is for the user, and no traceback is."""


class UserError(ValueError):
    """A mistake in what the user gave, found before work starts; one line with the value, the place and the way out."""


class Stopped(Exception):
    """A signal asked for the end in the middle of something that can be done again."""


class NotFinite(ArithmeticError):
    """The loss of a step is not finite, on all ranks' word; what the run does then is configured."""


class TrainingError(RuntimeError):
    """Training cannot go on; one line with the step, the cause and what to try."""
