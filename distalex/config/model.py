"""Options of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from distalex.config.choices import OneOf, declared_in, facts_in
from distalex.config.own_network import FORMS, HONOURED, is_own, label_of, require_form, require_honoured, with_code
from distalex.config.schema import Counts, Float, Int, Names, Section, plain_text

NETWORKS = "model/networks"
OF_TRAINING = ("dropout", "init", "weights", "freeze", "thaw")
"""Options of the network that do not change what it computes in evaluation."""


class ModelConfig(Section):
    """The network."""

    name: Annotated[str, OneOf(NETWORKS, forms=FORMS, read=require_form)] = "paper"
    """Network."""
    code: str | None = None
    """The text of the file of `FILE.py:FUNCTION`, as a run records it; it is read from the file, not given."""
    channels: Counts = (64, 128, 256, 256, 256)
    """`cifar`: output channels of the convolutions, conv1 first."""
    kernels: Counts = (5, 3, 3, 3, 3)
    """`cifar`: kernel sides of the convolutions in pixels."""
    pooled: Names = ("conv1", "conv2", "conv5")
    """`cifar`: convolutions followed by 3x3 max-pooling, stride 2."""
    batch_norm: bool = False
    """`cifar`: batch normalisation after each convolution and its pooling, with the statistics of the global batch."""
    activation: Literal["relu", "tanh"] = "relu"
    """Activation function of the hidden layers (Section 3.1: training error falls six times as fast with ReLU). `tanh` needs
    `lrn=false`."""
    pool: Literal["overlapping", "plain"] = "overlapping"
    """`paper`: max-pooling with stride 2 over overlapping windows of 3x3 (Section 3.4) or plain ones of 2x2."""
    exchange: Names = ("conv3",)
    """`paper`: convolutions that read all columns instead of their own (Section 3.2). Fully connected layers always read all."""
    without: Names = ()
    """`paper`: convolutions to leave out, conv3, conv4 or both (Section 7: depth matters)."""
    width: Float = Field(1.0, ge=1 / 16, le=4)
    """`paper`: multiple of the convolutions' channels (Section 3.2 compares with a network of half as many)."""
    columns: Int = Field(2, ge=1, le=64)
    """Number of columns (groups) in conv2, conv4, conv5 (Section 3.2). The paper has 2, networks of one tower 1. A network of your own
    says it itself."""
    lrn: bool = True
    """Local response normalisation after conv1 and conv2 (Section 3.3). Networks of one tower have none by default."""
    lrn_alpha: Float = Field(1e-4, ge=0)
    """Alpha of local response normalisation in PyTorch's convention, where it is divided by the window of 5: 1e-4 in the 2012 code,
    5e-4 by the paper's formula."""
    dropout: Float = Field(0.5, ge=0, lt=1)
    """Dropout probability in the first two fully connected layers (Section 4.2: 0.5)."""
    fc6: Int = Field(4096, ge=0)
    """Units of the first fully connected layer (Section 3.5: 4096). `cifar`: 0 leaves it out."""
    fc7: Int = Field(4096, ge=0)
    """Units of the second fully connected layer (Section 3.5: 4096). `cifar`: 0 leaves it out."""
    init: Literal["scaled", "identity", "torch", "paper", "released"] = "scaled"
    """Initial weights. `scaled`: normal, scaled by fan-in; trains at every image size. `identity`: as `scaled`, but convolutions after the
    first pass their inputs on unchanged (Zagoruyko & Komodakis 2017) and the classifier is 0. `torch`: PyTorch's default. `paper`:
    N(0, 0.01), biases 1 in conv2, conv4, conv5, fc6, fc7 (Section 5). `released`: the 2012 code's. The last two expect
    `data.normalize=paper`."""
    weights: str | None = None
    """Run, checkpoint or file to take initial weights from: a state dict or a checkpoint of another program, as torch.save or safetensors
    wrote it, of torchvision's AlexNet, a network of distalex or the 2012 code's two columns. Of a run, its best checkpoint is taken, and
    with it network, `data.image_size` and `data.normalize` where the command line does not give them. `torchvision`: the file of
    torchvision's AlexNet, trained on ImageNet, found in PyTorch's cache or in DISTALEX_DATA, else downloaded. A classifier for other
    classes is re-initialised."""
    freeze: Names = ()
    """Layers that keep their weights, e.g. `conv1,conv2`. `first`, `convolutions` and `classifier` stand for those of every network.
    Batch normalisation that is frozen keeps its statistics too."""
    thaw: Int | None = Field(None, ge=1)
    """Epochs after which the layers of `freeze` train too; without `weights` they train from the beginning. Default: never."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_network(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = str(values.get("name", cls.model_fields["name"].default))
        if is_own(name):
            require_honoured({option: plain_text(value) for option, value in values.items() if option in cls.model_fields}, name)
            return with_code({"columns": 1, **values})
        if values.get("code") is not None:
            raise ValueError(
                f"model.code: belongs to a model.name of the form FILE.py:FUNCTION, whose text it is, not to {name}; remove it"
            )
        return {**facts_in(NETWORKS, name).get("DEFAULTS", {}), **values}

    @model_serializer(mode="wrap")
    def _leave_out_what_does_not_apply(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = serialize(self)
        if self.is_own:
            return {option: value for option, value in values.items() if option in HONOURED}
        return {option: value for option, value in values.items() if option != "code"}

    @model_validator(mode="after")
    def _require_something_to_thaw(self) -> ModelConfig:
        if self.thaw is not None and not self.freeze:
            raise ValueError(f"model.thaw={self.thaw}: no layer is frozen; add --model.freeze=convolutions, or --model.thaw=none")
        return self

    @model_validator(mode="after")
    def _require_options_of_network(self) -> ModelConfig:
        owners: dict[str, list[str]] = {}
        for name, declared in declared_in(NETWORKS).items():
            for option in declared.facts.get("OPTIONS", ()):
                owners.setdefault(option, []).append(name)
        for option, names in owners.items():
            value = getattr(self, option)
            if self.name not in names and value != type(self).model_fields[option].default:
                raise ValueError(f"model.{option}={plain_text(value)}: goes with model.name={' or '.join(names)}, not {self.name}")
        for layer in ("fc6", "fc7"):
            if not getattr(self, layer) and layer not in self.facts.get("OPTIONAL_LAYERS", ()):
                can = [name for name in declared_in(NETWORKS) if layer in facts_in(NETWORKS, name).get("OPTIONAL_LAYERS", ())]
                raise ValueError(f"model.{layer}=0: the {self.name} network needs it; give it units, or use model.name={' or '.join(can)}")
        if self.init in self.facts.get("REFUSED_INIT", ()):
            raise ValueError(f"model.init={self.init}: does not fit the layers of the {self.name} network; use model.init=scaled")
        if self.facts.get("ONE_TOWER") and self.columns != 1:
            raise ValueError(f"model.columns={self.columns}: the {self.name} network is one tower; use model.name=paper for columns")
        return self

    @model_validator(mode="after")
    def _require_consistent_convolutions(self) -> ModelConfig:
        names = [f"conv{number}" for number in range(1, len(self.channels) + 1)]
        if not 1 <= len(names) <= 16 or len(self.kernels) != len(names):
            raise ValueError(
                f"model.kernels={plain_text(self.kernels)}: pass 1 to 16 kernels, as many as model.channels={plain_text(self.channels)} has"
            )
        if max(self.kernels) > 11:
            raise ValueError(f"model.kernels={plain_text(self.kernels)}: kernels have at most 11 pixels; lower {max(self.kernels)}")
        for name in self.pooled:
            if name not in names:
                raise ValueError(f"model.pooled={name}: no such convolution; there are {', '.join(names)}")
        for name in self.exchange:
            if name not in ("conv2", "conv3", "conv4", "conv5"):
                raise ValueError(f"model.exchange={name}: only conv2, conv3, conv4 and conv5 can read other columns; remove {name}")
        for name in self.without:
            if name not in ("conv3", "conv4"):
                raise ValueError(f"model.without={name}: only conv3 and conv4 can be left out; remove {name}")
        if self.activation == "tanh" and self.lrn:
            raise ValueError("model.activation=tanh: local response normalisation includes a ReLU; add --model.lrn=false")
        return self

    @model_validator(mode="after")
    def _require_divisible_layers(self) -> ModelConfig:
        convolutions = {name: row[0] for name, row in self.facts.get("CONVOLUTIONS", {}).items()}
        for name, channels in convolutions.items():
            if channels * self.width != int(channels * self.width):
                raise ValueError(
                    f"model.width={self.width:g}: {name} would have {channels * self.width:g} channels; "
                    f"give a multiple that divides its {channels}, e.g. 0.5"
                )
        widths = {name: channels * self.width for name, channels in convolutions.items()}
        for name, width in {**widths, "fc6": self.fc6, "fc7": self.fc7}.items():
            if width % self.columns:
                raise ValueError(f"model.columns={self.columns}: does not divide the {width:g} outputs of {name}; use a divisor of them")
        return self

    @property
    def is_own(self) -> bool:
        """Return whether it is a network of one's own or of torchvision's, and none of model/networks."""
        return is_own(self.name)

    @property
    def label(self) -> str:
        """Return a short name for folders, tables and figures."""
        return label_of(self.name)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what the network's file declares in constants (see model/networks)."""
        return facts_in(NETWORKS, self.name)
