"""Read the tensors of a file of weights that any program wrote, or say what the file is instead; no code of the file ever runs."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from distalex.errors import UserError, brief

BEGINNINGS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch that with `git lfs pull`",
    b"<": "a web page, not a file of weights; download the file itself",
    b"{": "JSON, not a file of weights; pass the file that holds the tensors",
    b"\x89HDF": "HDF5, as Keras writes it; pass weights of a PyTorch network",
    b"\x93NUMPY": "a NumPy array; save tensors with torch.save({NAME: torch.from_numpy(ARRAY), …}, FILE)",
    **dict.fromkeys(
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd"), "compressed; unpack it and pass what was inside"
    ),
}
"""What a file is that begins with these bytes, and what to do."""
INSIDE = {
    r".*/(constants\.pkl|code/.*)": ("a TorchScript program", "torch.jit.load(FILE, map_location='cpu').state_dict()"),
    r".*archive_format|.*serialized_exported_program\.json": ("a program of torch.export", "torch.export.load(FILE).state_dict"),
    r".*\.npy": ("an archive of NumPy arrays", "{k: torch.from_numpy(v) for k, v in numpy.load(FILE).items()}"),
}
"""What a zip archive is that has a record of such a name, and the expression that gives its tensors."""
OF_ONNX = "{t.name: torch.tensor(onnx.numpy_helper.to_array(t)) for t in onnx.load(FILE).graph.initializer}"
OF_PICKLE = "{k: torch.as_tensor(v) for k, v in pickle.load(open(FILE, 'rb')).items()}"
OF_TORCH = "torch.load(FILE, map_location='cpu', weights_only=False)"
LONGEST_HEADER = 100_000_000
"""Most bytes of the header of a safetensors file: its length stands in the first eight bytes, JSON follows."""
DEEPEST = 30
"""Levels of dicts that are looked into; a dict may contain itself."""
MOST_CLASSES = 500
"""Unknown classes that a file may name."""


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds."""

    content: Any
    """As torch.load returns it; the tensors by name for safetensors."""
    facts: dict[str, str] = field(default_factory=dict)
    """Text by name that a safetensors file holds beside its tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor in dicts inside dicts, by the keys that lead to it, joined by dots."""
        return {".".join(keys): value for keys, value in _leaves(self.content) if keys and isinstance(value, Tensor)}

    def pickled_module(self) -> tuple[str, ...] | None:
        """Return the keys that lead to a network that was pickled whole, None where there is none."""
        return next((keys for keys, value in _leaves(self.content) if isinstance(value, _Unknown) and value.is_module), None)


class _Unknown:
    """Stands for an object of a class that PyTorch does not vouch for; the class is not imported and its code does not run."""

    state: Any = None

    def __new__(cls, *arguments: Any, **named: Any) -> _Unknown:
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def is_module(self) -> bool:
        """Whether it is a network or layer."""
        return isinstance(self.state, dict) and "_modules" in self.state


def _leaves(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in dicts inside dicts, with the keys that lead to it; what is deeper than DEEPEST counts as a value."""
    if not isinstance(value, dict) or len(above) > DEEPEST:
        yield above, value
        return
    for key, inside in value.items():
        yield from _leaves(inside, (*above, str(key)))


def read_weights_file(path: Path) -> WeightsFile:
    """Read a file that torch.save or safetensors wrote, onto the CPU, with its checksums tested.

    Objects of other classes than tensors and plain values are left out. Raises UserError, which says what the file is and what to do,
    for any other file and for a damaged one.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); pass a file of weights") from None
    if not head:
        raise UserError(f"{path}: is empty; fetch it again")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LONGEST_HEADER:
        return _read_safetensors(path)
    for beginning, kind in BEGINNINGS.items():
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(beginning):
            raise UserError(f"{path}: is {kind}")
    if head.startswith(b"PK"):
        _require_whole_archive(path)
    elif path.suffix.lower() == ".onnx" or re.match(rb"\x08[\x01-\x20]\x12", head):
        raise UserError(f"{path}: is an ONNX file; {converting(path, OF_ONNX)}")
    elif head[257:262] == b"ustar":
        raise UserError(f"{path}: is a tar archive; unpack it and pass the file of weights inside")
    return WeightsFile(_load(path))


