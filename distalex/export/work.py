"""A run's network as other programs read it: ONNX, torch.export, TorchScript, safetensors, or a state dict with torchvision's keys."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from distalex.errors import UserError
from distalex.export.options import ExportOptions
from distalex.files import write_atomically
from distalex.model.torchvision_keys import TORCHVISION_KEYS
from distalex.runs.trained import Trained, load_trained

NEEDS = {".onnx": ("onnx", "onnxscript"), ".safetensors": ("safetensors",)}
TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit, between what was written and the network."""


class FromColours(nn.Module):
    """The network behind its own normalisation: images (n, 3, size, size) float32, RGB from 0 to 255 -> logits (n, classes)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        views = trained.views(torch.device("cpu"), torch.float32)
        self.register_buffer("mean", views.mean.view(3, 1, 1).clone())
        self.register_buffer("scale", views.scale.view(3, 1, 1).clone())
        self.net = trained.net

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - self.mean) * self.scale)


def export_run(options: ExportOptions) -> Path:
    """`python -m distalex.export RUN --out=FILE`: write the network, read it back and compare. Raises UserError."""
    path = Path(options.out)
    kind = path.suffix.lower()
    missing = [name for name in NEEDS.get(kind, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"out={path}: needs {' and '.join(missing)}; install with: pip install {' '.join(missing)}")
    if path.exists() and not options.overwrite:
        raise UserError(f"out={path}: exists; choose another name, or add --overwrite")
    trained = load_trained(options.run, options.runs_dir)
    if kind == ".pth" and (not trained.config.model.facts.get("TORCHVISION_KEYS") or trained.config.model.activation != "relu"):
        raise UserError(
            f"out={path}: torchvision's keys are those of one tower with ReLU, and this run's is the {trained.config.model.name} network; "
            "use .safetensors for its own"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        apart = {".onnx": _onnx, ".pt2": _program, ".ts": _script, ".safetensors": _safetensors, ".pth": _torchvision}[kind](trained, path)
    except OSError as error:
        raise UserError(f"out={path}: cannot be written ({error.strerror or error}); give another place") from None
    said = "the same tensors" if apart is None else f"logits within {apart:.0e} of the network's"
    print(f"written: {path} ({path.stat().st_size / 1e6:,.1f} MB), read back: {said}")
    return path


def describe(trained: Trained) -> dict[str, str]:
    """What a reader has to know, as text by name."""
    return {
        "classes": json.dumps(list(trained.classes)),
        "size": str(trained.config.data.image_size),
        "input": "images: float32 (n, 3, size, size), RGB, 0 to 255; normalised inside",
        "output": "logits: float32 (n, classes), before any soft-max",
        "source": f"distalex, {trained.config.model.name} network, {trained.path.name}",
    }


def _images(trained: Trained) -> Tensor:
    size = trained.config.data.image_size
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, size, size)).astype(np.float32))


def _onnx(trained: Trained, path: Path) -> float:
    import onnx
    from onnx.reference import ReferenceEvaluator

    net, images = FromColours(trained).eval(), _images(trained)
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
    onnx.helper.set_model_props(model, describe(trained))
    content = model.SerializeToString()
    (logits,) = ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"images": images.numpy()})
    apart = _require_close(torch.from_numpy(logits), net, images)
    write_atomically(path, content)
    return apart


def _program(trained: Trained, path: Path) -> float:
    net, images = FromColours(trained).eval(), _images(trained)
    program = torch.export.export(net, (images,), dynamic_shapes={"images": {0: torch.export.Dim("images", min=1)}})
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"distalex.json": json.dumps(describe(trained))})
    with torch.no_grad():
        apart = _require_close(torch.export.load(io.BytesIO(file.getvalue())).module()(images), net, images)
    write_atomically(path, file.getvalue())
    return apart


def _script(trained: Trained, path: Path) -> float:
    net, images = FromColours(trained).eval(), _images(trained)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated for torch.export, which not every libtorch reads
        traced = torch.jit.freeze(torch.jit.trace(net, images))
        file = io.BytesIO()
        torch.jit.save(traced, file, _extra_files={"distalex.json": json.dumps(describe(trained))})
        one = images[:1]
        apart = _require_close(torch.jit.load(io.BytesIO(file.getvalue()))(one), net, one)
    write_atomically(path, file.getvalue())
    return apart


def _require_close(logits: Tensor, net: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        expected = net(images)
    apart = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    assert apart < TOLERANCE, f"what was exported gives other logits, {apart:.1e} apart"
    return apart


def _safetensors(trained: Trained, path: Path) -> None:
    from safetensors.torch import load, save

    weights = {name: value.contiguous() for name, value in trained.net.state_dict().items()}
    facts = {**describe(trained), "input": "weights alone: images are normalised as `mean` and `scale` say"}
    front = FromColours(trained)
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
