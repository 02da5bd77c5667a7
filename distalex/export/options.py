"""Options of `export`."""

from __future__ import annotations

from pydantic import Field, model_validator

from distalex.config.schema import Section


class ExportOptions(Section):
    """Options of `export`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    out: str = Field(min_length=1)
    """File to write. NAME.onnx, NAME.pt2 (torch.export), NAME.ts (TorchScript): images from 0 to 255 in, logits out, for any
    number of images. NAME.safetensors: weights alone. NAME.pth: a state dict with torchvision's keys, of the networks `torchvision`
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
