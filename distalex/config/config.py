"""Typed configuration: defaults, then a YAML file, then dotted overrides; every mistake is one line.

A run is a function of this configuration and its seed. Sizes are global: `train.batch_size` and `optim.lr` describe
the whole run, and what one process gets is derived from the mesh, never configured.
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from distalex.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
DRAWN_AS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


def _reject_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")
    return value


def _split_list(value: Any) -> Any:
    """`a,b` or `[a, b]` on the command line is a list."""
    return [item for item in (part.strip() for part in value.strip("[]").split(",")) if item] if isinstance(value, str) else value


def _split_pairs(value: Any) -> Any:
    """`fc8:10,fc7:5` on the command line is a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition(":") for part in value.strip("{}").split(",") if part.strip()]
    return {key.strip(): number.strip() for key, _, number in pairs}


Int = Annotated[int, BeforeValidator(_reject_bool)]
Float = Annotated[float, BeforeValidator(_reject_bool)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_list)]
Floats = Annotated[tuple[Float, ...], BeforeValidator(_split_list)]
Counts = Annotated[tuple[Annotated[Int, Field(ge=1)], ...], BeforeValidator(_split_list)]
Parallel = Literal["none", "data", "model", "hybrid", "owt", "auto"]
Modes = Annotated[tuple[Literal["none", "data", "model", "hybrid", "owt"], ...], BeforeValidator(_split_list)]
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
Sides = Annotated[tuple[Side, ...], BeforeValidator(_split_list)]
Rates = Annotated[dict[str, Float], BeforeValidator(_split_pairs)]


_CHANNELS = {"conv1": 96, "conv2": 256, "conv3": 384}  # of the paper's; conv4 and conv5 have as many as two of these


