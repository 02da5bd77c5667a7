"""`python -m distalex.train`: check the layout, then train or print it; PyTorch is imported only for the work itself."""

from __future__ import annotations

from distalex.config.config import Config
from distalex.parallel.topology import Topology, layout
from distalex.train.options import TrainOptions


def train_or_dry_run(options: TrainOptions, config: Config) -> int:
    """Train as `config` describes, or print what each process would hold with `--dry_run`.

    Returns the exit status: 128 + the signal where one stopped the run. Raises UserError where the processes do not fit the config.
    """
    topology = Topology.from_environment()
    if not options.dry_run:
        if config.parallel != "auto" and not config.model.is_own:  # which says only when it is built how many columns it has
            layout(config.parallel, topology.world_size, config.model.columns)
        from distalex.train.loop import train_until_stopped

        return train_until_stopped(config)
    if topology.rank == 0:
        world_size = options.world_size or topology.world_size
        from distalex.model.own import complete
        from distalex.plan.cost import classes_or_assumed

        classes = classes_or_assumed(config.data)
        config = complete(config, classes)
        layout(config.parallel if config.parallel != "auto" else "data", world_size, config.model.columns)
        from distalex.plan.dry_run import describe_layout

        if config.model.weights and config.checkpoint.resume == "never":
            from distalex.runs.weights import describe_place

            print(describe_place(config.model.weights, config.runs_dir))
        print(describe_layout(config, world_size, classes))
    return 0
