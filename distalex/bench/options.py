"""Options of `bench`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from distalex.config.choices import OneOf
from distalex.config.command import CommandOptions
from distalex.config.config import MODES
from distalex.config.schema import Counts, Float, Int, split_list

Modes = Annotated[tuple[Annotated[str, OneOf(MODES)], ...], BeforeValidator(split_list)]
Side = Literal[
    "ffcv_raw",
    "distalex_raw",
    "ffcv_jpg",
    "distalex_jpg",
    "input_raw",
    "input_jpg",
    "dataloader_original",
    "dataloader_stored",
    "webdataset",
]
Sides = Annotated[tuple[Side, ...], BeforeValidator(split_list)]


class BenchOptions(CommandOptions):
    """Benchmark whole steps, parallel modes, loaders or LRN side by side, with a JSON result."""

    usage: ClassVar[str] = "python -m distalex.bench plain|parallel|loader|lrn|accuracy|faults|soak|all [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("what",)

    what: Literal["plain", "parallel", "loader", "lrn", "accuracy", "faults", "soak", "all"]
    """`plain`: the tutorial's job here against the same job in ordinary PyTorch, whole steps with loading.
    `parallel`: the paper's network under each --parallel in turn, on synthetic images.
    `loader`: reading and augmenting images here, in FFCV by itself, in PyTorch's DataLoader and in WebDataset.
    `lrn`: local response normalisation against torch's layer. `accuracy`: how soon a configuration reaches the tutorial's accuracy,
    from the start of its process, against the tutorial's 20 epochs in ordinary PyTorch. `faults`: runs that are killed, stopped and
    signalled at random moments, against one that is not. `soak`: one run for long, whose memory, threads, files and disk are watched.
    `all`: each but these two, and one table."""
    root: str | None = None
    """`plain`, `accuracy`, `all`: folder of CIFAR-10. `loader`: any folder of CLASS/*.jpg. Default there: 256 random photographs,
    made for it."""
    out: str = Field("bench", min_length=1)
    """Folder of the JSON results."""
    repeats: Int = Field(3, ge=1, le=100)
    """Interleaved repeats of each side; of `accuracy`, seeds."""
    quick: bool = False
    """`all`: one short repeat of each, some minutes on two cores."""
    config: str = "cifar10_fast"
    """`accuracy`: the configuration, a path or the name of a shipped one."""
    steps: Int = Field(4, ge=1)
    """Timed steps of each repeat, after one (`plain`, `accuracy`'s peer) or two (`parallel`) that are not."""
    peer: str | None = None
    """`plain`, `accuracy`: a script to measure instead of our own plain PyTorch: takes --root, --steps and, where there is a GPU,
    --device, prints JSON with images_per_second."""
    batches: Counts = Field((32, 64, 128, 256, 512), min_length=1)
    """`parallel`: images of a step over all processes, each tried."""
    modes: Modes = ()
    """`parallel`, `faults`: which modes of --parallel, without `auto`. Default: all; in `parallel` those that this machine can run side by
    side, so `hybrid`, which takes four processes, where there are four cores or GPUs."""
    kills: Int = Field(100, ge=1, le=100_000)
    """`faults`: how many."""
    seed: Int = 0
    """`faults`: of what happens when."""
    minutes: Float = Field(60.0, gt=0, le=10_000)
    """`soak`: how long."""
    processes: Int = Field(2, ge=2, le=64)
    """`parallel`: processes of data, model and owt; `none` has one, `hybrid` at least four."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """`parallel`: arithmetic. `loader`: of the network's input."""
    image_size: Int = Field(224, ge=64, le=256)
    """`parallel`, `loader`: side of the network's input in pixels. `loader` stores squares of 8/7 of that (Section 2: 256 for 224), or
    as large as the images are where they are smaller."""
    lrn: bool = True
    """`parallel`: local response normalisation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`parallel`, `lrn`: `auto` takes a GPU where there is one."""
    sides: Sides = ()
    """`loader`: which to measure, as the JSON names them. Default: all; `webdataset` where that package is installed."""
    images: Int = Field(4096, ge=8)
    """`loader`: images taken at most, a keyed choice; at 256x256 each takes 0.2 MB of the temporary folder."""
    batch: Int = Field(128, ge=1)
    """`loader`, `lrn`: images of a batch; of `lrn` 64 if not given."""
    seconds: Float = Field(2.0, gt=0, le=600)
    """`loader`: timed seconds of each repeat at least, after the first batches."""

    @model_validator(mode="after")
    def _options_go_with_what(self) -> BenchOptions:
        own = {
            "plain": {"root", "steps", "peer", "repeats"},
            "accuracy": {"root", "steps", "peer", "config", "repeats"},
            "all": {"root", "quick"},
            "parallel": {"steps", "batches", "modes", "processes", "precision", "image_size", "lrn", "device", "repeats"},
            "loader": {"root", "precision", "image_size", "sides", "images", "batch", "seconds", "repeats"},
            "lrn": {"batch", "device", "repeats"},
            "faults": {"modes", "kills", "seed"},
            "soak": {"minutes"},
        }
        for name in sorted(self.model_fields_set - {"what", "out"} - own[self.what]):
            others = ", ".join(f"`bench {what}`" for what, names in own.items() if name in names)
            raise ValueError(f"{name} goes with {others}, not with `bench {self.what}`; leave it out")
        return self