def converting(path: Path, expression: str) -> str:
    """Say how to write the tensors that `expression` gives, where FILE stands for `path`, into a file that can be read."""
    imports = ", ".join(["torch", *(name for name in ("numpy", "onnx.numpy_helper", "pickle") if f"{name}." in expression)])
    program = f"import {imports}; torch.save({expression.replace('FILE', repr(str(path)))}, 'weights.pth')"
    quoted = f'"{program}"' if not set(program) & set('"$`\\!') else shlex.quote(program)
    return f"if you trust it, run where it came from: python -c {quoted}, and pass weights.pth"


def _load(path: Path) -> Any:
    """torch.load with stand-ins for classes that it does not know."""
    stand_ins: dict[str, Any] = {}
    while True:
        try:
            with safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch and pickle raise a dozen kinds
            reason = " ".join(str(error).split())
            if not _add_stand_in(stand_ins, reason) or len(stand_ins) > MOST_CLASSES:
                raise UserError(f"{path}: {_explained(path, reason, type(error).__name__)}") from None


def _add_stand_in(stand_ins: dict[str, Any], reason: str) -> bool:
    """Add what torch.load's error names: a class, or a mapping where a class is found to be filled like one. Returns whether it did."""
    if named := re.search(r"Unsupported global: GLOBAL (\S+) was not", reason):
        name = named[1] if "." in named[1] else f"builtins.{named[1]}"
        stand_ins[name] = type(name, (_Unknown,), {"__module__": "unknown"})
        return True
    filled = re.search(r"but got <class 'unknown\.([^']+)'>", reason)
    if filled and filled[1] in stand_ins and not issubclass(stand_ins[filled[1]], _UnknownMapping):
        stand_ins[filled[1]] = type(filled[1], (_UnknownMapping,), {"__module__": "unknown"})
        return True
    return False


class _UnknownMapping:
    """Stands for a class of mappings, by an ordinary one."""

    def __new__(cls, *arguments: Any, **named: Any) -> Any:
        return OrderedDict()


def _explained(path: Path, reason: str, kind: str) -> str:
    """What torch.load's error means, and what to do."""
    if "is blocked" in reason:
        return "calls functions of the operating system when it is opened, so it is not opened; delete it"
    if "persistent_load of storage" in reason:
        return f"holds a whole pickled network; {converting(path, OF_TORCH + '.state_dict()')}"
    if "Unsupported operand 149" in reason:
        expression = OF_TORCH if zipfile.is_zipfile(path) else OF_PICKLE
        return f"is a pickle of a protocol that PyTorch does not read safely; {converting(path, expression)}"
    if re.search("unexpected EOF|Ran out of input|corrupt|failed finding central|PytorchStreamReader", reason) or kind == "EOFError":
        return "is cut short or damaged; fetch it again"
    return "is no file of weights that PyTorch or safetensors wrote; pass one that torch.save(net.state_dict(), FILE) wrote"


def _require_whole_archive(path: Path) -> None:
    """Raise UserError where a zip archive is damaged or holds something else than what torch.save writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names, unchecked = archive.namelist(), {record.filename for record in archive.infolist() if not record.CRC}
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError):
        raise UserError(f"{path}: is cut short or damaged; fetch it again") from None
    if damaged is not None and damaged not in unchecked:
        raise UserError(f"{path}: damaged, the checksum of its record {damaged} is wrong; fetch it again")
    for pattern, (kind, expression) in INSIDE.items():
        if any(re.fullmatch(pattern, name) for name in names):
            raise UserError(f"{path}: is {kind}; {converting(path, expression)}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise UserError(f"{path}: is a zip archive of {', '.join(names[:3])}; unpack it and pass the file of weights inside")


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        from safetensors import safe_open
    except ModuleNotFoundError:
        raise UserError(f"{path}: needs the package safetensors; install it with: pip install safetensors") from None
    try:
        with safe_open(path, "pt") as file:
            return WeightsFile({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118
    except Exception as error:  # SafetensorError, and what Rust's errors become
        reason = brief(error)
        raise UserError(f"{path}: cut short or damaged, or not a file of safetensors ({reason}); fetch it again") from None
