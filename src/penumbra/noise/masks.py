"""Masksembles: fixed masks of channels instead of drawn ones."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.errors import SettingsError, expected
from penumbra.noise.grid import name_number


@dataclass(frozen=True)
class Masksembles:
    """Fixed channel masks, one per pass (Durasov et al. 2021, arXiv 2012.08334).

    Pass k uses mask k mod `n_masks`, for every image. A kept channel is scaled by n_masks over
    the number of masks that keep it: the mean over all masks is the undisturbed network.

    Attributes:
        n_masks: at least 2.
        scale: s ≥ 1; the larger, the less the masks have in common. 1 keeps every channel.
        seed: what the masks are drawn from.

    Raises:
        SettingsError: a number is out of its range.
    """

    n_masks: int = 4
    scale: float = 2.0
    seed: int = 0
    name: str = "masksembles"

    def __post_init__(self) -> None:
        if self.n_masks < 2:
            raise SettingsError(expected("`n_masks`", "at least 2", self.n_masks, "4"))
        if not self.scale >= 1:
            raise SettingsError(expected("`scale`", "at least 1", self.scale, "2"))

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """See `Perturbation`; keys and place change nothing."""
        del keys, stride, origins
        masks = masksembles_masks(
            h.shape[1], self.n_masks, self.scale, seed=(self.seed, name_number(site))
        )
        kept_by = masks.sum(axis=0)
        factors = masks[sample % self.n_masks] * (self.n_masks / kept_by)
        return h * torch.as_tensor(factors, dtype=h.dtype, device=h.device)[None, :, None, None]


@functools.lru_cache(maxsize=256)
def masksembles_masks(
    channels: int, n_masks: int, scale: float, *, seed: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Draw masks of channels that overlap by a controlled amount.

    Durasov et al. (2021, arXiv 2012.08334) let n masks choose m of m·s positions each and drop
    the positions that nobody chose, which leaves m·s·(1 − (1 − 1/s)ⁿ) on average; they search for
    an m that leaves exactly the channels there are. Here m solves that equation, each mask
    chooses m of the channels, and a channel that no mask chose takes the place, in one mask, of a
    channel that several have.

    Args:
        channels: at least 1.
        n_masks: n.
        scale: s ≥ 1.
        seed: what the masks are drawn from.

    Returns:
        (n, channels) bool; every row has m ones, every column at least one.

    Examples:
        >>> masks = masksembles_masks(32, 4, 2.0, seed=(0,))
        >>> masks.sum(axis=1).tolist(), bool(masks.any(axis=0).all())
        ([17, 17, 17, 17], True)
    """
    used = scale * (1 - (1 - 1 / scale) ** n_masks)
    # Enough for every channel to have a mask, whatever rounding does.
    m = min(channels, max(round(channels / used), -(-channels // n_masks)))
    rng = np.random.default_rng(seed)
    order = rng.random((n_masks, channels)).argsort(axis=1)
    masks = np.zeros((n_masks, channels), dtype=bool)
    np.put_along_axis(masks, order[:, :m], values=True, axis=1)
    for absent in np.flatnonzero(~masks.any(axis=0)):
        mask, spare = _place(masks)
        masks[mask, spare], masks[mask, absent] = False, True
    masks.setflags(write=False)
    return masks


def _place(masks: NDArray[np.bool_]) -> tuple[int, int]:
    """A mask and the channel in it that most masks have: what can best be spared."""
    spare = int(masks.sum(axis=0).argmax())
    return int(np.flatnonzero(masks[:, spare])[0]), spare
