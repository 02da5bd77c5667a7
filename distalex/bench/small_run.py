"""The training run that `bench faults` strikes, `bench soak` watches and `bench modes` divides: small, with everything random on."""

from __future__ import annotations

EPOCHS, BATCH, IMAGES = 15, 16, 64
STEPS_PER_EPOCH = IMAGES // BATCH
OPTIONS = {  # a minute or less without faults
    "data.name": "synthetic",
    "data.image_size": 64,
    "data.synthetic_images": IMAGES,
    "data.synthetic_classes": 4,
    "data.augment": "paper",
    "model.fc6": 64,
    "model.fc7": 64,
    "train.epochs": EPOCHS,
    "train.batch_size": BATCH,
    "train.threads": 1,
    "train.timeout": 6.0,
    "checkpoint.every_steps": 2,
    "checkpoint.keep": 2,
    "log.every": 1,
    "log.wandb": "disabled",
    "log.report": "false",
    "device": "cpu",
}


def small_run(changes: dict[str, object], module: str = "distalex.train") -> list[str]:
    """Arguments of Python that train it by `module`, with `changes` to its options; None leaves one out."""
    return ["-m", module, *(f"--{name}={value}" for name, value in {**OPTIONS, **changes}.items() if value is not None)]
