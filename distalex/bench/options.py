"""Options of `bench`: one class for each benchmark. Its docstring says what the benchmark measures."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from distalex.config.choices import OneOf
from distalex.config.command import CommandOptions
from distalex.config.config import MODES
from distalex.config.schema import Counts, Float, Int, split_list

Modes = Annotated[tuple[Annotated[str, OneOf(MODES)], ...], BeforeValidator(split_list)]
Place = Annotated[str, Field(min_length=1)]
"""A path."""
What = Literal[
    "plain", "parallel", "loader", "lrn", "linear", "augment", "accuracy", "modes", "hosts", "paper", "faults", "soak", "gpu", "all"
]
Change = Literal[
    "half_width", "no_exchange", "no_lrn", "plain_pooling", "no_augmentation", "colour_noise", "no_dropout", "no_conv3", "no_conv4"
]
Changes = Annotated[tuple[Change, ...], BeforeValidator(split_list)]
GpuPart = Literal["modes", "plain", "cifar10_best", "cifar10_fast", "paper_network", "compiled", "lrn"]
GpuParts = Annotated[tuple[GpuPart, ...], BeforeValidator(split_list)]
Contenders = Annotated[tuple[Literal["ffcv", "reader", "input", "dataloader"], ...], BeforeValidator(split_list)]


class BenchOptions(CommandOptions):
    """Benchmark distalex against its peers, each measured in turn, with a JSON result; `bench WHAT --help` lists the options."""

    usage: ClassVar[str] = "python -m distalex.bench WHAT [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("what",)

    what: What
    """`plain`, `parallel`, `loader`, `lrn` and `accuracy` compare speeds, `all` runs these, `gpu` what a GPU is measured by; `linear`
    takes fully connected layers apart, `augment` augmentation; `modes` shows that every --parallel trains the same run; `hosts` measures
    over slow links; `paper` tests the paper's claims; `faults` and `soak` disturb or watch runs."""


class BenchmarkOptions(CommandOptions):
    """Options of every benchmark."""

    out: str = Field("bench", min_length=1)
    """Folder for the JSON result."""


class PlainOptions(BenchmarkOptions):
    """A tutorial's CIFAR-10 job in distalex and in ordinary PyTorch: images/s of whole training steps, loading included."""

    usage: ClassVar[str] = "python -m distalex.bench plain [--OPTION=VALUE …]"

    root: Place | None = None
    """Folder of CIFAR-10. Default: found or downloaded, as for `train`."""
    repeats: Int = Field(3, ge=1, le=100)
    """Interleaved repeats."""
    steps: Int = Field(4, ge=1)
    """Timed steps of each repeat, after one untimed step."""
    peer: Place | None = None
    """A script to measure instead of our own plain PyTorch. It takes --root, --steps and, on a GPU, --device, and prints JSON with
    images_per_second."""


class ParallelOptions(BenchmarkOptions):
    """The paper's network, or one of your own, under each --parallel on synthetic images: images/s of whole training steps, bytes sent."""

    usage: ClassVar[str] = "python -m distalex.bench parallel [--OPTION=VALUE …]"

    network: str = "paper"
    """`paper`, a network of your own as FILE.py:FUNCTION, or torchvision:NAME."""
    modes: Modes = ()
    """Which to measure. Default: all that the network has and this machine can run side by side; `hybrid` has four processes or more,
    so it needs as many cores or GPUs."""
    batches: Counts = Field((32, 64, 128, 256, 512), min_length=1)
    """Global batch sizes, each measured."""
    processes: Int = Field(2, ge=2, le=64)
    """Processes of data, fsdp, model and owt; `none` has one, `hybrid` at least four."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic; fp32 where the device has no bf16 instructions."""
    image_size: Int = Field(224, ge=64, le=256)
    """Side length of the images in pixels."""
    lrn: bool = True
    """Local response normalisation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU where there is one."""
    repeats: Int = Field(3, ge=1, le=100)
    """Interleaved repeats."""
    steps: Int = Field(4, ge=1)
    """Timed steps of each repeat, after two untimed steps."""


