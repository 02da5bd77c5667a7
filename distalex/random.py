"""Keyed random draws: every number is a hash of a key (seed, purpose, step or epoch, …) and an index.

There is no state: a rank draws only its own share, a resumed run draws the same numbers as an uninterrupted one, and the number
of processes changes no draw. NumPy (host) and PyTorch (any device) give the same bits. The hash is the 32-bit `lowbias32` of
C. Wellons' hash-prospector, applied twice, once for each half of the key.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MULTIPLIERS = (0x7FEB352D, 0x846CA68B)


class Key(NamedTuple):
    """The key of one stream of draws: two unsigned 32-bit words."""

    low: int
    high: int


def key(seed: int, purpose: str, *numbers: int | str) -> Key:
    """The key of the stream of draws for `purpose`, e.g. `key(seed, "order", epoch)`."""
    text = "/".join(map(str, (seed, purpose, *numbers)))
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return Key(digest & 0xFFFFFFFF, digest >> 32)


def bits(stream: Key, index: np.ndarray) -> np.ndarray:
    """32 uniform bits (uint32) for every index, in the shape of `index`; indices count modulo 2**32."""
    words = index.astype(np.uint32) ^ np.uint32(stream.low)
    return _mix_numpy(_mix_numpy(words) ^ np.uint32(stream.high))


def _mix_numpy(words: np.ndarray) -> np.ndarray:
    first, second = (np.uint32(multiplier) for multiplier in MULTIPLIERS)
    words = (words ^ (words >> np.uint32(16))) * first
    words = (words ^ (words >> np.uint32(15))) * second
    return words ^ (words >> np.uint32(16))


def uniform(stream: Key, index: np.ndarray) -> np.ndarray:
    """A uniform float64 in (0, 1) for every index, in the shape of `index`."""
    return (bits(stream, index) + 0.5) / 2.0**32


def normal(stream: Key, index: np.ndarray) -> np.ndarray:
    """A standard normal float64 for every index, in the shape of `index` (Box-Muller transform)."""
    radius = np.sqrt(-2.0 * np.log(uniform(stream, index)))
    return radius * np.cos(2.0 * np.pi * uniform(Key(stream.high, stream.low), index))


def permutation(stream: Key, count: int) -> np.ndarray:
    """The numbers below `count` in a keyed order, (count,) int64; of equal 64-bit sort keys the lower number comes first."""
    index = np.arange(count, dtype=np.int64)
    high = bits(stream, index).astype(np.uint64) << np.uint64(32)
    return np.argsort(high | bits(Key(stream.high, stream.low), index), kind="stable")


def torch_bits(stream: Tensor, index: Tensor) -> Tensor:
    """`bits` in PyTorch: 32 uniform bits as int32, on the device and in the shape of `index` (int32).

    `stream` is an int32 tensor that begins with the key's words, (low, high, …), each `signed`.
    """
    return _mix_torch(_mix_torch(index ^ stream[0]) ^ stream[1])


def torch_grid(stream: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """32 uniform bits as int32, (len(rows), len(columns)), for pairs of int32 indices, at a third of the cost of hashing each pair."""
    swapped = torch.stack([stream[1], stream[0]])
    return _mix_torch(torch_bits(stream, rows)[:, None] ^ torch_bits(swapped, columns))


def _mix_torch(words: Tensor) -> Tensor:
    first, second = (signed(multiplier) for multiplier in MULTIPLIERS)
    words = (words ^ ((words >> 16) & 0xFFFF)) * first  # int32 shifts keep the sign, so the mask makes them logical
    words = (words ^ ((words >> 15) & 0x1FFFF)) * second
    return words ^ ((words >> 16) & 0xFFFF)


def signed(word: int) -> int:
    """An unsigned 32-bit word as the signed number that int32 tensors hold."""
    return word - 2**32 if word >= 2**31 else word


def generator(seed: int, purpose: str, *numbers: int | str) -> torch.Generator:
    """A CPU generator keyed like `key`, for draws that every rank makes in full, such as initial weights."""
    low, high = key(seed, purpose, *numbers)
    return torch.Generator().manual_seed(low | (high >> 1) << 32)
