"""Options of `export`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from distalex.config.command import CommandOptions, RunOrNewest, RunsDir

KINDS = (".onnx", ".pt2", ".safetensors", ".pth")
"""Extensions of the files that `export` writes."""


class ExportOptions(CommandOptions):
    """Write the network for other programs, read it back and compare."""

    usage: ClassVar[str] = "python -m distalex.export [RUN] --out=FILE.onnx|FILE.pt2|FILE.safetensors|FILE.pth [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("run",)

    run: RunOrNewest = None
    out: str = Field(min_length=1)
    """File to write. NAME.onnx and NAME.pt2 (torch.export): images from 0 to 255 in, logits out, for any batch size.
    NAME.safetensors: weights only. NAME.pth: a state dict with torchvision's keys, of the networks `torchvision` and `seed` with ReLU."""
    runs_dir: RunsDir = "runs"
    overwrite: bool = False
    """Replace an existing file."""

    @model_validator(mode="after")
    def _is_of_a_kind(self) -> ExportOptions:
        if not self.out.lower().endswith(KINDS):
            raise ValueError(f"out={self.out}: unknown extension; use one of {', '.join(KINDS)}")
        return self
