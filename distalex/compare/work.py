"""`python -m distalex.compare RUN OTHER`."""

from __future__ import annotations

from distalex.compare import wording
from distalex.compare.differences import compare_curves, compare_states
from distalex.compare.options import CompareOptions
from distalex.compare.runs import KINDS, open_compared
from distalex.errors import UserError
from distalex.runs.checkpoint import load


def compare_runs(options: CompareOptions) -> int:
    """Print how two runs differ. Returns the exit status: 0 where they are equal within the tolerance, else 1.

    Raises UserError where a run is missing or damaged, or the two have no step in common.
    """
    run, other = (open_compared(place, options.runs_dir) for place in (options.run, options.other))
    rows = [row for kind in KINDS for row in compare_curves(kind, run.curves[kind], other.curves[kind])]
    step = max(run.checkpoints.keys() & other.checkpoints.keys(), default=None)
    if not rows and step is None:
        raise UserError(f"{run.describe()}; {other.describe()}: no step in common; compare runs that share steps")
    tensors = [] if step is None else compare_states(*(load(compared.checkpoints[step]) for compared in (run, other)))
    limit = options.tolerance if options.weights_tolerance is None else options.weights_tolerance
    for lines in (
        wording.describe_runs(run, other),
        wording.describe_rows(rows, options.tolerance),
        wording.describe_tensors(tensors, step, limit),
    ):
        for line in lines:
            print(line)
    found = wording.first_differences(rows, tensors, step, options.tolerance, limit)
    if found:
        for line in wording.explain(run, other, rows, options.tolerance):
            print(line)
        print(f"runs differ, {'; '.join(found)}")
        return 1
    within = f"{options.tolerance:g}" + (f" (weights {limit:g})" if limit != options.tolerance else "")
    print(f"same within {within}: {wording.summary(rows, tensors, step)}")
    return 0
