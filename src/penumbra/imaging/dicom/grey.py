"""Grey images: from stored samples over measured values to brightness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.dicom.header import DicomHeader, scopes
from penumbra.imaging.dicom.luts import Lut, modality_lut, voi_luts
from penumbra.imaging.dicom.parsing import Parsed
from penumbra.imaging.dicom.windows import (
    PERCENTILES,
    WORDS,
    Floats,
    Window,
    WindowChoice,
    find_window,
    stretched,
)

Samples = NDArray[np.generic]
_MOST_LEVELS = 1 << 16


def measured(
    path: Path, file: Parsed, header: DicomHeader, stored: Samples, frame: int
) -> NDArray[np.generic]:
    """Give measured values (H, W, 1): the stored type where nothing is rescaled, else float32.

    Raises:
        ImageFileError: a float file holds values that are not finite.
    """
    rescale = Rescale.of(file, header, frame)
    if rescale.is_identity and stored.dtype in (np.uint8, np.uint16):
        return stored
    # What float32 cannot hold becomes infinite, which is refused.
    with np.errstate(over="ignore"):
        values = rescale.apply(stored).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageFileError(
            expected(
                str(path), "made of finite values", "NaN or infinity", "replacing them by numbers"
            )
        )
    return values


class Rescale:
    """From stored samples to measured values: a table, or slope × sample + intercept."""

    def __init__(self, slope: float, intercept: float, lut: Lut | None = None) -> None:
        self.slope, self.intercept, self.lut = slope, intercept, lut

    @classmethod
    def of(cls, file: Parsed, header: DicomHeader, frame: int) -> Rescale:
        """Read a frame's modality LUT, or its slope and intercept; 1 and 0 where it has none."""
        lut = modality_lut(file.elements, is_signed=header.is_signed)
        for scope in scopes(file.elements, frame, "PixelValueTransformationSequence"):
            slope, intercept = scope.numbers("RescaleSlope"), scope.numbers("RescaleIntercept")
            if slope and intercept:
                return cls(float(slope[0]), float(intercept[0]), lut)
        return cls(1.0, 0.0, lut)

    @property
    def is_identity(self) -> bool:
        """Whether measured values are the stored ones."""
        return self.lut is None and self.slope == 1 and self.intercept == 0

    def apply(self, stored: Samples) -> Floats:
        """Give the measured values of samples of any shape."""
        if self.lut is not None:
            return self.lut.apply(stored).astype(np.float64)
        return stored.astype(np.float64) * self.slope + self.intercept

    def span(self, header: DicomHeader) -> tuple[float, float]:
        """Give the lowest and the highest value that any sample of this depth could measure."""
        if self.lut is not None:
            return 0.0, float(self.lut.white)
        top = 1 << header.bits_stored
        ends = np.array([-top // 2, top // 2 - 1] if header.is_signed else [0, top - 1])
        low, high = sorted(self.apply(ends).tolist())
        return low, high


def brightness(
    path: Path,
    file: Parsed,
    header: DicomHeader,
    stored: Samples,
    frame: int,
    choice: WindowChoice,
) -> tuple[NDArray[np.generic], str]:
    """Show grey samples through a window.

    Returns:
        (H, W, 1) uint8 or uint16 with white as its largest value, and the window in words.

    Raises:
        ImageFileError: the file lacks that window.
    """
    rescale = Rescale.of(file, header, frame)
    show, words = _chosen(path, file, header, stored, rescale, choice)
    is_inverse = (
        header.photometric == "MONOCHROME1"
        or file.elements.text("PresentationLUTShape") == "INVERSE"
    )
    depth = np.uint8 if header.bits_stored <= 8 else np.uint16

    def finished(samples: Samples) -> NDArray[np.generic]:
        light = show(rescale.apply(samples))
        light = 1.0 - light if is_inverse else light
        return np.rint(light * np.iinfo(depth).max).astype(depth)

    return _through_levels(stored, finished), words


def _through_levels(
    stored: Samples, finished: Callable[[Samples], NDArray[np.generic]]
) -> NDArray[np.generic]:
    """Work on the levels that occur instead of on every pixel, where they are few."""
    if stored.dtype.kind == "f":
        return finished(stored)
    low, high = int(stored.min()), int(stored.max())
    if high - low >= _MOST_LEVELS:
        return finished(stored)
    table = finished(np.arange(low, high + 1))
    return table[(stored.astype(np.int64) - low)]


def _chosen(
    path: Path,
    file: Parsed,
    header: DicomHeader,
    stored: Samples,
    rescale: Rescale,
    choice: WindowChoice,
) -> tuple[Callable[[Floats], Floats], str]:
    signed = header.is_signed or rescale.intercept < 0
    luts = voi_luts(file.elements, is_signed=signed)
    if choice == "auto":
        choice = _automatic(header, luts)
    if isinstance(choice, tuple):
        return _of_window(Window(float(choice[0]), float(choice[1])))
    if choice == "full" and header.kind == "integer":
        low, high = rescale.span(header)
        return (lambda values: stretched(values, low, high)), "the full range"
    if choice in {"percentile", "full"}:
        return _of_percentiles(file, header, stored, rescale, whole=choice == "full")
    lut = _named_lut(luts, choice)
    if lut is not None:
        return (lambda values: lut.apply(values) / float(lut.white)), f"VOI LUT {lut.name}".strip()
    found = None if choice in WORDS or choice is None else find_window(header.windows, choice)
    if found is None:
        raise no_such_window(path, header, choice)
    return _of_window(found)


def _automatic(header: DicomHeader, luts: tuple[Lut, ...]) -> WindowChoice:
    if luts:
        return "lut"
    if header.windows:
        return 0
    return "full" if header.kind == "integer" and header.bits_stored <= 8 else "percentile"


def _named_lut(luts: tuple[Lut, ...], choice: WindowChoice) -> Lut | None:
    if not isinstance(choice, str):
        return None
    if choice == "lut":
        return luts[0] if luts else None
    return next((lut for lut in luts if lut.name.casefold() == choice.strip().casefold()), None)


def _of_window(window: Window) -> tuple[Callable[[Floats], Floats], str]:
    name = f" ({window.name})" if window.name else ""
    return window.apply, f"window {window.center:g}/{window.width:g}{name}"


def _of_percentiles(
    file: Parsed, header: DicomHeader, stored: Samples, rescale: Rescale, *, whole: bool
) -> tuple[Callable[[Floats], Floats], str]:
    counted = _without_padding(file, header, stored.astype(np.float64))
    counted = counted[np.isfinite(counted)]
    shares = (0.0, 100.0) if whole else PERCENTILES
    ends = np.percentile(counted, shares) if counted.size else np.zeros(2)
    low, high = sorted(rescale.apply(ends).tolist())
    words = f"percentiles {shares[0]:g}–{shares[1]:g} ({low:g} to {high:g})"
    return (lambda values: stretched(values, low, high)), words


def _without_padding(file: Parsed, header: DicomHeader, stored: Floats) -> Floats:
    """Leave out pixels outside the field of view, which carry a value of their own."""
    if header.kind != "integer" or not file.elements.raw("PixelPaddingValue"):
        return stored
    ends = [file.elements.whole("PixelPaddingValue", 0)]
    ends.append(file.elements.whole("PixelPaddingRangeLimit", ends[0]))
    if header.is_signed:
        ends = [end - 0x10000 if 0x8000 <= end < 0x10000 else end for end in ends]
    kept = stored[(stored < min(ends)) | (stored > max(ends))]
    return kept if kept.size else stored


def no_such_window(path: Path, header: DicomHeader, choice: object) -> ImageFileError:
    """Build the error for a window that the file lacks."""
    return ImageFileError(
        expected(
            "`window`",
            f"one of the {len(header.windows)} windows and {len(header.voi_luts)} VOI LUTs of "
            f"{path}",
            repr(choice),
            '"auto", or (centre, width)',
        )
    )
