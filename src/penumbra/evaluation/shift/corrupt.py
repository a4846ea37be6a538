"""Corrupt images and samples; every draw is a function of the seed and the sample."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from penumbra.data.sample import IGNORE, Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, expected
from penumbra.evaluation.shift.catalogue import Kind, Shift
from penumbra.evaluation.shift.levels import CORRUPTIONS, Levels


def _generator(seed: int, kind: str, key: str) -> np.random.Generator:
    """Make a generator of the seed, the kind and the sample; the severity changes no draw.

    So the damage of one image grows with the severity instead of being another one each time.
    """
    digest = hashlib.blake2b(f"{seed}\0{kind}\0{key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _display_range(image: NDArray[np.generic]) -> tuple[float, float]:
    """Give the levels that are shown as black and white.

    The whole range for 8 bits; for 16 bits and floats, which rarely fill theirs, what the image
    itself holds.
    """
    if image.dtype == np.uint8:
        return 0.0, 255.0
    return float(image.min()), float(image.max())


def _check(image: NDArray[np.generic]) -> None:
    known = image.dtype in (np.uint8, np.uint16, np.float32)
    if not known or image.ndim != 3 or image.shape[2] not in (1, 3) or min(image.shape) < 1:
        raise ImageFileError(
            expected(
                "an image to corrupt",
                "(H, W, 1) or (H, W, 3) of uint8, uint16 or float32",
                f"{image.shape} of {image.dtype}",
                "`imaging.read_image`",
            )
        )
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ImageFileError(
            expected("an image", "finite everywhere", "NaN or infinity", "filling its gaps")
        )


def corrupt(
    image: NDArray[np.generic], kind: Kind, severity: int, *, seed: int = 0, key: str = ""
) -> NDArray[np.generic]:
    """Corrupt an image; see `STRENGTHS` for what each severity does.

    Levels are taken as shares of the display range (0–255 for uint8, least to greatest for uint16
    and float32), corrupted, clipped to it, and for integers rounded. A constant uint16 or float32
    image has no range and stays as it is. JPEG works at 256 levels of that range for every type.

    Args:
        image: (H, W, C), uint8, uint16 or float32, C = 1 or 3.
        kind: one of `KINDS`.
        severity: 1–5.
        seed: of the draws.
        key: which image it is, such as the sample's id; the same seed and key give the same bits.

    Returns:
        A new image of the same shape and type. After a rotation, pixels that come from outside
        the image have its mean.

    Raises:
        SettingsError: there is no such kind or severity.
        ImageFileError: the image has another shape or type, or is not finite.

    Examples:
        >>> image = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))[..., None]
        >>> worse = corrupt(image, "blur", 3, seed=0, key="a")
        >>> worse.shape, worse.dtype, bool((worse != image).any())
        ((64, 64, 1), dtype('uint8'), True)
    """
    shift = Shift(kind, severity)
    _check(image)
    low, high = _display_range(image)
    # In float64: the distance between the ends of float32 is not always a float32.
    span = high - low
    if not span > 0:
        return image.copy()
    levels = ((image.astype(np.float64) - low) / span).astype(np.float32)
    rng = _generator(seed, kind, key)
    if shift.moves_pixels:
        angle = _angle(shift, rng)
        fill = float(levels.mean(dtype=np.float64))
        changed = np.stack(
            [_rotate(levels[..., c], angle, fill, order=1) for c in range(levels.shape[2])], axis=2
        )
    else:
        changed = CORRUPTIONS[kind](levels, shift.strength, rng)
    return _as_before(changed, image, low, span)


def _as_before(
    levels: Levels, image: NDArray[np.generic], low: float, span: float
) -> NDArray[np.generic]:
    values = np.clip(levels.astype(np.float64), 0, 1) * span + low
    if image.dtype != np.float32:
        values = np.rint(values)
    return values.astype(image.dtype)


def _angle(shift: Shift, rng: np.random.Generator) -> float:
    """Draw the direction; positive angles turn the image counter-clockwise."""
    return float(np.deg2rad(shift.strength * (1 if rng.random() < 0.5 else -1)))


def _rotate(
    plane: NDArray[np.float32] | NDArray[np.uint8],
    angle: float,
    fill: float,
    *,
    order: Literal[0, 1],
) -> NDArray[Any]:
    """Turn (H, W) about its middle; what lies outside becomes `fill`."""
    sine, cosine = float(np.sin(angle)), float(np.cos(angle))
    # Rows point down, so this matrix takes a place of the result back to one of the original.
    back = np.array([[cosine, sine], [-sine, cosine]])
    middle = (np.array(plane.shape, dtype=np.float64) - 1) / 2
    turned = ndimage.affine_transform(
        plane, back, offset=middle - back @ middle, order=order, mode="constant", cval=fill,
        prefilter=False,
    )  # fmt: skip
    return np.asarray(turned)


def corrupt_sample(sample: Sample, shift: Shift, *, seed: int = 0) -> Sample:
    """Corrupt a sample: its image and, where pixels move, its mask with it.

    The mask is turned with nearest neighbours; what comes from outside the image is 255 (ignore).
    Boxes are left out where pixels move: a turned box is no box.

    Args:
        sample: what to corrupt.
        shift: how.
        seed: of the draws, with the sample's id.

    Raises:
        ImageFileError: the image cannot be corrupted; see `corrupt`.
    """
    image = corrupt(sample.image, shift.kind, shift.severity, seed=seed, key=sample.id)
    if not shift.moves_pixels:
        return replace(sample, image=image)
    mask = sample.mask
    if mask is not None:
        angle = _angle(shift, _generator(seed, shift.kind, sample.id))
        mask = _rotate(mask, angle, IGNORE, order=0).astype(np.uint8)
    return replace(sample, image=image, mask=mask, boxes=None)


@dataclass(frozen=True)
class ShiftedSource(Source):
    """A source whose samples come corrupted.

    Attributes:
        shift: what is done to every sample.
        shift_seed: of the draws.
    """

    shift: Shift | None = None
    shift_seed: int = 0

    @classmethod
    def of(cls, source: Source, shift: Shift, *, seed: int = 0) -> ShiftedSource:
        """Shift every sample of a source.

        Raises:
            SettingsError: the source is shifted already.
        """
        if isinstance(source, ShiftedSource):
            raise SettingsError(
                expected("the source", "as it is on disk", "one that is shifted", "its original")
            )
        values = {field.name: getattr(source, field.name) for field in fields(Source)}
        return cls(**values, shift=shift, shift_seed=seed)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # as in `Source`
        sample = super().__getitem__(index)
        return (
            sample
            if self.shift is None
            else corrupt_sample(sample, self.shift, seed=self.shift_seed)
        )
