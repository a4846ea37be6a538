"""What logits say about their own surroundings: features that cost almost nothing.

How far a pixel is from a boundary, and how busy its surroundings are, can be read off the
probabilities at several scales. These few features do for a calibration what hundreds of decoder
features do, on far less data, and they exist for any network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

STRIDES = (1, 2, 4, 8, 16)

DOUBT_TAPS = tuple(f"logits:{stride}" for stride in STRIDES)
"""Names by which a linear map reads them beside the outputs of submodules."""

MOST_MARGIN = 10.0
"""In logits; what is surer than that counts as much."""


class Level(NamedTuple):
    """Features (N, C, h, w), and how many pixels of the logits one of them spans."""

    features: Tensor
    stride: int


def doubt_levels(logits: Tensor) -> tuple[Level, ...]:
    """Describe doubt around every pixel, one level per stride of `STRIDES`.

    At stride 1: the margin between the two likeliest classes' logits, at most 10; the Gini
    impurity 1 − Σ_c p_c²; and p of each class but the first. At stride s, over blocks of s × s
    pixels smoothed over 3 × 3 blocks: the mean impurity, the impurity of the mean p, and the mean
    p. Where the second exceeds the first, a boundary is near.

    Args:
        logits: (N, K, H, W).

    Returns:
        Levels of max(K, 2) + 1 channels, the finest first; float32.
    """
    z = logits.float()
    if z.shape[1] == 1:
        margin, p = z.abs(), torch.cat([torch.sigmoid(-z), torch.sigmoid(z)], dim=1)
    else:
        top = z.topk(2, dim=1).values
        margin, p = top[:, :1] - top[:, 1:], torch.softmax(z, dim=1)
    impurity = gini(p)
    levels = [Level(torch.cat([margin.clamp(max=MOST_MARGIN), impurity, p[:, 1:]], dim=1), 1)]
    for stride in STRIDES[1:]:
        p, impurity = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (p, impurity))
        wide = _smooth(p)
        channels = [_smooth(impurity), gini(wide), wide[:, 1:]]
        levels.append(Level(torch.cat(channels, dim=1), stride))
    return tuple(levels)


def gini(p: Tensor) -> Tensor:
    """Compute the Gini impurity 1 − Σ_c p_c² of (N, C, H, W), keeping the axis."""
    return 1 - p.square().sum(dim=1, keepdim=True)


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def levels_of(names: Sequence[str], logits: Tensor, taps: Mapping[str, Level]) -> tuple[Level, ...]:
    """Give the levels of these names: from the logits where they say so, else from `taps`."""
    own = dict(zip(DOUBT_TAPS, doubt_levels(logits), strict=True)) if _any_own(names) else {}
    return tuple(own[name] if name in own else taps[name] for name in names)


def module_taps(names: Sequence[str]) -> tuple[str, ...]:
    """Leave out the names that mean features of the logits."""
    return tuple(name for name in names if name not in DOUBT_TAPS)


def _any_own(names: Sequence[str]) -> bool:
    return any(name in DOUBT_TAPS for name in names)
