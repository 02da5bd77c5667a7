"""`python -m distalex.evaluate RUN`."""

from __future__ import annotations

import json
import math
from functools import partial

from torch import Tensor

from distalex.console import Console, aligned, note, shortened
from distalex.errors import TrainingError
from distalex.evaluate.by_class import ClassScores, score_classes
from distalex.evaluate.evaluation import Evaluation, evaluate
from distalex.evaluate.options import EvaluateOptions
from distalex.files import refuse_unwritable, write_atomically
from distalex.parallel.agreement import facts_of
from distalex.parallel.parallelize import parallelize
from distalex.parallel.start import start_processes
from distalex.parallel.topology import Topology, layout
from distalex.runs.trained import Trained, open_data_of, open_trained

LARGEST_TABLE = 20
"""Most classes whose confusion is printed."""


def evaluate_run(options: EvaluateOptions) -> Evaluation:
    """Evaluate a run's network on its test or training images; print the result and write it into the run's folder.

    Raises UserError where the run or its data are missing, or the processes do not fit `--parallel`, and TrainingError where the loss
    is not finite.
    """
    trained = open_trained(options.run, options.runs_dir, note)
    train, columns = trained.config.train, trained.config.model.columns
    if options.parallel != "auto":  # refuses a wrong number of processes, with a call of this command that works
        layout(
            options.parallel,
            Topology.from_environment().world_size,
            columns,
            f"evaluate {options.run or ''}".strip(),
        )
    facts = partial(facts_of, trained.config)
    with start_processes(options.parallel, columns, options.device, train.threads, train.deterministic, facts=facts) as mesh:
        console = Console(mesh.is_first)
        forward = parallelize(trained.net, train, mesh, trains=False)
        batch_size = options.batch_size or train.eval_batch_size or train.batch_size
        data = open_data_of(trained, options, batch_size, mesh, console, options.split)
        split, kind = (data.test, data.tested_on) if options.split == "test" else (data.train, "training")
        result = evaluate(forward, split, mesh, train.mirror_test, options.ten_crop)
        console.say(f"{trained.path} on the {split.count:,} {kind} images of {trained.config.data.name}")
        console.say(result.describe(", ten crops each" if options.ten_crop else ""))
        if not math.isfinite(result.loss):
            raise TrainingError(f"{trained.path}: the loss on these images is not finite; use an earlier checkpoint")
        scores = score_classes(result.confusion, trained.classes)
        console.say(scores.describe())
        if options.by_class:
            console.say(scores.table())
        if len(trained.classes) <= LARGEST_TABLE:
            console.say(confusion_table(result.confusion, trained.classes))
        if mesh.is_first:
            _write(result, scores, trained, options)
    return result


def _write(result: Evaluation, scores: ClassScores, trained: Trained, options: EvaluateOptions) -> None:
    """Write evaluation.json, or evaluation-train.json of training images, where the checkpoint lies in a run's folder.

    Raises UserError where that is not possible.
    """
    if trained.path.parent.name == "checkpoints":
        content = {
            **result.numbers(),
            **scores.numbers(),
            "crops": "ten" if options.ten_crop else "centre",
            "checkpoint": trained.path.name,
            "classes": trained.classes,
            "confusion": result.confusion.tolist(),
        }
        path = trained.path.parent.parent / ("evaluation.json" if options.split == "test" else "evaluation-train.json")
        with refuse_unwritable(path, way_out="the result is printed above"):
            write_atomically(path, json.dumps(content).encode())


def confusion_table(confusion: Tensor, classes: tuple[str, ...]) -> str:
    """Format a confusion matrix (classes, classes): rows are the actual class, columns the predicted one."""
    head = ["", *(shortened(name, 7, middle=True) for name in classes)]
    rows = [[shortened(name, 40, middle=True), *map(str, row)] for name, row in zip(classes, confusion.tolist(), strict=True)]
    return f"actual (rows) against predicted (columns):\n{aligned([head, *rows])}"