class Section(BaseModel):
    """A frozen group of options; a key that is not a field is refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )


class Model(Section):
    """The network."""

    name: Literal["paper", "seed", "torchvision", "cifar"] = "paper"
    """`paper`: two columns, LRN, overlapping pooling (Section 3.5). `seed`: the CIFAR-10 tutorial's one tower.
    `torchvision`: torchvision's one tower, whose weights file it loads. `cifar`: one tower for pictures from 32x32 on, convolutions of
    stride 1 as `channels`, `kernels` and `pooled` say, like the authors' own for CIFAR-10."""
    channels: Counts = (64, 128, 256, 256, 256)
    """`cifar`: output channels of its convolutions, conv1 first."""
    kernels: Counts = (5, 3, 3, 3, 3)
    """`cifar`: sides in pixels of their kernels."""
    pooled: Names = ("conv1", "conv2", "conv5")
    """`cifar`: convolutions that overlapping max-pooling follows, 3x3 every 2 pixels."""
    batch_norm: bool = False
    """`cifar`: batch normalisation after each convolution (and its pooling), over the whole batch on any number of processes."""
    activation: Literal["relu", "tanh"] = "relu"
    """What follows each hidden layer (Section 3.1 finds ReLU six times as fast as tanh). `tanh` goes without LRN, which
    rectifies too."""
    pool: Literal["overlapping", "plain"] = "overlapping"
    """`paper`: max-pooling in windows of 3x3 every 2 pixels (Section 3.4), or of 2x2 every 2 pixels."""
    exchange: Names = ("conv3",)
    """`paper`: convolutions that read every column's output of the layer before, and not their own column's alone (Section 3.2).
    Fully connected layers always do."""
    without: Names = ()
    """`paper`: convolutions left out, conv3, conv4 or both (Section 7: the depth is what matters)."""
    width: Float = Field(1.0, ge=1 / 16, le=4)
    """`paper`: channels of each convolution, as a share of the paper's (Section 3.2 compares with a network of half of them)."""
    columns: Int = Field(2, ge=1, le=64)
    """Columns that conv2, conv4 and conv5 stay inside (Section 3.2). The paper has 2; the one-tower networks 1."""
    lrn: bool = True
    """Local response normalisation after conv1 and conv2 (Section 3.3). Off in the one-tower networks."""
    lrn_alpha: Float = Field(1e-4, ge=0)
    """LRN's alpha as PyTorch counts it, divided by the window of 5. 1e-4 is the released code, 5e-4 the text's formula."""
    dropout: Float = Field(0.5, ge=0, lt=1)
    """Share of activations that dropout zeroes in the first two fully connected layers (Section 4.2)."""
    fc6: Int = Field(4096, ge=0)
    """Units of the first fully connected layer (Section 3.5: 4096). 0 leaves it out of the `cifar` network."""
    fc7: Int = Field(4096, ge=0)
    """Units of the second fully connected layer (Section 3.5: 4096; the seed network has 1024). 0 leaves it out of the `cifar` network."""
    init: Literal["scaled", "identity", "torch", "paper", "released"] = "scaled"
    """Initial weights. `scaled`: by fan-in, trains at every input size. `identity`: and as many filters of each convolution after the
    first as there are inputs pass those on unchanged (Zagoruyko & Komodakis 2017), and the classifier is zero. `torch`: PyTorch's
    default. `paper`: N(0, 0.01), biases 1 in conv2, conv4, conv5, fc6, fc7 (Section 5); `released`: the 2012 code's. The last two
    expect `data.normalize=paper`."""
    weights: str | None = None
    """File or run whose weights to start from: torchvision's AlexNet, the released code's two columns, a checkpoint, a run
    directory. A classifier for another number of classes starts anew."""
    freeze: Names = ()
    """Layers that keep their weights, e.g. `conv1,conv2`."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_named_network(cls, values: Any) -> Any:
        one_tower = {"columns": 1, "lrn": False}
        defaults: dict[str, dict[str, Any]] = {
            "seed": {**one_tower, "fc7": 1024, "init": "torch"},
            "torchvision": one_tower,
            "cifar": {**one_tower, "fc6": 256, "fc7": 0},
        }
        return {**defaults.get(str(values.get("name")), {}), **values} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _convolutions_fit(self) -> Model:
        names = [f"conv{number}" for number in range(1, len(self.channels) + 1)]
        if self.name != "cifar":
            for option in ("channels", "kernels", "pooled", "batch_norm"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"model.{option}={_plain(getattr(self, option))} goes with model.name=cifar, not {self.name}")
            if not (self.fc6 and self.fc7):
                raise ValueError(f"model.{'fc7' if self.fc6 else 'fc6'}=0: only model.name=cifar can do without; give it units")
        if not 1 <= len(names) <= 16 or len(self.kernels) != len(names):
            raise ValueError(
                f"model.kernels={_plain(self.kernels)}: as many as model.channels={_plain(self.channels)} are needed, from 1 to 16"
            )
        if self.name == "cifar" and self.init == "released":
            raise ValueError(
                "model.init=released: the 2012 code's weights are those of five convolutions and three layers; use model.init=paper"
            )
        if max(self.kernels) > 11:
            raise ValueError(f"model.kernels={_plain(self.kernels)}: sides of at most 11 pixels are possible")
        for name in self.pooled:
            if name not in names:
                raise ValueError(f"model.pooled={name}: no such convolution; there are {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _parts_of_the_paper_go_together(self) -> Model:
        if self.name != "paper":
            for option in ("pool", "exchange", "without", "width"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"model.{option}={_plain(getattr(self, option))} goes with model.name=paper, not {self.name}")
        if self.activation == "tanh" and self.lrn:
            raise ValueError("model.activation=tanh: model.lrn=true rectifies before it normalises; use --model.lrn=false with tanh")
        for name in self.exchange:
            if name not in ("conv2", "conv3", "conv4", "conv5"):
                raise ValueError(f"model.exchange={name}: conv2, conv3, conv4 and conv5 can read other columns")
        for name in self.without:
            if name not in ("conv3", "conv4"):
                raise ValueError(f"model.without={name}: conv3 and conv4 can be left out; the others also normalise or pool")
        return self

    @model_validator(mode="after")
    def _one_tower_is_whole(self) -> Model:
        if self.name != "paper" and self.columns != 1:
            raise ValueError(f"model.columns={self.columns}: the {self.name} network is one tower; use model.name=paper for columns")
        convolutions = {name: channels * (self.width if self.name == "paper" else 1) for name, channels in _CHANNELS.items()}
        for name, width in {**convolutions, "fc6": self.fc6, "fc7": self.fc7}.items():
            if width != int(width):
                raise ValueError(
                    f"model.width={self.width:g} makes {width:g} channels of {name}'s {_CHANNELS[name]}; give a share that divides them"
                )
            if width % self.columns:
                raise ValueError(f"model.columns={self.columns} does not divide the {width:g} channels of {name}")
        return self


class Data(Section):
    """The pictures and how they are read."""

    name: Literal["cifar10", "cifar100", "digits", "imagenet", "folder", "webdataset", "torchvision", "synthetic", "beton"] = "cifar10"
    """The data set. `folder` and `imagenet`: whatever lies at `data.root`, recognised by content (docs/data.md). `webdataset`: tar
    shards of KEY.jpg and KEY.cls. `torchvision`: its `data.dataset`. `beton`: prepared files, `data.train` and `data.test`."""
    root: str | None = None
    """Folder, tar archive or table that holds the data. Default: the environment's DISTALEX_DATA, then `data/`, then a download."""
    dataset: str | None = None
    """torchvision's name of the set, with `data.name=torchvision`, e.g. Flowers102."""
    labels: str | None = None
    """File with the classes of ImageNet's validation pictures, where it does not lie beside them."""
    train: str | None = None
    """A prepared training file, with `data.name=beton`. Of a set spread over files, FILE.beton stands for FILE-00000-of-….beton."""
    test: str | None = None
    """A prepared test file, with `data.name=beton`. Default: what `prepare` wrote beside `data.train`."""
    image_size: Int = Field(224, ge=32, le=256)
    """Side of the square that the network sees, in pixels (Section 2: 224). Below 64 only the `cifar` network has an output."""
    stored_size: Int | None = Field(None, ge=1, le=1024)
    """Side of the square kept in the prepared file, in pixels (Section 2: short side 256, then the central square).
    Default: 32 for CIFAR, 8 for digits, 256 for folders, `image_size` for synthetic."""
    resize: Literal["short_side", "max_side"] = "short_side"
    """`short_side` is scaled to `stored_size` and the centre kept, as in the paper; `max_side`: the longer side is, and the whole picture
    kept on a black square."""
    encoding: Literal["raw", "jpg", "mixed"] = "raw"
    """How pictures are kept in the prepared file. `raw` reads fastest; `jpg` takes a ninth of the space at 256x256, two fifths at 32x32;
    `mixed` is half of each."""
    quality: Int = Field(90, ge=1, le=100)
    """Quality of JPEG."""
    skip_bad: bool = False
    """Leave unreadable pictures out of the prepared file and list them, instead of stopping at the first."""
    augment: Literal["none", "crop", "flip_crop", "paper", "resized_crop"] = "flip_crop"
    """What of a picture is seen. `none`: the centre window; `crop`: a random window; `flip_crop`: and mirror; `paper` adds the PCA
    colour noise (Section 4.1); `resized_crop`: a window of random area and shape, and mirror (Szegedy et al. 2015). Keyed by seed,
    epoch and sample, as are the options below, which go with each of these."""
    scale: Floats = (0.08, 1.0)
    """`resized_crop`: least and largest area of the window, as shares of the stored picture. Its shape is 3/4 to 4/3."""
    colour: Literal["measured", "imagenet"] = "measured"
    """`paper`: whose principal components the noise follows, those of the training set or the 2012 code's of ImageNet."""
    rotate: Float = Field(0.0, ge=0, le=45)
    """Largest angle in degrees by which a view is turned about its centre, either way; black comes in from outside."""
    cutout: Float = Field(0.0, ge=0, le=1)
    """Side of a square of the mean colour at a random place, which may reach over the edge, as a share of the view's
    (DeVries & Taylor 2017: 16 of 32 pixels). 0: none."""
    mixup: Float = Field(0.0, ge=0, le=100)
    """Mix each view, and its label, with another sample's, by shares drawn from Beta(mixup, mixup) (Zhang et al. 2018: 0.2). 0: off."""
    cutmix: Float = Field(0.0, ge=0, le=100)
    """Put a box of another sample's view into each, of an area drawn from Beta(cutmix, cutmix), and its label in by that area
    (Yun et al. 2019: 1). With mixup too, each sample has one of the two, by a coin. 0: off."""
    crop: Float | None = Field(None, gt=0, le=1)
    """Side of the window as a share of the stored picture (Section 4.1: 224/256). Default: 0.875 for folders and imagenet, else 1."""
    pad: Float | None = Field(None, ge=0, le=0.5)
    """Margin, as a share of the stored picture and black, that a random window may reach over. Default: 0 for folders and
    imagenet, else 0.125."""
    normalize: Literal["tutorial", "paper", "standard"] = "standard"
    """`tutorial`: 0..255 to -1..1. `paper`: minus the channel means of the training set, on 0..255 (Section 2).
    `standard`: to zero mean and unit variance of the training set."""
    loader: Literal["ffcv", "torchvision", "synthetic"] = "ffcv"
    """`ffcv` reads `.beton` files; `torchvision` reads the pictures themselves and needs no FFCV; `synthetic` measures the rest."""
    workers: Int = Field(0, ge=0, le=256)
    """Loader threads or processes of each process. 0: the processor's cores shared between the processes."""
    cache: Literal["none", "memory", "device"] = "none"
    """Where decoded pictures are kept between epochs: `memory` of the host, or of the `device`, which then also crops and mirrors them."""
    order: Literal["random", "quasi_random", "sequential"] = "random"
    """Order of an epoch, keyed by seed and epoch. `quasi_random` shuffles blocks of 256 pictures, and pictures within 32 blocks, for
    disks slower than memory; `sequential` keeps the file's own order, which is shuffled once when preparing."""
    holdout: Float = Field(0.1, ge=0, lt=1)
    """Share of a set without test pictures that is held out for testing, stratified and keyed. 0: the training pictures test."""
    validation: Float = Field(0.0, ge=0, lt=1)
    """Share of the training pictures, stratified and keyed, that the run does not train but is tested on, in place of the test
    pictures: for choosing options, which the test set must not."""
    fraction: Float = Field(1.0, gt=0, le=1)
    """Share of the training pictures, stratified and keyed, that the run trains on: a smaller one is part of a larger one."""
    synthetic_images: Int = Field(2048, ge=2)
    """Training pictures of `data.name=synthetic`; a quarter as many test it."""
    synthetic_classes: Int = Field(10, ge=2)
    """Classes of `data.name=synthetic`."""

    @model_validator(mode="after")
    def _files_go_with_beton(self) -> Data:
        if self.name == "beton" and not self.train:
            raise ValueError(
                "data.name=beton needs data.train=FILE.beton; make one with: python -m distalex.prepare folder --root=DIR --out=FILE.beton"
            )
        if self.name == "beton" and self.loader == "torchvision":
            raise ValueError(
                "data.loader=torchvision reads pictures, not .beton files; use data.loader=ffcv or data.name=folder --data.root=DIR"
            )
        if self.name != "beton" and (self.train or self.test):
            raise ValueError(f"data.train and data.test go with data.name=beton, not data.name={self.name}")
        if self.name in ("folder", "imagenet", "webdataset") and not self.root:
            raise ValueError(
                f"data.name={self.name} needs data.root=DIR, a folder of CLASS/*.jpg or of train/ and test/ with such, a tar archive "
                "or a table"
            )
        if self.name == "torchvision" and self.dataset is None:
            raise ValueError("data.name=torchvision needs data.dataset=NAME, torchvision's name of the set, e.g. --data.dataset=Flowers102")
        if self.name != "torchvision" and self.dataset is not None:
            raise ValueError(f"data.dataset goes with data.name=torchvision, not data.name={self.name}; e.g. --data.dataset=Flowers102")
        if self.labels is not None and self.name not in ("folder", "imagenet"):
            raise ValueError(f"data.labels={self.labels}: goes with data.name=imagenet, not data.name={self.name}")
        if self.name == "beton" and (self.validation or self.fraction < 1):
            part = f"validation={_plain(self.validation)}" if self.validation else f"fraction={_plain(self.fraction)}"
            raise ValueError(
                f"data.{part}: a prepared file is read whole; choose pictures where they come from, with data.name and data.root, or make "
                "files of the parts and name them with data.train and data.test"
            )
        if self.skip_bad and self.loader == "torchvision":
            raise ValueError(
                "data.skip_bad leaves pictures out of a prepared file, and data.loader=torchvision has none; use data.loader=ffcv"
            )
        return self

    @model_validator(mode="after")
    def _augmentation_makes_sense(self) -> Data:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"data.scale={_plain(self.scale)}: two rising shares of the stored picture, above 0 and up to 1, are needed, "
                "e.g. --data.scale=0.08,1"
            )
        if self.colour != "measured" and self.augment != "paper":
            raise ValueError(
                f"data.colour={self.colour} is noise of data.augment=paper, not of data.augment={self.augment}; add --data.augment=paper"
            )
        return self

    @property
    def of_folders(self) -> bool:
        """Whether its pictures are photographs of any size."""
        return self.name in ("folder", "imagenet", "webdataset", "torchvision", "beton")

    @property
    def tested_on(self) -> str:
        """Which pictures evaluation takes."""
        return "validation" if self.validation else "test"

    @property
    def side(self) -> int:
        """Side of a stored picture in pixels."""
        default = {"cifar10": 32, "cifar100": 32, "digits": 8, "synthetic": self.image_size}.get(self.name, 256)
        return self.stored_size or default


