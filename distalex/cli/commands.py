"""The table of commands: the options of each, and the function that does its work."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from distalex.bench.options import BENCHMARKS, BenchOptions
from distalex.cli.parse import parse, read_options, read_options_and_config
from distalex.compare.options import CompareOptions
from distalex.config.command import CommandOptions
from distalex.config.describing import describe, describe_sections
from distalex.config.loading import shipped_configs
from distalex.evaluate.options import EvaluateOptions
from distalex.export.options import ExportOptions
from distalex.plan.options import PlanOptions
from distalex.predict.options import PredictOptions
from distalex.prepare.options import CheckOptions, PrepareOptions, ShowOptions
from distalex.report.options import ReportOptions
from distalex.train.options import TrainOptions
from distalex.tune.options import BatchOptions, RateOptions, TuneOptions


class Command(NamedTuple):
    """One command: its options, and where its work is done.

    `work` is `MODULE:FUNCTION` below the package, imported once the options are read, so that `--help` and mistakes need no torch.
    The function takes the options, and the config where the command takes one; an integer that it returns is the exit status.
    """

    options: type[CommandOptions]
    work: str

    @property
    def purpose(self) -> str:
        """What the command does, in one line."""
        return " ".join((self.options.__doc__ or "").split())

    def run(self, arguments: list[str]) -> int:
        """Read the options, then do the work. Returns the exit status. Raises UserError for a mistake in the options."""
        request = parse(arguments)
        given = read_options_and_config(request, self.options) if self.options.sections else (read_options(request, self.options),)
        module, _, function = self.work.partition(":")
        status = getattr(importlib.import_module(f"distalex.{module}"), function)(*given)
        return status if isinstance(status, int) else 0

    def help(self) -> str:
        """The text of `--help`: purpose, usage and every option with its default."""
        usage = self.options.usage.replace("\n", "\n       ")
        parts = [f"{self.purpose}\n\nUsage: {usage}\n\nOptions, with [defaults]:\n{describe(self.options)}"]
        if self.options.sections:
            configs = ", ".join(shipped_configs())
            parts.append(f"  --config=FILE.yaml|NAME\n      A config file, or one of: {configs}.\n      The options below override it.")
            parts.append(describe_sections(self.options.sections))
        return "\n".join(parts)


COMMANDS = {
    "train": Command(TrainOptions, "train.command:train_or_dry_run"),
    "evaluate": Command(EvaluateOptions, "evaluate.work:evaluate_run"),
    "compare": Command(CompareOptions, "compare.work:compare_runs"),
    "predict": Command(PredictOptions, "predict.work:predict_run"),
    "export": Command(ExportOptions, "export.work:export_run"),
    "report": Command(ReportOptions, "report.work:report_runs"),
    "prepare": Command(PrepareOptions, "prepare.work:prepare_command"),
    "prepare check": Command(CheckOptions, "prepare.work:check"),
    "prepare show": Command(ShowOptions, "prepare.contact_sheet:show"),
    "plan": Command(PlanOptions, "plan.work:plan"),
    "tune": Command(TuneOptions, "tune.rate:find_rate"),
    "tune lr": Command(RateOptions, "tune.rate:find_rate"),
    "tune batch": Command(BatchOptions, "tune.batch:find_batch"),
    "bench": Command(BenchOptions, "bench.work:bench"),
    **{f"bench {name}": Command(options, "bench.work:bench") for name, options in BENCHMARKS.items()},
}
"""By name; a name of two words is a form of the command that its first word names."""
