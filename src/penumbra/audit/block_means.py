"""Block means in whole greys, and their products in whole numbers: exact on every machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.int8]
Ints = NDArray[np.int32]
Multiply = Callable[[Bytes, Bytes], Ints]
"""From (n, K) and (m, K) to their products (n, m), exact."""

_MANY = 10_000


@dataclass(frozen=True)
class Means:
    """The block means of n images, rounded to whole greys.

    A difference of two rounded images is off by at most what the rounding took from each, so with
    `slack`, the root mean square of that, a bound of the true difference remains a bound::

        rms(rounded a, rounded b) ≤ rms(a, b) + slack(a) + slack(b)

    Attributes:
        values: (n, K) int8, the K means less 128. Sums of K ≤ 1024 products of them are below
            2²⁴, so that even float32 adds them up without an error, in any order.
        norms: (n,) int32, the sums of their squares.
        slack: (n,) float64.
    """

    values: Bytes
    norms: Ints
    slack: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.norms)

    def rows(self, start: int, stop: int) -> Means:
        """Give the images from `start` to `stop`."""
        return Means(self.values[start:stop], self.norms[start:stop], self.slack[start:stop])


def rounded(sums: NDArray[np.integer], pixels: int) -> Means:
    """Round the means of blocks.

    Args:
        sums: (n, g, g), the sums over blocks.
        pixels: how many pixels each sum is over.
    """
    # Sixteen bits where they suffice: this runs over every block again and again.
    narrow = np.int16 if pixels <= 128 else np.int32
    flat = cast("Ints", sums.reshape(len(sums), -1).astype(narrow))
    whole = (flat + pixels // 2) // pixels
    lost = flat - whole * pixels
    squares = np.einsum("ij,ij->i", lost, lost, dtype=np.int64)
    slack = np.sqrt(squares / flat.shape[1]) / pixels
    values = whole - 128
    norms = np.einsum("ij,ij->i", values, values, dtype=np.int32)
    return Means(values.astype(np.int8), norms, slack)


def squared_differences(a: Means, b: Means, multiply: Multiply) -> Ints:
    """Compute the sums of squared differences of all pairs: ‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b.

    Returns:
        (len(a), len(b)) int32, exact.
    """
    found = multiply(a.values, b.values)
    np.multiply(found, -2, out=found)
    found += a.norms[:, None]
    found += b.norms
    return found


def squared_differences_at(a: Means, b: Means, i: NDArray[np.intp], j: NDArray[np.intp]) -> Ints:
    """Compute the sums of squared differences of the pairs (i, j) alone.

    Returns:
        (len(i),) int32, exact.
    """
    found = np.empty(len(i), np.int32)
    for start in range(0, len(i), 4096):
        part = slice(start, start + 4096)
        apart = a.values[i[part]].astype(np.int16) - b.values[j[part]]
        found[part] = np.einsum("ij,ij->i", apart, apart, dtype=np.int32)
    return found


def multiplier(images: int) -> Multiply:
    """Choose how bytes are multiplied: all ways give the same numbers, not at the same speed.

    Args:
        images: how many are to be compared with each other; for a few, importing torch, whose
            products of bytes are several times faster, would take longer than it spares.
    """
    few = images < _MANY and "torch" not in sys.modules
    return _with_floats if few else _quickest()


def _with_floats(a: Bytes, b: Bytes) -> Ints:
    return (a.astype(np.float32) @ b.astype(np.float32).T).astype(np.int32)


@lru_cache(maxsize=1)
def _quickest() -> Multiply:
    import torch  # noqa: PLC0415  # only where it pays

    # torch keeps it underscored; where it is gone or slow, floats do the same work.
    multiply = getattr(torch, "_int_mm", None)
    if multiply is None:
        return _with_floats

    def with_bytes(a: Bytes, b: Bytes) -> Ints:
        product = multiply(torch.from_numpy(a), torch.from_numpy(b).T)
        return np.asarray(product.numpy(), dtype=np.int32)

    sample = np.ones((128, 1024), np.int8)
    try:
        return min((_with_floats, with_bytes), key=lambda way: _seconds(way, sample))
    except RuntimeError:
        return _with_floats


def _seconds(way: Multiply, sample: Bytes) -> float:
    way(sample, sample)
    started = time.perf_counter()
    way(sample, sample)
    return time.perf_counter() - started
