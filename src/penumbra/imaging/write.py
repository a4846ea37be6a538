"""Masks and maps to files that people can look at and programs can read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.errors import ImageFileError, SettingsError, expected
from penumbra.imaging.files import Limits, read_image
from penumbra.imaging.palette import IGNORED, class_colour
from penumbra.storage import atomic_path

_IGNORE = 255
_STEPS = 65535


def write_mask(path: str | Path, mask: NDArray[np.integer], *, n_classes: int) -> None:
    """Write a mask as an 8-bit palette PNG whose indices are the class indices.

    Programs read the indices (`penumbra.imaging.files.read_mask_file` gives the same array back),
    people see class 0 in black, every further class in its colour, and ignored pixels in grey.

    Args:
        path: the PNG file; its folder is made.
        mask: (H, W) class indices 0 … `n_classes` - 1, and 255 for ignored pixels.
        n_classes: number of classes, background included; 2 … 255.

    Raises:
        SettingsError: `n_classes` or the mask's shape does not fit, or a value is no class index.
        StorageError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> from penumbra.imaging.files import read_mask_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder) / "mask.png", np.array([[0, 1, 255]]), n_classes=2)
        ...     read_mask_file(Path(folder) / "mask.png").tolist()
        [[0, 1, 255]]
    """
    if not 2 <= n_classes <= _IGNORE:
        raise SettingsError(expected("`n_classes`", "2–255", n_classes, "2 for a binary mask"))
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise SettingsError(
            expected("`mask`", "of shape (H, W)", f"shape {mask.shape}", "one mask at a time")
        )
    found = np.flatnonzero(np.bincount(mask.ravel())) if mask.dtype == np.uint8 else np.unique(mask)
    outside = np.setdiff1d(found, np.append(np.arange(n_classes), _IGNORE))
    if outside.size:
        raise SettingsError(
            expected(
                "every value of `mask`",
                f"a class index 0–{n_classes - 1} or {_IGNORE} (ignore)",
                outside[:8].tolist(),
                "a larger `n_classes`",
            )
        )
    picture = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8)).convert("L")
    picture.putpalette(_palette(n_classes))
    with atomic_path(Path(path)) as temporary:
        picture.save(temporary, format="PNG", optimize=False)


def write_unit_map(path: str | Path, array: NDArray[np.floating], *, scale: float = 1.0) -> None:
    """Write a map as a 16-bit grey PNG: stored value = round(array / scale × 65535).

    Args:
        path: the PNG file; its folder is made.
        array: (H, W) finite values in [0, `scale`], such as a probability (scale 1) or an entropy
            (scale ln C).
        scale: the value that is stored as 65535; above 0.

    Raises:
        SettingsError: the scale, the shape or a value does not fit.
        StorageError: the file cannot be written.
    """
    _check_scale(scale)
    array = np.asarray(array, dtype=np.float64)
    # Entropies may exceed their bound by a rounding error, and no more than that is forgiven.
    slack = 1e-5 * scale
    if (
        array.ndim != 2
        or not (np.min(array, initial=0) >= -slack)
        or not (np.max(array, initial=0) <= scale + slack)
    ):
        raise SettingsError(
            expected(
                "`array`",
                f"of shape (H, W) with values in [0, {scale:g}]",
                f"shape {array.shape}, values {np.min(array):g} to {np.max(array):g}",
                "the right `scale`",
            )
        )
    stored = np.rint(array.clip(0, scale) / scale * _STEPS).astype(np.uint16)
    with atomic_path(Path(path)) as temporary:
        Image.fromarray(stored).save(temporary, format="PNG")


def read_unit_map(
    path: str | Path, *, scale: float = 1.0, limits: Limits | None = None
) -> NDArray[np.float32]:
    """Read what `write_unit_map` wrote, to within scale / 131070.

    Args:
        path: a 16-bit grey PNG.
        scale: the scale that it was written with.
        limits: the largest file that is read.

    Returns:
        (H, W) float32 in [0, `scale`].

    Raises:
        ImageFileError: the file cannot be read, or is not 16-bit grey.
        SettingsError: the scale is not above 0.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_unit_map(Path(folder) / "p.png", np.array([[0.0, 0.25]]))
        ...     read_unit_map(Path(folder) / "p.png").round(4).tolist()
        [[0.0, 0.25]]
    """
    _check_scale(scale)
    stored = read_image(path, limits=limits or Limits())
    if stored.dtype != np.uint16 or stored.shape[-1] != 1:
        raise ImageFileError(
            expected(
                str(path),
                "a 16-bit grey PNG",
                f"{stored.shape[-1]} channels of {stored.dtype}",
                "a map written by Penumbra",
            )
        )
    values = stored[..., 0].astype(np.float64) * (scale / _STEPS)
    return values.astype(np.float32)


def _check_scale(scale: float) -> None:
    if not 0 < scale < float("inf"):
        raise SettingsError(expected("`scale`", "a finite number above 0", scale, "1.0"))


def _palette(n_classes: int) -> list[int]:
    colours = [(0, 0, 0), *(class_colour(index) for index in range(1, n_classes))]
    # Unused entries stay black; together they must reach 255, the index of ignored pixels.
    colours += [(0, 0, 0)] * (_IGNORE - len(colours)) + [IGNORED]
    return [channel for colour in colours for channel in colour]
