"""The command line taken apart by Fire into words and options, all of them text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distalex.config.schema import SectionType, check_key, choices_of, validate
from distalex.errors import UserError

STDIN = "standard input"
"""What a lone dash is while Fire, to which it ends a call, reads the words."""


class Request(NamedTuple):
    """A command line, taken apart."""

    words: tuple[str, ...]
    options: dict[str, str]


def parse(arguments: Sequence[str]) -> Request:
    """Words and options as text. Raises UserError for what is neither."""
    import fire
    from fire.decorators import SetParseFn

    for argument in arguments:
        if argument == "-":
            continue
        if argument.startswith("-") and (argument == "--" or not argument.lstrip("-")[:1].isalpha()):
            raise UserError(f"{argument}: not an option; options look like --optim.lr=0.01")
        if argument.startswith("-") and not argument.startswith("--"):
            raise UserError(f"{argument}: options have two dashes, e.g. -{argument}")

    @SetParseFn(str)
    def request(*words: str, **options: str) -> Request:
        return Request(tuple("-" if word == STDIN else word for word in words), options)

    # Fire takes dashes in names for underscores, and a lone option for a switch: --train.compile is true.
    words = [STDIN if argument == "-" else argument for argument in arguments]
    return fire.Fire(request, command=words, name="distalex", serialize=lambda _: None)


def refuse_words(request: Request, usage: str) -> None:
    if request.words:
        raise UserError(f"{request.words[0]}: a stray word; options look like --optim.lr=0.01 (usage: {usage})")


def take_options(request: Request, kind: type[SectionType], *positionals: str, rest: str | None = None) -> SectionType:
    """Options of a command whose first words are `positionals` and whose further words, if any may follow, are `rest`."""
    for key in request.options:
        check_key(key, "command line", kind)
    values: dict[str, object] = dict(request.options)
    words = list(request.words)
    for positional in positionals:
        if words and positional not in values:
            values[positional] = words.pop(0)
        if positional not in values:
            field = kind.model_fields[positional]
            choices = choices_of(field)
            wanted = f"one of {', '.join(choices)}" if choices else f"name {field.description or positional}"
            raise UserError(f"{positional.upper()} is missing: {wanted}")
    if words and rest is None:
        raise UserError(f"{words[0]}: a stray word after {values[positionals[-1]]}; options look like --name=value")
    if rest is not None and words:
        values[rest] = tuple(words)
    return validate(kind, values, dict.fromkeys(values, "command line"))