class Optim(Section):
    """The optimizer and its schedule."""

    name: Literal["sgd", "adam", "adamw", "lars"] = "sgd"
    """`sgd` with momentum is the paper's (Section 5)."""
    lr: Float = Field(0.01, gt=0, le=100)
    """Learning rate for the global batch (Section 5: 0.01 at batch 128)."""
    momentum: Float = Field(0.9, ge=0, lt=1)
    """Momentum of sgd and lars (Section 5: 0.9)."""
    nesterov: bool = False
    """Nesterov's form of momentum, for sgd."""
    betas: Floats = (0.9, 0.999)
    """Adam's and AdamW's decay rates of the two moments."""
    eps: Float = Field(1e-8, gt=0)
    """Adam's and AdamW's divisor floor."""
    weight_decay: Float = Field(5e-4, ge=0)
    """L2 penalty (decoupled in adamw), per step and times the learning rate (Section 5: 0.0005)."""
    trust: Float = Field(0.001, gt=0)
    """LARS's trust coefficient."""
    bias_lr: Float = Field(1.0, gt=0)
    """Multiple of the learning rate for biases. The 2012 code has 2."""
    bias_decay: bool = True
    """Whether biases decay. Not in the 2012 code."""
    norm_decay: bool = False
    """Whether scales and shifts of normalisation layers decay."""
    layer_lr: Rates = Field(default_factory=dict)
    """Multiples of the learning rate by layer, e.g. `fc8:10,conv1:0.1`."""
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"] = "constant"
    """`plateau` is the paper's: divide by 10 when the test error stops falling (Section 5)."""
    warmup_epochs: Float = Field(0.0, ge=0)
    """Epochs over which the learning rate rises linearly from 0; not with one_cycle, which has its own."""
    milestones: Floats = (0.5, 0.75, 0.9)
    """`step`: shares of the run after which the rate is multiplied by `factor`."""
    factor: Float = Field(0.1, gt=0, lt=1)
    """`step` and `plateau`: what the rate is multiplied by (Section 5: 0.1)."""
    patience: Int = Field(3, ge=1)
    """`plateau`: evaluations without a lower loss before the rate falls."""
    reductions: Int = Field(3, ge=1)
    """`plateau`: how often the rate may fall (Section 5: three times)."""
    peak: Float = Field(0.25, gt=0, lt=1)
    """`one_cycle`: share of the run at which the rate peaks."""
    final: Float = Field(0.0, ge=0, le=1)
    """`cosine` and `one_cycle`: last rate as a share of `lr`."""

    @model_validator(mode="after")
    def _two_betas(self) -> Optim:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optim.betas={list(self.betas)}: two numbers from 0 to below 1 are needed, e.g. --optim.betas=0.9,0.999")
        if list(self.milestones) != sorted(self.milestones) or not all(0 < share < 1 for share in self.milestones):
            raise ValueError(
                f"optim.milestones={list(self.milestones)}: rising shares of the run, between 0 and 1, are needed, "
                "e.g. --optim.milestones=0.5,0.75"
            )
        return self


