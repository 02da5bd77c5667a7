"""The commands. Everything is checked here before anything heavy is imported and before any work starts.

Fire turns the command line into words and options, all of them text; the typed configuration reads their values.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from distalex import __version__
from distalex.config import config
from distalex.errors import TrainingError, UserError
from distalex.parallel.topology import Topology, layout

STDIN = "standard input"
"""What a lone dash is while Fire, to which it ends a call, reads the words."""


class Request(NamedTuple):
    """A command line, taken apart."""

    words: tuple[str, ...]
    options: dict[str, str]


class Command(NamedTuple):
    usage: str
    purpose: str
    run: Callable[[Request], int]
    help: Callable[[], str]


def entry(command: str | None = None) -> None:
    """Run `command`, or the one that the first argument names, and exit with its status."""
    try:
        status = main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])
    except SystemExit as leaving:  # of a signal's handler
        status = int(leaving.code or 0)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        _leave(status)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """End this process without taking the interpreter down.

    A thread of gloo that lets go of a tensor just then ends it with "terminate called" and SIGABRT instead (pytorch#190489).
    """
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # of a pipe that nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 our fault, failed training or runs that part, 2 the user's mistake, 128 + a signal."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"distalex {__version__}")
        return 0
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise UserError(f"{name}: no such command{config._nearest(name, list(COMMANDS))}; there are {', '.join(COMMANDS)}")
        command = SHOW if name == "prepare" and rest[:1] == ["show"] else COMMANDS[name]
        if "--help" in rest or "-h" in rest:
            print(f"{command.purpose}\n\nUsage: {command.usage}\n{command.help()}")
            return 0
        status = command.run(parse(rest))
        if status > 128:
            _tell_torchrun(f"distalex {name}: ended by {signal.Signals(status - 128).name}, after what there was to save was saved")
        return status
    except (UserError, TrainingError) as error:
        _complain(f"distalex {name}: {error}")
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if _lost_a_peer(error):
            _complain(f"distalex {name}: another process of this job has ended; its own message says why", later=60)
        else:
            traceback.print_exc()
            _tell_torchrun(traceback.format_exc())
        return 1


def _lost_a_peer(error: Exception) -> bool:
    """Whether a collective failed because a process at its other end is gone."""
    words = ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "socket closed")
    return os.environ.get("WORLD_SIZE", "1") != "1" and any(word in str(error).lower() for word in words)


def _complain(line: str, later: int = 0) -> None:
    """One line on stderr. Every process of a torchrun job makes the same mistake, and rank 0 tells it."""
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        line = f"[rank {rank}] {line}"
    _tell_torchrun(line, later)
    if rank != "0":
        time.sleep(2.0)  # where rank 0 is wrong too, torchrun ends this process meanwhile
    print(line, file=sys.stderr, flush=True)


def _tell_torchrun(cause: str, later: int = 0) -> None:
    """Leave the cause where torchrun looks for it: its report, which it prints last, ends with the failure of the earliest time.

    `later`, in seconds, is for the consequence of another process's failure. The format is that of
    `torch.distributed.elastic.multiprocessing.errors.ErrorHandler`, for which PyTorch need not be imported.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        extra = {"py_callstack": cause, "timestamp": str(int(time.time()) + later)}
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": cause, "extraInfo": extra}}, file)


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


def _no_words(request: Request, usage: str) -> None:
    if request.words:
        raise UserError(f"{request.words[0]}: a stray word; options look like --optim.lr=0.01 (usage: {usage})")


def _take(request: Request, kind: type[config.SectionType], *positionals: str, rest: str | None = None) -> config.SectionType:
    """Options of a command whose first words are `positionals` and whose further words, if any may follow, are `rest`."""
    for key in request.options:
        config.check_key(key, "command line", kind)
    values: dict[str, object] = dict(request.options)
    words = list(request.words)
    for positional in positionals:
        if words and positional not in values:
            values[positional] = words.pop(0)
        if positional not in values:
            field = kind.model_fields[positional]
            choices = config._choices(field.annotation)
            wanted = f"one of {', '.join(choices)}" if choices else f"name {field.description or positional}"
            raise UserError(f"{positional.upper()} is missing: {wanted}")
    if words and rest is None:
        raise UserError(f"{words[0]}: a stray word after {values[positionals[-1]]}; options look like --name=value")
    if rest is not None and words:
        values[rest] = tuple(words)
    return config.validate(kind, values, dict.fromkeys(values, "command line"))


def _train(request: Request) -> int:
    _no_words(request, COMMANDS["train"].usage)
    options = dict(request.options)
    dry = {key: options.pop(key) for key in config.DryRunOptions.model_fields if key in options}
    dry_run = config.validate(config.DryRunOptions, dry, dict.fromkeys(dry, "command line"))
    configuration = config.load(options.pop("config", None), options)
    if dry_run.dry_run:
        return _dry_run(configuration, dry_run)
    if configuration.parallel != "auto":
        layout(configuration.parallel, Topology.from_environment().world_size, configuration.model.columns)
    from distalex.train.loop import train_until_stopped

    return train_until_stopped(configuration)


def _dry_run(configuration: config.Config, options: config.DryRunOptions) -> int:
    topology = Topology.from_environment()
    if topology.rank:
        return 0  # rank 0 tells it
    world_size = options.world_size or topology.world_size
    layout(configuration.parallel if configuration.parallel != "auto" else "data", world_size, configuration.model.columns)
    from distalex.plan.cost import classes_of
    from distalex.plan.show import describe_layout

    print(describe_layout(configuration, world_size, classes_of(configuration)))
    return 0


def _plan(request: Request) -> int:
    _no_words(request, COMMANDS["plan"].usage)
    for key in request.options:
        config.check_key(key, "command line", config.PlanOptions)
    options = config.validate(config.PlanOptions, request.options, dict.fromkeys(request.options, "command line"))
    from distalex.plan.show import plan

    plan(options)
    return 0


def _evaluate(request: Request) -> int:
    options = _take(request, config.EvaluateOptions, "run")
    from distalex.evaluate.evaluation import evaluate_run

    evaluate_run(options)
    return 0


def _compare(request: Request) -> int:
    options = _take(request, config.CompareOptions, "run", "other")
    from distalex.compare.work import compare_runs

    return compare_runs(options)


def _predict(request: Request) -> int:
    if "json" in request.options:
        renamed = {"json_lines" if key == "json" else key: value for key, value in request.options.items()}
        request = request._replace(options=renamed)
    options = _take(request, config.PredictOptions, "run", rest="images")
    from distalex.predict.work import predict_run

    predict_run(options)
    return 0


def _export(request: Request) -> int:
    options = _take(request, config.ExportOptions, "run")
    from distalex.export.work import export_run

    export_run(options)
    return 0


def _report(request: Request) -> int:
    if not request.words and "runs" not in request.options:
        raise UserError(f"RUN is missing: name a run's folder, or several (usage: {COMMANDS['report'].usage})")
    options = _take(request, config.ReportOptions, rest="runs")
    from distalex.report.page import report_runs

    report_runs(options)
    return 0


def _prepare(request: Request) -> int:
    if request.words[:1] == ("check",):
        checked = _take(request._replace(words=request.words[1:]), config.CheckOptions, "file")
        from distalex.prepare.work import check

        check(checked)
        return 0
    request = request._replace(words=request.words or ("auto",)) if "source" not in request.options else request
    options = _take(request, config.PrepareOptions, "source")
    from distalex.prepare.work import prepare_source

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is half written is taken away
    prepare_source(options)
    return 0


def _show(request: Request) -> int:
    options = dict(request.options)
    own = {key: options.pop(key) for key in config.ShowOptions.model_fields if key in options}
    _, *files = request.words
    if len(files) > 1 or not all(file.endswith(".beton") for file in files):
        raise UserError(f"{files[-1]}: a stray word; one FILE.beton may follow `show` (usage: {SHOW.usage})")
    if files:
        options = {"data.name": "beton", "data.train": files[0], **options}
    show_options = config.validate(config.ShowOptions, own, dict.fromkeys(own, "command line"))
    run = config.load(options.pop("config", None), {**options, "parallel": "none"})
    from distalex.prepare.contact_sheet import show

    show(show_options, run)
    return 0


def _bench(request: Request) -> int:
    options = _take(request, config.BenchOptions, "what")
    bench = getattr(importlib.import_module(f"distalex.bench.{options.what}"), f"bench_{options.what}")  # each brings what it needs
    return 1 if bench(options).get("failed") else 0


def _train_help() -> str:
    shipped = ", ".join(sorted(str(path.relative_to(config.CONFIGS).with_suffix("")) for path in config.CONFIGS.rglob("*.yaml")))
    return (
        "       torchrun --standalone --nproc_per_node=2 -m distalex.train --parallel=data --config=digits\n\n"
        "Options, with [defaults]; they override those of the file:\n"
        f"  --config=FILE.yaml or one of: {shipped}\n{config.describe(config.DryRunOptions)}\n{config.describe()}"
    )


def _show_help() -> str:
    data = next(section for section in config.describe().split("\n\n") if section.startswith("data:"))
    return (
        f"{config.describe(config.ShowOptions)}\n\nAnd what `train` takes, such as --config=NAME, --seed=N and those below; "
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
        lambda: config.describe(config.EvaluateOptions),
    ),
    "compare": Command(
        "python -m distalex.compare RUN OTHER [--OPTION=VALUE …]",
        "Two runs side by side: loss curves, evaluations, weights; exit status 1 where they part, and the first step and parameter.",
        _compare,
        lambda: config.describe(config.CompareOptions),
    ),
    "predict": Command(
        "python -m distalex.predict RUN [IMAGE …] [--OPTION=VALUE …]",
        "Labels and probabilities of pictures; with no picture, some of the test set beside their actual labels.",
        _predict,
        lambda: config.describe(config.PredictOptions),
    ),
    "export": Command(
        "python -m distalex.export RUN --out=FILE.onnx|FILE.pt2|FILE.ts|FILE.safetensors|FILE.pth [--OPTION=VALUE …]",
        "The network for other programs, read back and compared.",
        _export,
        lambda: config.describe(config.ExportOptions),
    ),
    "report": Command(
        "python -m distalex.report RUN [RUN …] [--out=FILE.html] [--OPTION=VALUE …]",
        "One self-contained page: curves, confusion, predictions, neighbours, filters, processes; or several runs compared.",
        _report,
        lambda: config.describe(config.ReportOptions),
    ),
    "prepare": Command(
        "python -m distalex.prepare [SOURCE] [--root=DIR] [--out=FILE.beton] [--OPTION=VALUE …]\n"
        "       python -m distalex.prepare check FILE.beton",
        "Write pictures into .beton files, verified and all or nothing. `train` does this by itself for a named data set.",
        _prepare,
        lambda: f"       {SHOW.usage}\n{config.describe(config.PrepareOptions)}",
    ),
    "plan": Command(
        "python -m distalex.plan [--machine=this|PRESET|FILE.yaml] [--world_size=N] [--OPTION=VALUE …]",
        "Predict images/s, bytes and memory of every --parallel, here or on a described cluster; the fastest first.",
        _plan,
        lambda: config.describe(config.PlanOptions),
    ),
    "bench": Command(
        "python -m distalex.bench plain|parallel|loader|lrn|accuracy|faults|soak|all [--OPTION=VALUE …]",
        "Benchmarks, all sides in turn in one run, with a JSON result.",
        _bench,
        lambda: config.describe(config.BenchOptions),
    ),
}


SHOW: Command = Command(
    "python -m distalex.prepare show [FILE.beton] [--out=FILE.png] [--config=NAME] [--OPTION=VALUE …]",
    "Draw a contact sheet: stored pictures with their labels, and what training sees of each in its first epochs.",
    _show,
    _show_help,
)


def overview() -> str:
    lines = [f"distalex {__version__}: AlexNet on one to many devices\n", "Commands (each has --help):"]
    lines += [f"  {name:<9} {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "\nStart with: python -m distalex.train --config=digits"])
