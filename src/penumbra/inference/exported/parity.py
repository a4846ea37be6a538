"""Whether a file says what the network says: compared every time before a file is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penumbra.errors import ModelError, NotFiniteError, expected
from penumbra.inference.exported.forms import Runner
from penumbra.inference.exported.tracing import Sizes
from penumbra.inference.members import Member, Tiles

LIMIT = 1e-4
"""Largest difference of a probability that is called the same: what the order of sums in float32
makes of it lies far below, another network far above."""

_SEED = 20


@dataclass(frozen=True)
class Compared:
    """One comparison.

    Attributes:
        images: (N, C, H, W) of the images.
        difference: the largest |p_file − p_network| over all pixels and classes.
    """

    images: tuple[int, ...]
    difference: float

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {"images": list(self.images), "difference": self.difference}


class ParityError(ModelError):
    """A file that was written does not say what the network says; it was not kept."""


def compare(
    run: Runner, member: Member, *, channels: int, sizes: Sizes, tile: int
) -> tuple[Compared, ...]:
    """Compare a file with the network as `Predictor` runs it, on random images.

    Args:
        run: the file, ready to run.
        member: the network with its calibration, in float32 on the CPU.
        channels: of the images.
        sizes: which images the file takes.
        tile: side of the run's tiles.

    Returns:
        One comparison per size and number of images.

    Raises:
        ParityError: a difference is above `LIMIT`, or the file gives another shape.
        NotFiniteError: the network's own answer is NaN or infinite.
        ModelError: the file does not run.
    """
    rng = np.random.default_rng(_SEED)
    found = []
    for height, width in sizes.compared(tile):
        for number in sizes.batches:
            images = rng.standard_normal((number, channels, height, width), dtype=np.float32)
            wanted = np.concatenate([_ours(member, torch.from_numpy(one[None])) for one in images])
            got = run(images)
            if got.shape != wanted.shape:
                raise _other(f"{got.shape} for images {images.shape}", f"of shape {wanted.shape}")
            difference = float(np.abs(got.astype(np.float64) - wanted).max())
            # Also where the difference is no number.
            if not difference <= LIMIT:
                raise _other(f"{difference:.2g} off for images {images.shape}", f"within {LIMIT:g}")
            found.append(Compared(images.shape, difference))
    return tuple(found)


def _ours(member: Member, image: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Compute the network's probabilities (1, C′, H, W), by the way that predictions go."""
    key, origin = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2)
    tiles = Tiles(image, key, origin)
    found = member.probabilities(member.encode(tiles), tiles, None).numpy()
    if not np.isfinite(found).all():
        raise NotFiniteError(
            expected("what the network gives", "finite", "NaN or infinity for a random image",
                     "training with a lower learning rate")
        )  # fmt: skip
    return found


def _other(got: str, wanted: str) -> ParityError:
    return ParityError(
        expected("the probabilities of the file", f"{wanted} of the network's", got,
                 "the other form (.pt2 or .onnx); nothing was written")
    )  # fmt: skip
