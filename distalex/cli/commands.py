"""Every command: its usage, its help, and the call that does its work."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

from distalex.bench.options import BENCHMARKS, options_of_benchmark
from distalex.cli.parse import Request, refuse_words, take_options
from distalex.compare.options import CompareOptions
from distalex.config.config import Config
from distalex.config.describing import describe
from distalex.config.loading import CONFIGS, load_config
from distalex.config.schema import check_key, validate
from distalex.errors import UserError
from distalex.evaluate.options import EvaluateOptions
from distalex.export.options import ExportOptions
from distalex.parallel.topology import Topology, layout
from distalex.plan.options import PlanOptions
from distalex.predict.options import PredictOptions
from distalex.prepare.options import CheckOptions, PrepareOptions, ShowOptions
from distalex.report.options import ReportOptions
from distalex.train.options import DryRunOptions


class Command(NamedTuple):
    usage: str
    purpose: str
    run: Callable[[Request], int]
    help: Callable[[], str]


def _train(request: Request) -> int:
    refuse_words(request, COMMANDS["train"].usage)
    options = dict(request.options)
    dry = {key: options.pop(key) for key in DryRunOptions.model_fields if key in options}
    dry_run = validate(DryRunOptions, dry, dict.fromkeys(dry, "command line"))
    config = load_config(options.pop("config", None), options)
    if dry_run.dry_run:
        return _dry_run(config, dry_run)
    if config.parallel != "auto":
        layout(config.parallel, Topology.from_environment().world_size, config.model.columns)
    from distalex.train.loop import train_until_stopped

    return train_until_stopped(config)


def _dry_run(config: Config, options: DryRunOptions) -> int:
    topology = Topology.from_environment()
    if topology.rank:
        return 0  # rank 0 tells it
    world_size = options.world_size or topology.world_size
    layout(config.parallel if config.parallel != "auto" else "data", world_size, config.model.columns)
    from distalex.plan.cost import classes_of
    from distalex.plan.dry_run import describe_layout

    print(describe_layout(config, world_size, classes_of(config.data)))
    return 0


def _plan(request: Request) -> int:
    refuse_words(request, COMMANDS["plan"].usage)
    for key in request.options:
        check_key(key, "command line", PlanOptions)
    options = validate(PlanOptions, request.options, dict.fromkeys(request.options, "command line"))
    from distalex.plan.work import plan

    plan(options)
    return 0


def _evaluate(request: Request) -> int:
    options = take_options(request, EvaluateOptions, "run")
    from distalex.evaluate.work import evaluate_run

    evaluate_run(options)
    return 0


def _compare(request: Request) -> int:
    options = take_options(request, CompareOptions, "run", "other")
    from distalex.compare.work import compare_runs

    return compare_runs(options)


def _predict(request: Request) -> int:
    if "json" in request.options:
        renamed = {"json_lines" if key == "json" else key: value for key, value in request.options.items()}
        request = request._replace(options=renamed)
    options = take_options(request, PredictOptions, "run", rest="images")
    from distalex.predict.work import predict_run

    predict_run(options)
    return 0


def _export(request: Request) -> int:
    options = take_options(request, ExportOptions, "run")
    from distalex.export.work import export_run

    export_run(options)
    return 0


def _report(request: Request) -> int:
    if not request.words and "runs" not in request.options:
        raise UserError(f"RUN is missing: name a run's folder, or several (usage: {COMMANDS['report'].usage})")
    options = take_options(request, ReportOptions, rest="runs")
    from distalex.report.page import report_runs

    report_runs(options)
    return 0


def _prepare(request: Request) -> int:
    if request.words[:1] == ("check",):
        checked = take_options(request._replace(words=request.words[1:]), CheckOptions, "file")
        from distalex.prepare.work import check

        check(checked)
        return 0
    request = request._replace(words=request.words or ("auto",)) if "source" not in request.options else request
    options = take_options(request, PrepareOptions, "source")
    from distalex.prepare.work import prepare_source

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is half written is taken away
    prepare_source(options)
    return 0


def _show(request: Request) -> int:
    options = dict(request.options)
    own = {key: options.pop(key) for key in ShowOptions.model_fields if key in options}
    _, *files = request.words
    if len(files) > 1 or not all(file.endswith(".beton") for file in files):
        raise UserError(f"{files[-1]}: a stray word; one FILE.beton may follow `show` (usage: {SHOW.usage})")
    if files:
        options = {"data.name": "beton", "data.train": files[0], **options}
    show_options = validate(ShowOptions, own, dict.fromkeys(own, "command line"))
    run = load_config(options.pop("config", None), {**options, "parallel": "none"})
    from distalex.prepare.contact_sheet import show

    show(show_options, run)
    return 0


def _bench(request: Request) -> int:
    what = next(iter(request.words), None)
    kind = options_of_benchmark(what, request.options)
    request = request._replace(words=request.words[1:])
    refuse_words(request, COMMANDS["bench"].usage)
    options = take_options(request, kind)
    bench = getattr(importlib.import_module(f"distalex.bench.{what}"), f"bench_{what}")  # each imports what it needs
    return 1 if bench(options).get("failed") else 0


def _bench_help() -> str:
    return "\n\n".join(f"bench {what}: {kind.__doc__}\n{describe(kind)}" for what, kind in BENCHMARKS.items())


def _train_help() -> str:
    shipped = ", ".join(sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml")))
    return (
        "       torchrun --standalone --nproc_per_node=2 -m distalex.train --parallel=data --config=digits\n\n"
        "Options, with [defaults]; they override those of the file:\n"
        f"  --config=FILE.yaml or one of: {shipped}\n{describe(DryRunOptions)}\n{describe()}"
    )


def _show_help() -> str:
    data = next(section for section in describe().split("\n\n") if section.startswith("data:"))
    return (
        f"{describe(ShowOptions)}\n\nAnd what `train` takes, such as --config=NAME, --seed=N and those below; "
        f"FILE.beton is short for --data.name=beton --data.train=FILE.beton.\n\n{data}"
    )


COMMANDS = {
    "train": Command(
        "python -m distalex.train [--config=NAME] [--OPTION=VALUE …]",
        "Train a network; leaves runs/NAME.",
        _train,
        _train_help,
    ),
    "evaluate": Command(
        "python -m distalex.evaluate RUN [--OPTION=VALUE …]",
        "Exact top-1, top-5, loss and confusion on the test set; on any number of processes.",
        _evaluate,
        lambda: describe(EvaluateOptions),
    ),
    "compare": Command(
        "python -m distalex.compare RUN OTHER [--OPTION=VALUE …]",
        "Two runs side by side: loss curves, evaluations, weights; exit status 1 where they part, and the first step and parameter.",
        _compare,
        lambda: describe(CompareOptions),
    ),
    "predict": Command(
        "python -m distalex.predict RUN [IMAGE …] [--OPTION=VALUE …]",
        "Labels and probabilities of images; with no image, some of the test set beside their actual labels.",
        _predict,
        lambda: describe(PredictOptions),
    ),
    "export": Command(
        "python -m distalex.export RUN --out=FILE.onnx|FILE.pt2|FILE.ts|FILE.safetensors|FILE.pth [--OPTION=VALUE …]",
        "The network for other programs, read back and compared.",
        _export,
        lambda: describe(ExportOptions),
    ),
    "report": Command(
        "python -m distalex.report RUN [RUN …] [--out=FILE.html] [--OPTION=VALUE …]",
        "One self-contained page: curves, confusion, predictions, neighbours, filters, processes; or several runs compared.",
        _report,
        lambda: describe(ReportOptions),
    ),
    "prepare": Command(
        "python -m distalex.prepare [SOURCE] [--root=DIR] [--out=FILE.beton] [--OPTION=VALUE …]\n"
        "       python -m distalex.prepare check FILE.beton",
        "Write images into .beton files, verified and all or nothing. `train` does this by itself for a named data set.",
        _prepare,
        lambda: f"       {SHOW.usage}\n{describe(PrepareOptions)}",
    ),
    "plan": Command(
        "python -m distalex.plan [--machine=this|PRESET|FILE.yaml] [--world_size=N] [--OPTION=VALUE …]",
        "Predict images/s, bytes and memory of every --parallel, here or on a described cluster; the fastest first.",
        _plan,
        lambda: describe(PlanOptions),
    ),
    "bench": Command(
        f"python -m distalex.bench {'|'.join(BENCHMARKS)} [--OPTION=VALUE …]",
        "Benchmarks: distalex and its peers measured in turn, with a JSON result.",
        _bench,
        _bench_help,
    ),
}


SHOW: Command = Command(
    "python -m distalex.prepare show [FILE.beton] [--out=FILE.png] [--config=NAME] [--OPTION=VALUE …]",
    "Draw a contact sheet: stored images with their labels, and what training sees of each in its first epochs.",
    _show,
    _show_help,
)
