"""Encoded images and small trees of files."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from distalex.config.data import DataConfig
from distalex.data.splits import list_sources


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(width: int = 64, height: int = 48) -> Image.Image:
    """Red rises to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], 2).astype(np.uint8))


JPEG, PNG = encoded(ramp()), encoded(ramp(), "PNG")


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar(path: Path, files: dict[str, bytes], kind: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, kind) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def found(root: Path | str, name: str = "folder", **options) -> dict[str, Counter]:
    """Splits with how many images each class has; every one is read."""
    splits = {}
    for source in list_sources(DataConfig(name=name, root=str(root), stored_size=8, **options)):
        assert all(source.image(sample).shape == (8, 8, 3) for sample in range(len(source)))
        splits[source.split] = Counter(source.classes[label] for label in source.labels)
    return splits


CLASSES = {f"{class_}/{number}.jpg": JPEG for class_ in ("ant", "bee") for number in range(3)}
BOTH = {"ant": 3, "bee": 3}
SPLITS = {f"{split}/{name}": content for split in ("train", "test") for name, content in CLASSES.items()}
VALIDATION = {f"val/ILSVRC2012_val_0000000{number}.JPEG": JPEG for number in range(1, 5)}
IMAGENET = {f"train/n0000000{number}/n0000000{number}_{image}.JPEG": JPEG for number in range(2) for image in range(2)} | VALIDATION
PAIRS = {f"{key:06d}.{suffix}": content for key in range(6) for suffix, content in (("jpg", JPEG), ("cls", str(key % 2 * 10).encode()))}


def image(content: bytes) -> Callable[[Path], list[str]]:
    """A folder of good images, and one of `content`."""
    return lambda at: ["folder", f"--root={write(at / 'in', CLASSES | {'bee/odd.png': content})}"]


def files(listed: dict[str, bytes], *more: str) -> Callable[[Path], list[str]]:
    return lambda at: ["folder", f"--root={write(at / 'in', listed)}", *more]


def at_root(name: str, content: bytes) -> Callable[[Path], list[str]]:
    return lambda at: ["folder", f"--root={write(at / 'in', CLASSES | {name: content}) / name}"]


def archive(
    members: dict[str, bytes], change: Callable[[bytes], bytes] = lambda content: content, name: str = "a.tar"
) -> Callable[[Path], list[str]]:
    def make(at: Path) -> list[str]:
        path = tar(at / "in" / name, members, "w:gz" if name.endswith("gz") else "w")
        path.write_bytes(change(path.read_bytes()))
        return ["folder", f"--root={path}"]

    return make


def rows(*lines: str) -> Callable[[Path], list[str]]:
    return at_root("list.csv", "\n".join(("path,label,split", *lines)).encode())
