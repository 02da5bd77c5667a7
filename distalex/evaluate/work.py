"""`python -m distalex.evaluate RUN`."""

from __future__ import annotations

import json

from torch import Tensor

from distalex.console import Console
from distalex.evaluate.evaluation import Evaluation, evaluate
from distalex.evaluate.options import EvaluateOptions
from distalex.files import write_atomically
from distalex.parallel.parallelize import parallelize
from distalex.parallel.start import start_processes
from distalex.parallel.topology import Topology, layout
from distalex.runs.trained import load_trained, open_data_of


def evaluate_run(options: EvaluateOptions) -> Evaluation:
    """`python -m distalex.evaluate RUN`: print, and leave in the run's folder, what its network does on the test set."""
    trained = load_trained(options.run, options.runs_dir)
    base = trained.config.model_copy(update={"parallel": options.parallel, "device": options.device})
    if options.parallel != "auto":
        layout(options.parallel, Topology.from_environment().world_size, base.model.columns, f"evaluate {options.run}")
    with start_processes(base) as mesh:
        console = Console(mesh.is_first)
        forward = parallelize(trained.net, trained.config.train, mesh, trains=False)
        train = trained.config.train
        batch_size = options.batch_size or train.eval_batch_size or train.batch_size
        data = open_data_of(trained, options.data_root, batch_size, mesh, console)
        result = evaluate(forward, data.test, mesh, train, options.ten_crop)
        console.say(f"{trained.path} on the {data.test.count:,} {data.tested_on} images of {trained.config.data.name}")
        counted = f"{result.count:,} images{', ten views' * options.ten_crop}"
        console.say(f"top-1 {result.top1:.2f} %  top-5 {result.top5:.2f} %  loss {result.loss:.4f}  ({counted})")
        if mesh.is_first:
            report = {
                **result.numbers(),
                "views": "ten views" if options.ten_crop else "centre view",
                "checkpoint": trained.path.name,
                "classes": trained.classes,
                "confusion": result.confusion.tolist(),
            }
            if trained.path.parent.name == "checkpoints":
                write_atomically(trained.path.parent.parent / "evaluation.json", json.dumps(report).encode())
            if len(trained.classes) <= 20:
                console.say(confusion_table(result.confusion, trained.classes))
    return result


def confusion_table(confusion: Tensor, classes: tuple[str, ...]) -> str:
    """Rows are the actual class, columns the predicted one, in the same order."""
    width = max(len(name) for name in classes)
    cell = max(5, len(str(int(confusion.max()))) + 1)
    lines = [" " * width + "".join(f"{name[: cell - 1]:>{cell}}" for name in classes)]
    lines += [
        f"{name:<{width}}" + "".join(f"{count:>{cell}}" for count in row) for name, row in zip(classes, confusion.tolist(), strict=True)
    ]
    return "actual (rows) against predicted (columns):\n" + "\n".join(lines)