class Train(Section):
    """The loop."""

    epochs: Int = Field(90, ge=0)
    """Passes over the training set (Section 5: about 90). 0 only evaluates."""
    max_steps: Int | None = Field(None, ge=1)
    """Stop after this many steps of the whole run."""
    batch_size: Int = Field(128, ge=1)
    """Pictures of one step over all processes (Section 5: 128)."""
    eval_batch_size: Int | None = Field(None, ge=1)
    """Pictures of one evaluation batch over all processes. Default: `batch_size`."""
    accumulate: Int = Field(1, ge=1)
    """Parts in which each process goes through its share of a batch, to save memory; the gradient is the same."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; weights, gradients and the loss stay fp32."""
    compile: bool = False
    """Compile the network with torch.compile: slower to start, faster per step where it pays."""
    profile: Int = Field(0, ge=0, le=100)
    """Steps to trace, after the first three: trace-rank0.json in the run's folder, for Perfetto, and a table of layers, loading,
    exchange and optimizer. 0: none."""
    deterministic: bool = False
    """Refuse GPU kernels whose result may differ from run to run."""
    label_smoothing: Float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over all classes."""
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """What a loss that is not finite leads to. `stop`: the run ends at the next line of metrics.jsonl, naming the step. `skip`: that step
    changes nothing. `rollback`: back to the newest checkpoint, and that step changes nothing when it comes again. The last two read
    the loss at every step, which waits for a GPU."""
    clip_norm: Float | None = Field(None, gt=0)
    """Largest norm of the whole network's gradient; a longer one is scaled down."""
    ema: Float | None = Field(None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which evaluation then uses."""
    evaluate_every: Int = Field(1, ge=1)
    """Epochs between evaluations; the last epoch is always evaluated."""
    mirror_test: bool = False
    """Evaluate the mean of each picture's and its mirror image's logits."""
    timeout: Float = Field(45.0, ge=1, le=86400)
    """Seconds that processes wait for one that does not answer, once the first steps are done; then they end, and say which it was."""
    threads: Int = Field(0, ge=0, le=1024)
    """CPU threads of each process. 0: the processor's cores shared between the processes."""


class Checkpoint(Section):
    """What a run keeps."""

    every_epochs: Int = Field(1, ge=0)
    """Epochs between checkpoints; 0: only at the end."""
    every_steps: Int = Field(0, ge=0)
    """Steps between checkpoints besides; 0: none."""
    keep: Int = Field(3, ge=1)
    """How many of the newest checkpoints are kept, besides best.pt."""
    resume: str = "never"
    """`never`: a run that exists is refused. `auto`: go on from its newest good checkpoint, or start. Or the path of a
    checkpoint or run to go on from."""
    remote: str | None = None
    """URL of a folder, of any kind that fsspec knows (s3://bucket/runs, gs://…, sftp://…, file:///…), where a copy of the run is kept:
    options, metrics and the newest checkpoints. With `resume=auto` a machine that lacks the run brings it from there."""


class Log(Section):
    """What a run says."""

    every: Int = Field(10, ge=1)
    """Steps between lines of metrics.jsonl and updates of the progress bar."""
    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Weights & Biases: `offline` needs no account; `online` needs WANDB_API_KEY."""
    project: str = Field("distalex", min_length=1, max_length=128)
    """Weights & Biases' project."""
    pictures: Int = Field(32, ge=0)
    """Test pictures, chosen by the seed, of Weights & Biases' table of predictions at the end; 0: no table."""
    artifacts: bool = False
    """Hand the last and the best checkpoint to Weights & Biases too, as versions of one artifact."""
    layers: bool = False
    """Log the norms of each layer's gradients (as applied), weights and updates. The step that is logged takes a copy of the weights."""


class Config(Section):
    """Everything that a run depends on."""

    parallel: Parallel = "data"
    """`none`: one process. `data`: replicas that sum gradients (DDP). `model`: a process for each column (Section 3.5).
    `hybrid`: replicas of columns. `owt`: One Weird Trick, convolutions data parallel and fully connected layers divided.
    `auto`: what `distalex.plan` finds fastest here."""
    seed: Int = Field(0, ge=0, lt=2**32)
    """Keys initial weights, order, augmentation and dropout."""
    name: str = ""
    """Name of the run and its folder in `runs_dir`. Default: data set, network and time."""
    runs_dir: str = Field("runs", min_length=1)
    """Folder of the runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    model: Model = Field(default_factory=Model)
    data: Data = Field(default_factory=Data)
    optim: Optim = Field(default_factory=Optim)
    train: Train = Field(default_factory=Train)
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _name_stays_in_its_folder(self) -> Config:
        if self.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,127}", self.name):
            raise ValueError(
                f"name={self.name!r}: letters, digits and ._+=- are allowed, at most 128, no folder; e.g. --name=first-run --runs_dir=DIR"
            )
        if self.data.image_size < 64 and self.model.name != "cifar":
            raise ValueError(
                f"data.image_size={self.data.image_size}: the {self.model.name} network needs 64 pixels or more; "
                "use --data.image_size=64, or --model.name=cifar"
            )
        if self.model.batch_norm and self.train.accumulate > 1:
            raise ValueError(
                f"train.accumulate={self.train.accumulate}: batch normalisation takes the statistics of the whole batch, which would not "
                "go through at once; set it to 1, or model.batch_norm to false"
            )
        if self.model.batch_norm and self.train.on_nonfinite == "skip":
            raise ValueError(
                "train.on_nonfinite=skip: batch normalisation's averages would keep what is not finite; use train.on_nonfinite=rollback"
            )
        if self.parallel == "owt" and not (self.model.fc6 and self.model.fc7):
            raise ValueError(
                "parallel=owt divides fc6, fc7 and fc8, and this network lacks one; set model.fc6 and model.fc7, or parallel=data"
            )
        if self.train.accumulate > self.train.batch_size:
            raise ValueError(
                f"train.accumulate={self.train.accumulate} parts of a batch of train.batch_size={self.train.batch_size} "
                "are too many; lower the first"
            )
        if self.optim.schedule == "one_cycle" and self.optim.warmup_epochs:
            raise ValueError(
                "optim.warmup_epochs does not go with optim.schedule=one_cycle, which rises by itself until optim.peak; set it to 0"
            )
        return self

    def dump(self) -> str:
        """YAML that `load` reads back to an equal configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


MAY_CHANGE = (
    "parallel",
    "device",
    "name",
    "runs_dir",
    "log.",
    "checkpoint.",
    "data.root",
    "data.workers",
    "train.threads",
    "train.timeout",
    "train.max_steps",
    "train.compile",
    "train.profile",
)
"""Beginnings of the options that say where, how fast and how long a run goes, and not what it computes."""


def flat(values: dict[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Nested values by dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key != "layer_lr":
            found |= flat(value, f"{prefix}{key}{separator}", separator)
        else:
            found[f"{prefix}{key}"] = value
    return found


def load(config: str | None = None, overrides: Mapping[str, str] | None = None) -> Config:
    """The configuration of a run: defaults, then the YAML file `config`, then `overrides`, keyed by dotted option.

    `config` is a path or the name of a shipped one; the file may say `like: NAME`, and is then laid over that one. Raises UserError
    with one line for the first mistake.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    if config is not None:
        values, places = _read_with_base(find_config(config))
    for key, value in (overrides or {}).items():
        section, _, leaf = key.rpartition(".")
        check_key(key, "command line")
        target = values.setdefault(section, {}) if section else values
        target[leaf] = value
        places[key] = "command line"
    return validate(Config, values, places)


_SECTIONS = {
    name for name, field in Config.model_fields.items() if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def _read_with_base(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """A configuration file laid over the one that its `like` names, if any, with the places of all. Raises UserError."""
    values, places = read_yaml(path)
    like, place = values.pop("like", None), places.pop("like", "")
    check_keys(values, places)
    values = {key: {} if value is None and key in _SECTIONS else value for key, value in values.items()}
    if like is None:
        return values, places
    if not isinstance(like, str):
        raise UserError(f"{place}: like={str(like)[:80]}: name one configuration, e.g. `like: alexnet_paper`")
    beside = path.parent / like
    try:
        base = beside if beside.is_file() else find_config(like)
    except UserError as error:
        raise UserError(f"{place}: {str(error).removeprefix('--config=')}") from None
    if base.resolve() in (*above, path.resolve()):
        raise UserError(f"{place}: like={like} leads back to {base}; let one of them name no other")
    merged, base_places = _read_with_base(base, (*above, path.resolve()))
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged, {**base_places, **places}


SectionType = typing.TypeVar("SectionType", bound=Section)


def validate(kind: type[SectionType], values: Mapping[str, Any], places: Mapping[str, str]) -> SectionType:
    """`kind` made from `values`; `places` says where each dotted option was given. Raises UserError for the first mistake."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(_one_line(error, kind, places)) from None


def find_config(name: str) -> Path:
    """The path of a configuration given as a path or as the name of a shipped one."""
    shipped = sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml"))
    for path in (Path(name), CONFIGS / f"{name}.yaml", CONFIGS / name):
        if path.is_file():
            return path
    raise UserError(f"--config={name}: no such file{_nearest(name, shipped)}; shipped are: {', '.join(shipped)}")


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases, duplicate keys or 1.1's surprising numbers: `1e-2` is a number, `1:30` is text."""


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in rules if not tag.endswith((":float", ":int", ":timestamp"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A configuration file as nested dicts, and the place (file and line) of every dotted key. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _StrictLoader)):
            raise UserError(f"{path}: YAML aliases (*name) are not allowed; write the values out")
        node = yaml.compose(text, _StrictLoader)
        values = yaml.load(text, _StrictLoader)
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; a configuration has sections of options, e.g. `train: {{epochs: 2}}`") from None
    except ValueError as error:  # of a number with thousands of digits
        raise UserError(f"{path}: a value that cannot be read ({' '.join(str(error).split())[:120]})") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: a mapping of options is needed, e.g. `train: {{epochs: 2}}`")
    return values, dict(_places_in(node, path, ""))


def _places_in(node: Any, path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            raise UserError(f"{path}, line {line}: {name} is given twice; keep one")
        seen.add(name)
        yield name, f"{path}, line {line}"
        if isinstance(value, yaml.MappingNode):
            yield from _places_in(value, path, f"{name}.")


def options(kind: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, typing.Any]]:
    """Every dotted option of a section with its pydantic field."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from options(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def check_key(key: str, place: str, kind: type[Section] = Config) -> None:
    """Raise UserError, with the nearest option, unless `key` is a dotted option of `kind`."""
    known = [name for name, _ in options(kind)]
    if key not in known:
        raise UserError(f"--{key} ({place}): no such option{_nearest(key, known)}; --help lists all")


def check_keys(values: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Raise UserError for the first key of a configuration file that is no option."""
    sections = {
        name for name, field in Config.model_fields.items() if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    for key, value in values.items():
        place = places.get(str(key), "")
        if key in sections:
            if value is not None and not isinstance(value, dict):
                raise UserError(f"{key}={value!r} ({place}): a section of options is needed, e.g. `{key}: {{…}}`")
            for leaf in value or {}:
                check_key(f"{key}.{leaf}", places.get(f"{key}.{leaf}", place))
        else:
            check_key(str(key), place)


ALSO_CALLED = {  # what other programs call our options
    "learning_rate": "optim.lr",
    "wd": "optim.weight_decay",
    "batch": "train.batch_size",
    "bs": "train.batch_size",
    "gpus": "device",
    "arch": "model.name",
    "pretrained": "model.weights",
    "output_dir": "runs_dir",
    "amp": "train.precision",
    "num_workers": "data.workers",
    "dataset": "data.name",
    "optimizer": "optim.name",
    "scheduler": "optim.schedule",
}


def _nearest(word: str, known: list[str]) -> str:
    if ALSO_CALLED.get(word.rpartition(".")[2]) in known:
        return f", did you mean {ALSO_CALLED[word.rpartition('.')[2]]}?"
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(word, known, 1, 0.6) or [
        by_leaf[leaf] for leaf in difflib.get_close_matches(word.rpartition(".")[2], by_leaf, 1, 0.7)
    ]
    return f", did you mean {near[0]}?" if near else ""


def _one_line(error: ValidationError, kind: type[Section], places: Mapping[str, str]) -> str:
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    fields = dict(options(kind))
    key = next((".".join(names[:end]) for end in range(len(names), 0, -1) if ".".join(names[:end]) in fields), ".".join(names))
    message = first["msg"].removeprefix("Value error, ")
    if key not in fields:
        return _with_place(message, places)  # a check of several fields, which names them itself
    place = f" ({places[key]})" if key in places else ""
    value = first["input"]
    field = fields[key]
    choices = _choices(field.annotation)
    if choices:
        message = f"must be one of {', '.join(choices)}{_nearest(str(value), choices)}"
    elif value in ("True", "") and first["type"].endswith("parsing"):
        message = "needs a value"
    default = field.get_default(call_default_factory=True)
    example = "" if choices or field.is_required() or default in (None, "", (), {}) else f"; e.g. --{key}={_plain(default)}"
    return f"{key}={value}{place}: {message[:1].lower()}{message[1:]}{example}"


def _with_place(message: str, places: Mapping[str, str]) -> str:
    """A message that begins with an option and its value, and says where that was given, if it was in a file."""
    option = re.match(r"[a-z_.0-9]+(?==)", message)
    place = places.get(option[0], "") if option else ""
    return message if place in ("", "command line") else f"{place}: {message}"


def _choices(annotation: Any) -> list[str]:
    """The words that an option takes, if it takes only certain words."""
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(annotation) for choice in _choices(part)]
    return []


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(_plain(item) for item in value)
    if isinstance(value, float) and value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def describe(kind: type[Section] = Config) -> str:
    """Help text of every option: its form, default and meaning."""
    lines: list[str] = []
    section = ""
    for key, field in options(kind):
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines.append(f"\n{section}: {typing.cast(type, kind.model_fields[section].annotation).__doc__}")
        default = field.get_default(call_default_factory=True)
        form = "|".join(_choices(field.annotation)) or _form(field.annotation)
        suffix = "" if default in (None, "", (), {}) or field.is_required() else f" [{_plain(default)}]"
        lines.append(f"  --{key}={form}{suffix}")
        lines += [f"      {line.strip()}" for line in (field.description or "").splitlines()]
    return "\n".join(lines)


def _form(annotation: Any) -> str:
    """What to type after the `=`, in one word."""
    if typing.get_origin(annotation) is Annotated:
        return _form(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _form(typing.get_args(annotation)[0])
    origin = typing.get_origin(annotation) or annotation
    return {bool: "true|false", int: "N", float: "X", str: "TEXT", tuple: "A,B,…", dict: "NAME:X,…"}.get(origin, "VALUE")


class EvaluateOptions(Section):
    """Options of `evaluate`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    parallel: Parallel = "data"
    """How the processes share the network and the test set, as in `train`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    data_root: str | None = None
    """Folder of the data, where it has moved."""
    batch_size: Int | None = Field(None, ge=1)
    """Pictures of one batch over all processes. Default: the run's."""
    ten_crop: bool = False
    """Take the mean of the soft-max outputs on ten views of each picture: the four corners, the centre, and their mirror
    images (Section 4.1)."""


class CompareOptions(Section):
    """Options of `compare`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    other: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint that it is compared with."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN or OTHER is a name."""
    tolerance: Float = Field(1e-5, ge=0)
    """Largest difference that is still the same: absolute in losses, in shares right and in weights, relative in learning
    rates. fp32 sums in another order move a loss by a few 1e-6; 0 asks for equality to the bit."""
    weights_tolerance: Float | None = Field(None, ge=0)
    """The same for weights, their moving average and the optimizer's state. Default: `tolerance`."""


class PredictOptions(Section):
    """Options of `predict`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    images: Names = ()
    """Picture files, folders of them, patterns such as 'a/*.jpg', or - for the standard input. With none: some of the test set,
    predicted against actual."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    data_root: str | None = None
    """Folder of the data, where it has moved."""
    count: Int = Field(16, ge=1, le=400)
    """Pictures of the test set to show where no file is named."""
    save: str | None = None
    """Draw the pictures with their labels into this file (.png, .jpg, .pdf or .svg)."""
    json_lines: bool = False
    """Print one JSON object a picture, and nothing else. `--json` for short."""
    csv: bool = False
    """Print a table of name, actual label, five labels and probabilities as CSV, and nothing else."""
    neighbours: Int = Field(0, ge=0, le=100)
    """Tell the labels of so many training pictures, those whose last hidden layer is nearest (Section 6.1)."""
    searched: Int = Field(2_000, ge=1)
    """`neighbours`: training pictures that are searched, chosen by the seed."""

    @model_validator(mode="after")
    def _prints_one_thing(self) -> PredictOptions:
        if self.csv and self.json_lines:
            raise ValueError("csv=true and json_lines=true: one of them can be printed; leave one out")
        return self


class ExportOptions(Section):
    """Options of `export`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    out: str = Field(min_length=1)
    """File to write. NAME.onnx, NAME.pt2 (torch.export), NAME.ts (TorchScript): pictures from 0 to 255 in, logits out, for any
    number of pictures. NAME.safetensors: weights alone. NAME.pth: a state dict with torchvision's keys, of the networks `torchvision`
    and `seed` with ReLU."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    overwrite: bool = False
    """Replace a file that exists."""

    @model_validator(mode="after")
    def _is_of_a_kind(self) -> ExportOptions:
        if not self.out.lower().endswith((".onnx", ".pt2", ".ts", ".safetensors", ".pth")):
            raise ValueError(f"out={self.out}: what to write is told by its end, .onnx, .pt2, .ts, .safetensors or .pth")
        return self


class ReportOptions(Section):
    """Options of `report`."""

    runs: Names = Field(min_length=1)
    """Runs (folders or names). Several are laid over each other."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    out: str | None = None
    """Page to write. Default: RUN/report.html, of several runs report.html here."""
    watch: bool = False
    """Write it again and again while a run goes on; the page loads itself anew meanwhile."""
    every: Float = Field(10.0, ge=1, le=3600)
    """`watch`: seconds between two pages."""
    pictures: Int = Field(10_000, ge=0)
    """Test pictures that the network of a single run looks at, for confusion and predictions; of more, so many are chosen by the seed.
    0: none, and no neighbours."""
    searched: Int = Field(2_000, ge=0)
    """Training pictures among which neighbours are searched; chosen by the seed. 0: no neighbours."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    data_root: str | None = None
    """Folder of the data, where it has moved."""


class PrepareOptions(Section):
    """Options of `prepare`."""

    source: Literal["auto", "cifar10", "cifar100", "digits", "imagenet", "folder", "webdataset", "torchvision", "synthetic"] = "auto"
    """What to prepare. `auto`, `folder` and `imagenet` recognise by content what lies at `root`."""
    root: str | None = None
    """What holds the pictures: a folder of CLASS/*.jpg, or of train/ and test/ with such; a tar archive or a folder of such; WebDataset's
    shards (part-{000..009}.tar); CIFAR's pickles; a table of path,label (.csv, .tsv, .parquet)."""
    dataset: str | None = None
    """`torchvision`: its name of the set, e.g. Flowers102."""
    labels: str | None = None
    """File with the classes of ImageNet's validation pictures, where it does not lie beside them."""
    out: str | None = None
    """File to write, FILE.beton. Where there is a test set, it goes to FILE.test.beton. Default: where `train` looks for it."""
    split: Literal["both", "train", "test"] = "both"
    """Which split to write into FILE.beton."""
    size: Int | None = Field(None, ge=1, le=1024)
    """Side in pixels of the stored square (Section 2: 256). Default: 32 for CIFAR, 8 for digits, 256 for folders, 224 for synthetic."""
    resize: Literal["short_side", "max_side"] = "short_side"
    """`short_side` is scaled to `size` and the centre kept, as in the paper; `max_side`: the longer side is, and the whole picture kept
    on a black square."""
    encoding: Literal["raw", "jpg", "mixed"] = "raw"
    """`raw` reads fastest; `jpg` takes a ninth of the space at 256x256, two fifths at 32x32; `mixed` is half of each."""
    quality: Int = Field(90, ge=1, le=100)
    """Quality of JPEG."""
    holdout: Float = Field(0.0, ge=0, lt=1)
    """Share of a set without test pictures that goes to FILE.test.beton; 0 writes all pictures into FILE.beton."""
    per_file: Int | None = Field(None, ge=1)
    """Spread a split over files of at most so many pictures, FILE-00000-of-00013.beton and so on; preparing that was stopped
    goes on with those that are missing."""
    skip_bad: bool = False
    """Leave unreadable pictures out, count and list them, instead of stopping at the first."""
    workers: Int = Field(0, ge=0, le=256)
    """Writing processes. 0: one a core."""
    overwrite: bool = False
    """Replace a file that exists."""


class CheckOptions(Section):
    """Options of `prepare check`."""

    file: str = Field(min_length=1)
    """The prepared file, FILE.beton, every byte of which is compared with its checksum."""


class DryRunOptions(Section):
    """Options of `train` that show a layout instead of training."""

    dry_run: bool = False
    """Print what each process would hold, keep in memory and send, and start and write nothing."""
    world_size: Int | None = Field(None, ge=1, le=65536)
    """Processes of a dry run. Default: those that torchrun started, or 1."""

    @model_validator(mode="after")
    def _only_a_dry_run_has_a_size(self) -> DryRunOptions:
        if self.world_size is not None and not self.dry_run:
            raise ValueError(
                f"world_size={self.world_size} (command line): torchrun says how many processes train; add --dry_run to see a layout, "
                f"or start with torchrun --nproc_per_node={self.world_size}"
            )
        return self


class PlanOptions(Section):
    """Options of `plan`."""

    config: str = "alexnet_paper"
    """The training configuration to plan for: a path, or the name of a shipped one."""
    world_size: Int | None = Field(None, ge=1, le=65536)
    """Devices. Default: this machine's GPUs or (at most 8) cores; a described machine's devices of one node."""
    machine: str = Field("this", min_length=1)
    """`this` is measured for some seconds, or remembered; a described one is a preset (v100, a100, a100_pcie, h100, h200, rtx4090, cpu)
    or a YAML file (docs/scaling.md)."""
    devices_per_node: Int | None = Field(None, ge=1, le=65536)
    """Devices that share a node, of a described machine. Default: its own."""
    batch_sizes: Counts = Field((128, 256, 1024), min_length=1)
    """Pictures of a step over all devices, each tried."""
    classes: Int | None = Field(None, ge=2)
    """Outputs of fc8. Default: those of the configuration's data, 1,000 where it is a folder."""
    precision: Literal["fp32", "bf16"] | None = None
    """Arithmetic. Default: the configuration's."""
    remeasure: bool = False
    """Measure this machine again."""
    out: str | None = None
    """Write the predictions into this JSON file."""
    curve: str | None = None
    """Draw images/s from 1 to 1,024 devices into this picture, and print its tables."""
    curve_batch: Int = Field(4096, ge=1)
    """Pictures of a step over all devices, in the curve that holds them fixed."""

    @model_validator(mode="after")
    def _the_machine_fits(self) -> PlanOptions:
        if self.machine == "this" and (self.curve or self.devices_per_node):
            name = "curve" if self.curve else "devices_per_node"
            raise ValueError(f"{name} goes with a described machine, not machine=this; e.g. --machine=a100")
        if self.machine != "this" and self.remeasure:
            raise ValueError(f"remeasure goes with machine=this, not machine={self.machine}")
        return self


class BenchOptions(Section):
    """Options of `bench`."""

    what: Literal["plain", "parallel", "loader", "lrn", "accuracy", "faults", "soak", "all"]
    """`plain`: the tutorial's job here against the same job in ordinary PyTorch, whole steps with loading.
    `parallel`: the paper's network under each --parallel in turn, on synthetic pictures.
    `loader`: reading and augmenting pictures here, in FFCV by itself, in PyTorch's DataLoader and in WebDataset.
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
    """`parallel`: pictures of a step over all processes, each tried."""
    modes: Modes = ()
    """`parallel`, `faults`: which of none, data, model, hybrid and owt. Default: all; in `parallel` those that this machine can run side
    by side, so `hybrid`, which takes four processes, where there are four cores or GPUs."""
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
    as large as the pictures are where they are smaller."""
    lrn: bool = True
    """`parallel`: local response normalisation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`parallel`, `lrn`: `auto` takes a GPU where there is one."""
    sides: Sides = ()
    """`loader`: which to measure, as the JSON names them. Default: all; `webdataset` where that package is installed."""
    pictures: Int = Field(4096, ge=8)
    """`loader`: pictures taken at most, a keyed choice; at 256x256 each takes 0.2 MB of the temporary folder."""
    batch: Int = Field(128, ge=1)
    """`loader`, `lrn`: pictures of a batch; of `lrn` 64 if not given."""
    seconds: Float = Field(2.0, gt=0, le=600)
    """`loader`: timed seconds of each repeat at least, after the first batches."""

    @model_validator(mode="after")
    def _options_go_with_what(self) -> BenchOptions:
        own = {
            "plain": {"root", "steps", "peer", "repeats"},
            "accuracy": {"root", "steps", "peer", "config", "repeats"},
            "all": {"root", "quick"},
            "parallel": {"steps", "batches", "modes", "processes", "precision", "image_size", "lrn", "device", "repeats"},
            "loader": {"root", "precision", "image_size", "sides", "pictures", "batch", "seconds", "repeats"},
            "lrn": {"batch", "device", "repeats"},
            "faults": {"modes", "kills", "seed"},
            "soak": {"minutes"},
        }
        for name in sorted(self.model_fields_set - {"what", "out"} - own[self.what]):
            others = ", ".join(f"`bench {what}`" for what, names in own.items() if name in names)
            raise ValueError(f"{name} goes with {others}, not with `bench {self.what}`; leave it out")
        return self


class ShowOptions(Section):
    """Options of `prepare show`, besides those of `train` that describe the data."""

    out: str = Field("contact-sheet.png", min_length=1)
    """Picture to draw (.png, .jpg, .pdf or .svg)."""
    count: Int = Field(8, ge=1, le=100)
    """Pictures of the training set, chosen by the seed."""
    views: Int = Field(6, ge=1, le=50)
    """Epochs across, from the first, each with what it sees of the pictures."""
