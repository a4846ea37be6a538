"""Predictions to what travels: run lengths, PNGs with their scale, NPZ."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.errors import SettingsError, expected
from penumbra.imaging.overlay import overlay_mask, to_display
from penumbra.imaging.palette import class_palette
from penumbra.imaging.rle import encode_coco
from penumbra.inference.outputs import class_labels
from penumbra.inference.prediction import Prediction

_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_NATS = ("entropy", "expected_entropy", "mutual_information")


def png(pixels: NDArray[np.generic]) -> bytes:
    """Encode (H, W), (H, W, 1) or (H, W, 3) of uint8 or uint16 as a PNG, quickly.

    Raises:
        SettingsError: it is no such array.

    Examples:
        >>> png(np.zeros((2, 2), np.uint8))[1:4]
        b'PNG'
    """
    flipped = pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(flipped), _FAST)
    if not done:
        raise SettingsError(expected("the picture", "an image", pixels.shape, "a smaller one"))
    return bytes(encoded)


def mask_png(mask: NDArray[np.uint8], n_classes: int) -> bytes:
    """Encode class indices (H, W) as a palette PNG that shows each class in its colour.

    Examples:
        >>> mask = np.array([[0, 1]], np.uint8)
        >>> np.array(Image.open(io.BytesIO(mask_png(mask, 2)))).tolist()
        [[0, 1]]
    """
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette(class_palette(n_classes).ravel().tolist())
    target = io.BytesIO()
    picture.save(target, format="PNG", compress_level=1)
    return target.getvalue()


def map_png(values: NDArray[np.floating], scale: tuple[float, float], bits: int) -> bytes:
    """Encode numbers (H, W) as a grey PNG: stored v means lo + v / (2^bits − 1) · (hi − lo).

    Args:
        values: clipped to the scale.
        scale: (lo, hi), lo below hi.
        bits: 8 or 16.

    Examples:
        >>> stored = map_png(np.array([[0.0, 0.5, 1.0]]), (0, 1), 8)
        >>> np.array(Image.open(io.BytesIO(stored))).tolist()
        [[0, 128, 255]]
    """
    lo, hi = scale
    top = (1 << bits) - 1
    unit = (np.asarray(values, dtype=np.float32) - np.float32(lo)) * np.float32(top / (hi - lo))
    stored = np.rint(unit.clip(0, top)).astype(np.uint8 if bits == 8 else np.uint16)
    return png(stored)


def npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Pack arrays by name; none holds objects, so that reading them runs no code.

    Examples:
        >>> packed = np.load(io.BytesIO(npz({"a": np.arange(2)})), allow_pickle=False)
        >>> packed["a"].tolist()
        [0, 1]
    """
    target = io.BytesIO()
    np.savez_compressed(target, allow_pickle=False, **arrays)
    return target.getvalue()


def map_of(prediction: Prediction, name: str) -> NDArray[np.float32] | None:
    """Give a map (H, W) by its name; ``None`` where the passes give none.

    ``probability`` is that of anything but class 0, ``mask_probability`` the same of the passes
    that the mask is made of, ``confidence`` that of the likeliest class.

    Examples:
        >>> half = np.full((2, 1, 1), 0.5, np.float32)
        >>> map_of(Prediction(half, np.zeros((1, 1), np.uint8), {}), "probability").tolist()
        [[0.5]]
    """
    if name == "probability":
        # Of two classes the very number that is thresholded; 1 − p differs in the last bit.
        two = prediction.n_classes == 2
        return prediction.probabilities[1] if two else prediction.foreground
    if name == "mask_probability":
        return prediction.mask_probability
    if name == "confidence":
        return np.asarray(prediction.probabilities.max(axis=0), dtype=np.float32)
    return prediction.uncertainty.get(name)


def scale_of(name: str, values: NDArray[np.float32], n_classes: int) -> tuple[float, float]:
    """Choose the scale of a map.

    Probabilities lie in [0, 1] and entropies in [0, ln C]. Variance and standard error have bounds
    that no map comes near; theirs goes to the largest value there is.
    """
    if name in ("probability", "mask_probability", "confidence"):
        return 0.0, 1.0
    if name in _NATS:
        return 0.0, math.log(n_classes)
    return 0.0, float(values.max()) or 1.0


def unit_of(name: str) -> str | None:
    """Give the unit of a map: nat for entropies.

    Examples:
        >>> unit_of("entropy"), unit_of("variance") is None
        ('nat', True)
    """
    return "nat" if name in _NATS else None


def picture_of(
    name: str, image: NDArray[np.generic], prediction: Prediction
) -> NDArray[np.uint8] | None:
    """Draw ``overlay`` or ``image``; ``None`` for other names."""
    if name == "overlay":
        return overlay_mask(image, prediction.mask)
    return to_display(image) if name == "image" else None


def mask_rows(prediction: Prediction, *, href: str | None = None) -> list[dict[str, Any]]:
    """Describe the mask of every class but the background.

    Args:
        prediction: whose mask.
        href: where a picture of class indices can be had; without it each row has run lengths.

    Returns:
        Rows of ``class``, ``name``, ``area_px``, and ``rle`` or ``href``.
    """
    names = class_labels(prediction.class_names, prediction.n_classes)
    rows = []
    for index in range(1, prediction.n_classes):
        inside = prediction.mask == index
        area = int(np.count_nonzero(inside))
        row: dict[str, Any] = {"class": index, "name": names[index], "area_px": area}
        row |= {"rle": encode_coco(inside)} if href is None else {"href": href}
        rows.append(row)
    return rows


def arrays_of(prediction: Prediction) -> dict[str, NDArray[np.generic]]:
    """Give all arrays of a prediction: mask, probabilities, every map, and the seed.

    ``mask_probability`` is among them where the mask is made of other passes than the
    probabilities.
    """
    maps: dict[str, NDArray[np.generic]] = dict(prediction.uncertainty)
    if prediction.mask_probabilities is not None:
        maps["mask_probability"] = prediction.mask_probability
    return {
        "mask": prediction.mask,
        "probabilities": prediction.probabilities,
        **maps,
        "seed": np.array(prediction.seed, dtype=np.int64),
    }
