"""Options of the network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from distalex.config.schema import Counts, Float, Int, Names, Section, plain_text

_CHANNELS = {"conv1": 96, "conv2": 256, "conv3": 384}  # of the paper's; conv4 and conv5 have as many as two of these


class ModelConfig(Section):
    """The network."""

    name: Literal["paper", "seed", "torchvision", "cifar"] = "paper"
    """`paper`: two columns, LRN, overlapping pooling (Section 3.5). `seed`: the CIFAR-10 tutorial's one tower.
    `torchvision`: torchvision's one tower, whose weights file it loads. `cifar`: one tower for images from 32x32 on, convolutions of
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
    def _convolutions_fit(self) -> ModelConfig:
        names = [f"conv{number}" for number in range(1, len(self.channels) + 1)]
        if self.name != "cifar":
            for option in ("channels", "kernels", "pooled", "batch_norm"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"model.{option}={plain_text(getattr(self, option))} goes with model.name=cifar, not {self.name}")
            if not (self.fc6 and self.fc7):
                raise ValueError(f"model.{'fc7' if self.fc6 else 'fc6'}=0: only model.name=cifar can do without; give it units")
        if not 1 <= len(names) <= 16 or len(self.kernels) != len(names):
            raise ValueError(
                f"model.kernels={plain_text(self.kernels)}: as many as model.channels={plain_text(self.channels)} are needed, from 1 to 16"
            )
        if self.name == "cifar" and self.init == "released":
            raise ValueError(
                "model.init=released: the 2012 code's weights are those of five convolutions and three layers; use model.init=paper"
            )
        if max(self.kernels) > 11:
            raise ValueError(f"model.kernels={plain_text(self.kernels)}: sides of at most 11 pixels are possible")
        for name in self.pooled:
            if name not in names:
                raise ValueError(f"model.pooled={name}: no such convolution; there are {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _parts_of_the_paper_go_together(self) -> ModelConfig:
        if self.name != "paper":
            for option in ("pool", "exchange", "without", "width"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"model.{option}={plain_text(getattr(self, option))} goes with model.name=paper, not {self.name}")
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
    def _one_tower_is_whole(self) -> ModelConfig:
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
