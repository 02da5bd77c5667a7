"""What a split holds: images by class, and a digest of pixels and labels. A checkpoint keeps it, so that changed data is noticed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from distalex import random
from distalex.data.source import Source

LOOKED_AT = 32
"""Images of a split that are decoded for its digest, where none has been decoded yet."""


class Contents(NamedTuple):
    """What a split holds, wherever its files lie."""

    counts: tuple[int, ...]
    """Images of each class."""
    digest: str
    """Of the images and their labels in order; empty where it is not known."""


def digest_of(labels: np.ndarray, checksums: np.ndarray) -> str:
    """Digest of samples in order: their labels (n,) and the CRC-32 of their stored pixels (n,)."""
    content = np.stack([labels.astype("<u4"), checksums.astype("<u4")])
    return hashlib.blake2b(content.tobytes(), digest_size=8).hexdigest()


def checksum_of(image: np.ndarray) -> int:
    """CRC-32 of an image's pixels."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def contents_of(source: Source, are_read: bool) -> Contents:
    """What a source holds that is not prepared.

    The digest is of the labels and, if images `are_read`, of the sizes of their files and the pixels of a few, chosen by key.
    """
    checksums = np.zeros(len(source), dtype=np.int64)
    if are_read:
        checksums[:] = [zlib.crc32(source.stamps(sample).partition("/")[0].encode()) for sample in range(len(source))]
        chosen = random.permutation(random.key(0, "contents"), len(source))[:LOOKED_AT]
        checksums[chosen] ^= [checksum_of(source.image(sample)) for sample in chosen.tolist()]
    return Contents(tuple(np.bincount(source.labels, minlength=len(source.classes)).tolist()), digest_of(source.labels, checksums))


def describe_contents(contents: Mapping[str, Contents]) -> dict[str, Any]:
    """The same as plain values, for a checkpoint."""
    return {split: {"counts": list(one.counts), "digest": one.digest} for split, one in contents.items()}


def changed_classes(before: Sequence[str], now: Sequence[str]) -> str:
    """How the classes of a data set changed, in words; empty where names and order are the same."""
    gone, new = ([f'"{name}"' for name in one if name not in other] for one, other in ((before, now), (now, before)))
    if not gone and not new:
        return "" if list(before) == list(now) else f"in another order: {', '.join(now[:4])}, … was {', '.join(before[:4])}, …"
    words = [f"{', '.join(names[:4])}{', …' * (len(names) > 4)} {verb}" for names, verb in ((gone, "gone"), (new, "new")) if names]
    return " and ".join(words)


def changed_images(before: Mapping[str, Any], now: Mapping[str, Any], classes: Sequence[str], splits: Sequence[str]) -> str:
    """How the images of `splits` changed, as `describe_contents` gave them then and gives them now, in words; empty where they did not.

    What either does not know is not compared.
    """
    for split in splits:
        old, new = before.get(split), now.get(split)
        if not old or not new:
            continue
        for class_, was, count in zip(classes, old["counts"], new["counts"], strict=True):
            if was != count:
                return f"{split} has {count:,} images of {class_}, and had {was:,}"
        if old["digest"] and new["digest"] and old["digest"] != new["digest"]:
            return f"{split} has as many images of each class, but other images or labels"
    return ""
