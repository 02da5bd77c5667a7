"""`python -m distalex.export RUN`: ONNX, torch.export, safetensors, or a state dict with torchvision's keys."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from distalex.config.model import OF_TRAINING
from distalex.console import bytes_text, note
from distalex.errors import UserError
from distalex.export.options import ExportOptions
from distalex.files import refuse_unwritable, write_atomically
from distalex.model.torchvision_keys import TORCHVISION_KEYS
from distalex.runs.trained import Trained, open_trained

NEEDS = {".onnx": ("onnx", "onnxscript"), ".safetensors": ("safetensors",)}
"""Packages that a kind of file needs, by extension."""
TOLERANCE = 1e-4
"""Largest difference between a logit of the file, read back, and of the network, relative to the largest logit."""


class Normalised(nn.Module):
    """The network with its normalisation: images (n, 3, size, size) float32, RGB from 0 to 255 -> logits (n, classes) float32."""

    mean: Tensor
    scale: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        normalisation = trained.augmentation(torch.device("cpu"), torch.float32)
        self.register_buffer("mean", normalisation.mean.view(3, 1, 1).clone())
        self.register_buffer("scale", normalisation.scale.view(3, 1, 1).clone())
        self.net = trained.net

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (n, 3, size, size) and return logits (n, classes)."""
        return self.net((images - self.mean) * self.scale)


def export_run(options: ExportOptions) -> Path:
    """Write the network of a run into a file, read it back and compare; returns the path.

    Raises UserError where the file exists, cannot be written, needs a missing package or does not fit the network.
    """
    path = Path(options.out)
    kind = path.suffix.lower()
    missing = [name for name in NEEDS.get(kind, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"out={path}: needs {' and '.join(missing)}; install with: pip install {' '.join(missing)}")
    if path.exists() and not options.overwrite:
        raise UserError(f"out={path}: exists; choose another name or add --overwrite")
    trained = open_trained(options.run, options.runs_dir, note)
    if kind == ".pth" and (not trained.config.model.facts.get("TORCHVISION_KEYS") or trained.config.model.activation != "relu"):
        raise UserError(
            f"out={path}: a .pth file is for torchvision's AlexNet, one tower with ReLU, and this run's network is "
            f"`{trained.config.model.name}` with {trained.config.model.activation}; use .safetensors"
        )
    with refuse_unwritable(path, "out", "choose another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
        apart = {".onnx": _onnx, ".pt2": _program, ".safetensors": _safetensors, ".pth": _torchvision}[kind](trained, path)
    found = "equal tensors" if apart is None else f"logits within {apart:.0e} of the network's"
    print(f"written: {path} ({bytes_text(path.stat().st_size)}), read back: {found}")
    return path


def describe_network(trained: Trained) -> dict[str, str]:
    """Return what a reader of the file needs to know, as text by name: classes, image size, input, output, source, network."""
    network = trained.config.model.model_dump(mode="json", exclude=set(OF_TRAINING))
    return {
        "classes": json.dumps(list(trained.classes)),
        "size": str(trained.config.data.image_size),
        "input": "images: float32 (n, 3, size, size), RGB, 0 to 255; normalised inside",
        "output": "logits: float32 (n, classes), before softmax",
        "source": f"distalex, {trained.config.model.name} network, {trained.path.name}",
        "network": json.dumps(network),
        "normalize": trained.config.data.normalize,
    }


def _images(trained: Trained) -> Tensor:
    size = trained.config.data.image_size
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, size, size)).astype(np.float32))


def _onnx(trained: Trained, path: Path) -> float:
    import onnx
    from onnx.reference import ReferenceEvaluator

    net, images = Normalised(trained).eval(), _images(trained)
    program = torch.onnx.export(
        net,
        (images,),
        dynamo=True,
        verbose=False,
        dynamic_shapes={"images": {0: torch.export.Dim("images")}},
        input_names=["images"],
        output_names=["logits"],
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, describe_network(trained))
    content = model.SerializeToString()
    (logits,) = ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"images": images.numpy()})
    apart = _require_close(torch.from_numpy(logits), net, images)
    write_atomically(path, content)
    return apart


def _program(trained: Trained, path: Path) -> float:
    net, images = Normalised(trained).eval(), _images(trained)
    program = torch.export.export(net, (images,), dynamic_shapes={"images": {0: torch.export.Dim("images", min=1)}})
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"distalex.json": json.dumps(describe_network(trained))})
    with torch.no_grad():
        apart = _require_close(torch.export.load(io.BytesIO(file.getvalue())).module()(images), net, images)
    write_atomically(path, file.getvalue())
    return apart


def _require_close(logits: Tensor, net: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        expected = net(images)
    apart = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    assert apart < TOLERANCE, f"logits of the exported network differ by {apart:.1e}"
    return apart


def _safetensors(trained: Trained, path: Path) -> None:
    from safetensors.torch import load, save

    weights = {name: value.clone(memory_format=torch.contiguous_format) for name, value in trained.net.state_dict().items()}
    facts = {**describe_network(trained), "input": "weights only: normalise images as (images - mean) * scale"}
    front = Normalised(trained)
    facts |= {name: json.dumps(getattr(front, name).flatten().tolist()) for name in ("mean", "scale")}
    content = save(weights, facts)
    assert all(torch.equal(value, weights[name]) for name, value in load(content).items())
    write_atomically(path, content)


def _torchvision(trained: Trained, path: Path) -> None:
    names = {ours: theirs for theirs, ours in TORCHVISION_KEYS.items()}
    weights = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in trained.net.state_dict().items()}
    file = io.BytesIO()
    torch.save(weights, file)
    kept = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    assert all(torch.equal(value, kept[name]) for name, value in weights.items())
    write_atomically(path, file.getvalue())
