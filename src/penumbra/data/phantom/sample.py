"""One phantom: an image, its true foreground probability, a mask, and several readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from penumbra.data.phantom.card import card_scene
from penumbra.data.phantom.scene import Scene
from penumbra.data.phantom.ultrasound import ultrasound_scene
from penumbra.data.phantom.xray import xray_scene
from penumbra.errors import SettingsError, expected

PhantomKind = Literal["ultrasound", "xray", "card"]
"""What a phantom looks like."""

KINDS: tuple[PhantomKind, ...] = get_args(PhantomKind)

IMAGES_PER_GROUP = 4
"""Consecutive images of one kind that share their patient or document."""

_SCENES: Mapping[str, Callable[[int, np.random.Generator, np.random.Generator], Scene]] = (
    MappingProxyType({"ultrasound": ultrasound_scene, "xray": xray_scene, "card": card_scene})
)
_ANATOMY, _FRAME, _MASK, _READERS, _HABITS = range(5)


@dataclass(frozen=True)
class PhantomSample:
    """One generated image with everything that is known about it.

    Attributes:
        kind: what it looks like.
        group: the simulated patient or document; images of one group share anatomy.
        image: (H, W, C) uint8, C = 1 (ultrasound, xray) or 3 (card).
        mask: (H, W) uint8 of 0 and 1: one draw from the distribution of masks.
        truth: (H, W) float32, the probability in [0, 1] that each pixel is foreground, exactly.
        readers: (R, H, W) uint8 of 0 and 1: masks by simulated readers, each with a habit of
            drawing larger or smaller than the mean.
    """

    kind: PhantomKind
    group: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    truth: NDArray[np.float32]
    readers: NDArray[np.uint8]


def _check(kind: str, size: int, seed: int, index: int, n_readers: int) -> None:
    if kind not in KINDS:
        raise SettingsError(
            expected("`kind`", f"one of {', '.join(KINDS)}", repr(kind), "one of those")
        )
    for name, value, least, example in (
        ("`size`", size, 16, "128"),
        ("`seed`", seed, 0, "0"),
        ("`index`", index, 0, "0"),
        ("`n_readers`", n_readers, 0, "4"),
    ):
        if value < least:
            raise SettingsError(expected(name, f"at least {least}", value, f"{example}"))


def phantom_sample(
    kind: PhantomKind,
    *,
    size: int = 128,
    seed: int = 0,
    index: int = 0,
    n_readers: int = 4,
    reader_bias: float = 0.6,
) -> PhantomSample:
    """Make one phantom; a function of its arguments alone, the same bits at every call.

    A mask is {x : d(x) + s(x)·ξ(x) > 0}: a mean outline with signed distance d, moved by a smooth
    Gaussian field ξ of unit variance, by little where the image shows a sharp edge and by much
    where the edge is blurred, faded, shadowed or covered (s). The foreground probability is then
    exactly Φ(d/s). About 15 % of the ultrasound and X-ray images hold no object.

    Args:
        kind: ``"ultrasound"``, ``"xray"`` or ``"card"``.
        size: pixels per side, at least 16.
        seed: of the whole set; readers keep their habits throughout a set.
        index: which image of this kind; `IMAGES_PER_GROUP` consecutive ones form a group.
        n_readers: how many readers draw.
        reader_bias: standard deviation of the readers' habits in units of the local spread s; with
            0 the readers' mean tends to `truth`.

    Raises:
        SettingsError: an argument is outside its range.

    Examples:
        >>> sample = phantom_sample("ultrasound", size=64, seed=1)
        >>> sample.image.shape, sample.truth.dtype, sample.readers.shape
        ((64, 64, 1), dtype('float32'), (4, 64, 64))
    """
    _check(kind, size, seed, index, n_readers)
    code, group = KINDS.index(kind), index // IMAGES_PER_GROUP

    def stream(purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng((seed, code, purpose, number))

    scene = _SCENES[kind](size, stream(_ANATOMY, group), stream(_FRAME, index))
    habits = reader_bias * stream(_HABITS, 0).standard_normal(n_readers)
    hand = stream(_READERS, index)
    readers = [scene.outline.draw(hand, bias=float(habit)) for habit in habits]
    return PhantomSample(
        kind=kind,
        group=f"{kind}_{group:04d}",
        image=scene.image,
        mask=scene.outline.draw(stream(_MASK, index)),
        truth=scene.outline.probability().astype(np.float32),
        readers=np.asarray(readers, dtype=np.uint8).reshape(n_readers, size, size),
    )
