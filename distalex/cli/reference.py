"""The reference of every command's options, made from their fields: `python -m distalex.cli.reference > docs/configuration.md`."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from distalex.bench.options import BENCHMARKS
from distalex.compare.options import CompareOptions
from distalex.config.config import Config
from distalex.config.schema import Section, choices_of, meanings_of, options_of, plain_text
from distalex.evaluate.options import EvaluateOptions
from distalex.export.options import ExportOptions
from distalex.plan.options import PlanOptions
from distalex.predict.options import PredictOptions
from distalex.prepare.options import CheckOptions, PrepareOptions, ShowOptions
from distalex.report.options import ReportOptions
from distalex.train.options import DryRunOptions

COMMANDS: dict[str, type[Section]] = {
    "evaluate": EvaluateOptions,
    "predict": PredictOptions,
    "export": ExportOptions,
    "report": ReportOptions,
    "compare": CompareOptions,
    "prepare": PrepareOptions,
    "prepare check": CheckOptions,
    "prepare show": ShowOptions,
    "plan": PlanOptions,
    **{f"bench {what}": kind for what, kind in BENCHMARKS.items()},
    "train --dry_run": DryRunOptions,
}
HEAD = """# Every option

Made from the fields by `python -m distalex.cli.reference`; `python -m distalex.COMMAND --help` prints the same.

A run takes its options from the defaults, then from `--config=FILE.yaml` or the name of a shipped one (a file may say
`like: NAME`, and is laid over that one), then from the command line, where an option is written `--section.option=value`.
In a file the sections are mappings: `optim: {lr: 0.02}`. Lists are `a,b` or `[a, b]`, mappings `fc8:10,fc7:5`. What is not
an option, or not of its kind, is refused with its file and line before anything starts. Sizes and rates are those of the
whole run, whatever it runs on.
"""


def main() -> None:
    print("\n".join(pages()))


def pages() -> Iterator[str]:
    """Lines of Markdown: the options of a run by section, then those of the other commands."""
    yield HEAD
    yield "## A run: `train`"
    section = None
    for key, field in options_of(Config):
        name = key.rpartition(".")[0]
        if name != section:
            section = name
            if name:
                kind = typing.cast(type, Config.model_fields[name].annotation)
                yield f"\n### `{name}`: {_lower(kind.__doc__ or '')}"
            yield from _table_head()
        yield _row(key, field)
    for command, kind in COMMANDS.items():
        yield f"\n## `{command}`"
        yield from _table_head()
        for key, field in options_of(kind):
            yield _row(key, field)


def _table_head() -> tuple[str, str, str]:
    return "", "| option | default | meaning |", "|---|---|---|"


def _row(key: str, field: typing.Any) -> str:
    default = field.get_default(call_default_factory=True)
    shown = "" if field.is_required() or default in (None, "", (), {}) else f"`{plain_text(default)}`"
    choices = choices_of(field)
    kinds = " · ".join(f"`{choice}`" for choice in choices) + ". " if choices else ""
    declared = " ".join(f"`{name}`: {meaning}" for name, meaning in meanings_of(field).items())
    meaning = " ".join(f"{field.description or ''} {declared}".split())
    return f"| `{key}` | {shown} | {kinds}{meaning} |".replace("|none|", "none").replace("  ", " ")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


if __name__ == "__main__":
    main()