class ModesOptions(BenchmarkOptions):
    """One small run of synthetic images in every --parallel, with dropout, augmentation and an uneven last batch: do losses and weights
    equal those of one process?"""

    usage: ClassVar[str] = "python -m distalex.bench modes [--OPTION=VALUE …]"

    network: str = "paper"
    """`paper`, a network of your own as FILE.py:FUNCTION, or torchvision:NAME."""
    modes: Modes = ()
    """Which to compare with one process. Default: all that the network has."""
    processes: Annotated[tuple[Annotated[Int, Field(ge=2, le=24)], ...], BeforeValidator(split_list)] = Field((2,), min_length=1)
    """Numbers of processes, each tried, up to the images of a batch; a mode that has none of them takes the nearest that it has."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic; fp32 where the device has no bf16 instructions."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """`auto` is a GPU where there is one. Processes share a GPU, over gloo, where there are fewer GPUs."""
    lr: Float = Field(0.01, gt=0)
    """Learning rate; a network that learns too fast enlarges differences of rounding."""
    epochs: Int = Field(2, ge=1)
    """Epochs of three steps."""
    seed: Int = 0
    """Random seed of the run."""


class LoaderOptions(BenchmarkOptions):
    """Images/s of loading alone, in distalex and FFCV, and of the network's input, in distalex and PyTorch's DataLoader."""

    usage: ClassVar[str] = "python -m distalex.bench loader [--OPTION=VALUE …]"

    root: Place | None = None
    """Any folder of CLASS/*.jpg. Default: 256 random photographs, generated."""
    contenders: Contenders = ()
    """Which to measure: `ffcv`, FFCV alone; `reader`, distalex's reader; `input`, distalex's reader and augmentation; `dataloader`,
    PyTorch's DataLoader with torchvision's transforms on the original files. Default: all."""
    encoding: Literal["raw", "jpg"] = "raw"
    """How images are stored in the .beton file that FFCV and distalex read."""
    images: Int = Field(4096, ge=8)
    """At most so many images, a keyed choice; at 256x256 each takes 0.2 MB of the temporary folder."""
    batch: Int = Field(128, ge=1)
    """Images per batch."""
    image_size: Int = Field(224, ge=64, le=256)
    """Side length of the network's input in pixels. Stored images are squares of 8/7 of it (Section 2: 256 for 224), or of the size
    of the images where these are smaller."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the network's input."""
    repeats: Int = Field(3, ge=1, le=100)
    """Interleaved repeats."""
    seconds: Float = Field(2.0, gt=0, le=600)
    """Timed seconds of each repeat at least, after the first batches."""


class LrnOptions(BenchmarkOptions):
    """Local response normalisation against PyTorch's layer: milliseconds forward and backward at the paper's sizes, channels-last."""

    usage: ClassVar[str] = "python -m distalex.bench lrn [--OPTION=VALUE …]"

    batch: Int = Field(64, ge=1)
    """Images per batch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU where there is one."""
    repeats: Int = Field(3, ge=1, le=100)
    """Interleaved repeats."""


class LinearOptions(BenchmarkOptions):
    """The matrix products of the paper's fc6 on a CPU: milliseconds beside those of their arithmetic and of their memory alone."""

    usage: ClassVar[str] = "python -m distalex.bench linear [--OPTION=VALUE …]"

    batches: Counts = Field((1, 16, 64, 128, 1024), min_length=1)
    """Images per batch, each measured."""
    repeats: Int = Field(5, ge=1, le=100)
    """Repeats of each product."""


class AugmentOptions(BenchmarkOptions):
    """Images a second that are cropped and augmented, with each of the augmentations on, at CIFAR-10's and at ImageNet's size."""

    usage: ClassVar[str] = "python -m distalex.bench augment [--OPTION=VALUE …]"

    batch: Int = Field(128, ge=1)
    """Images per batch."""
    threads: Int = Field(1, ge=1, le=256)
    """Threads on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU where there is one."""
    repeats: Int = Field(3, ge=1, le=100)
    """Interleaved repeats."""


class AccuracyOptions(BenchmarkOptions):
    """Seconds from the start of a process to the tutorial's accuracy on CIFAR-10, against the tutorial's 20 epochs in ordinary PyTorch."""

    usage: ClassVar[str] = "python -m distalex.bench accuracy [--OPTION=VALUE …]"

    root: Place | None = None
    """Folder of CIFAR-10. Default: found or downloaded, as for `train`."""
    config: str = "cifar10_fast"
    """The config to train: a path, or the name of a shipped one."""
    repeats: Int = Field(3, ge=1, le=100)
    """Seeds."""
    steps: Int = Field(4, ge=1)
    """Timed steps of ordinary PyTorch, after one untimed step; its 20 epochs are computed from them."""
    peer: Place | None = None
    """A script to measure instead of our own plain PyTorch, as for `bench plain`."""


class HostsOptions(BenchmarkOptions):
    """The paper's network over links of a given speed, between hosts that are network namespaces of this machine: images/s, bytes on the
    wire beside bytes counted, and the gain of columns. Needs root on Linux, and iproute2."""

    usage: ClassVar[str] = "python -m distalex.bench hosts [--OPTION=VALUE …]"

    hosts: Int = Field(2, ge=2, le=4)
    """Number of hosts. They share this machine's cores."""
    rate: Annotated[tuple[Annotated[str, Field(pattern=r"^[1-9]\d*[kmg]bit$")], ...], BeforeValidator(split_list)] = Field(
        ("10gbit", "1gbit", "100mbit"), min_length=1
    )
    """Speeds of every host's link, as tc writes them, such as `1gbit,100mbit`."""
    modes: Modes = ("none", "data", "model", "owt")
    """Which to measure; `hybrid` has two processes on each host."""
    batches: Counts = Field((32, 64, 128, 256, 512), min_length=1)
    """Global batch sizes."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic; fp32 where the processor has no bf16 instructions."""
    reduce_precision: Literal["fp32", "bf16"] = "fp32"
    """Precision in which replicas send and sum gradients."""
    repeats: Int = Field(1, ge=1, le=100)
    """Interleaved repeats."""
    steps: Int = Field(4, ge=4)
    """Timed steps of each run, after two untimed steps; bytes on the wire are counted over all but the last."""


class PaperOptions(BenchmarkOptions):
    """The paper's claims on CIFAR-10: nine changes to one baseline, ReLU against tanh (Figure 1), ten views against one, colour in the
    columns' first filters (Figure 3). An interrupted one goes on where it was."""

    usage: ClassVar[str] = "python -m distalex.bench paper [--OPTION=VALUE …]"

    root: Place | None = None
    """Folder of CIFAR-10. Default: found or downloaded, as for `train`."""
    repeats: Int = Field(3, ge=1, le=100)
    """Seeds."""
    only: Changes = ()
    """Changes to try, such as `no_conv3,no_lrn`, without Figure 1. Default: all, and Figure 1."""
    fraction: Float | None = Field(None, gt=0, le=1)
    """Fraction of the training images, in place of the baseline's."""
    epochs: Int | None = Field(None, ge=1)
    """Epochs, in place of the baseline's."""
    jobs: Int = Field(0, ge=0, le=256)
    """Runs side by side. 0: as many as cores; one on a GPU."""


class FaultsOptions(BenchmarkOptions):
    """Training runs struck at random, by signals, inside a layer, the reader, the writer or the disk, or by changed data, and resumed
    until done: is each equal to an undisturbed run?"""

    usage: ClassVar[str] = "python -m distalex.bench faults [--OPTION=VALUE …]"

    modes: Modes = ()
    """Which of the --parallel modes to run. Default: all."""
    kills: Int = Field(100, ge=1, le=100_000)
    """Number of faults."""
    only: Annotated[tuple[str, ...], BeforeValidator(split_list)] = ()
    """Strike only with faults that have one of these words in their names, such as `inside,data`. Default: all."""
    seed: Int = 0
    """Random seed of the faults and their times."""


class SoakOptions(BenchmarkOptions):
    """One training run watched for long: do its memory, threads, open files and disk space stay constant?"""

    usage: ClassVar[str] = "python -m distalex.bench soak [--OPTION=VALUE …]"

    minutes: Float = Field(60.0, gt=0, le=10_000)
    """Duration."""


class GpuOptions(BenchmarkOptions):
    """On one GPU: parallel modes that share it against one process, the tutorial's job in distalex and in ordinary PyTorch, `cifar10_best`
    and `cifar10_fast`, the paper's network on photographs, as it is and compiled, and LRN against PyTorch's."""

    usage: ClassVar[str] = "python -m distalex.bench gpu [--OPTION=VALUE …]"

    root: Place | None = None
    """Folder of CIFAR-10. Default: found or downloaded, as for `train`."""
    photographs: Place | None = None
    """Any folder of CLASS/*.jpg, repeated to 40 batches. Default: 256 random photographs, generated."""
    batches: Counts = Field((1024, 2048), min_length=1)
    """Batch sizes of the paper's network, each measured."""
    repeats: Int = Field(3, ge=1, le=100)
    """Seeds, and interleaved repeats of the others."""
    only: GpuParts = ()
    """Parts to measure, such as `modes,plain`. Default: all."""


class AllOptions(BenchmarkOptions):
    """`plain`, `lrn`, `parallel`, `loader` and `accuracy`, with one table and figure of the results."""

    usage: ClassVar[str] = "python -m distalex.bench all [--OPTION=VALUE …]"

    root: Place | None = None
    """Folder of CIFAR-10, for `plain` and `accuracy`. Default: found or downloaded, as for `train`."""
    photographs: Place | None = None
    """Any folder of CLASS/*.jpg, for `loader`. Default: 256 random photographs, generated."""
    quick: bool = False
    """One short repeat of each benchmark: a few minutes on two cores."""


BENCHMARKS: dict[str, type[BenchmarkOptions]] = {
    "plain": PlainOptions,
    "parallel": ParallelOptions,
    "loader": LoaderOptions,
    "lrn": LrnOptions,
    "linear": LinearOptions,
    "augment": AugmentOptions,
    "accuracy": AccuracyOptions,
    "modes": ModesOptions,
    "hosts": HostsOptions,
    "paper": PaperOptions,
    "faults": FaultsOptions,
    "soak": SoakOptions,
    "gpu": GpuOptions,
    "all": AllOptions,
}
"""By the name that users type; `distalex.bench.NAME.bench_NAME` runs it."""


def name_of(options: BenchmarkOptions) -> str:
    """The name of the benchmark that these options belong to."""
    return next(name for name, kind in BENCHMARKS.items() if isinstance(options, kind))
