"""DICOM images to arrays: what a viewer would show, or what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.dicom.grey import brightness, measured
from penumbra.imaging.dicom.header import DicomHeader, Identity, header_of
from penumbra.imaging.dicom.luts import palette
from penumbra.imaging.dicom.parsing import Parsed, parsed
from penumbra.imaging.dicom.samples import Samples, stored_samples
from penumbra.imaging.dicom.windows import WindowChoice, check_choice
from penumbra.imaging.limits import Limits


@dataclass(frozen=True)
class DicomImage:
    """One frame of a DICOM file.

    Attributes:
        pixels: (H, W, C), C = 1 or 3, uint8, uint16 or float32.
        header: what the file says of itself.
        frame: which frame it is, from 0.
        shown: in words, which values are black and white: ``"window 40/400"``.
        notices: what a person should know: further frames, other windows.
    """

    pixels: NDArray[np.generic]
    header: DicomHeader
    frame: int
    shown: str
    notices: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres per pixel (row, column), or ``None``."""
        return self.header.spacing

    @property
    def patient(self) -> str:
        """The patient's pseudonym, or the id where it was asked for."""
        return self.header.patient


def read_dicom(
    path: str | Path,
    *,
    window: WindowChoice = "auto",
    frame: int = 0,
    keep_identifiers: bool = False,
    limits: Limits | None = None,
) -> DicomImage:
    """Read one frame of a DICOM file.

    Grey values go through the modality LUT or the rescale slope and intercept, then through a
    window or VOI LUT, and MONOCHROME1 is inverted, so that larger is always brighter. Images of up
    to 8 stored bits become uint8, deeper ones uint16 over the full range. Colours (RGB, YBR,
    palette) become RGB and have no window. Float pixels stay float32 unless a window is chosen.

    Args:
        path: the file.
        window: ``"auto"``: the first VOI LUT, else the first window, else percentiles for more
            than 8 bits and the full range for up to 8. An index or a name: that of the file's
            windows (a name may also be a VOI LUT's). (centre, width): a linear window of your own,
            in measured units. ``"lut"``: the first VOI LUT. ``"percentile"``: the 0.5th to the
            99.5th percentile of the values that are no padding. ``"full"``: all values that could
            be stored. ``None``: no window and no inversion; measured values (Hounsfield units in
            CT), float32, or the stored type where nothing was rescaled.
        frame: which frame, from 0.
        keep_identifiers: give the patient's id itself instead of a pseudonym.
        limits: the largest image that is read, checked before anything is decoded.

    Raises:
        ImageFileError: the file is missing, damaged, without pixels, in a transfer syntax that is
            not decoded, over the limits, or lacks the window or frame. The text never quotes what
            names a patient.
        SettingsError: `window` is nothing that any file could answer.

    Examples:
        >>> import tempfile
        >>> from penumbra.imaging.dicom import write_dicom
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "scan.dcm"
        ...     write_dicom(file, np.full((4, 3), 7, np.uint16), spacing=(0.5, 0.25))
        ...     image = read_dicom(file, window=None)
        >>> image.pixels.shape, image.pixels.dtype, image.spacing
        ((4, 3, 1), dtype('uint16'), (0.5, 0.25))
    """
    check_choice(window)
    file, most = Path(path), limits or Limits()
    identity: Identity = "id" if keep_identifiers else "pseudonym"
    with parsed(file, most) as opened:
        header = header_of(file, opened, limits=most, frame=frame, identity=identity)
        return _image(file, opened, header, window, frame)


def read_frames(
    path: str | Path,
    *,
    window: WindowChoice = "auto",
    keep_identifiers: bool = False,
    limits: Limits | None = None,
) -> Iterator[DicomImage]:
    """Read every frame of a DICOM file in turn; the file is parsed once.

    The arguments and errors are those of `read_dicom`; percentiles are each frame's own.
    """
    check_choice(window)
    file, most = Path(path), limits or Limits()
    identity: Identity = "id" if keep_identifiers else "pseudonym"
    with parsed(file, most) as opened:
        frames, frame = 1, 0
        while frame < frames:
            header = header_of(file, opened, limits=most, frame=frame, identity=identity)
            yield _image(file, opened, header, window, frame)
            frames, frame = header.frames, frame + 1


def _image(
    path: Path, file: Parsed, header: DicomHeader, window: WindowChoice, frame: int
) -> DicomImage:
    stored = stored_samples(path, file, header, frame)
    pixels: NDArray[np.generic]
    if header.photometric == "PALETTE COLOR":
        pixels, shown = _through_palette(file, header, stored), "palette"
    elif header.is_colour:
        pixels, shown = full_depth(stored, header), "colour"
    elif window is None or (window == "auto" and header.kind != "integer"):
        pixels, shown = measured(path, file, header, stored, frame), "measured values"
    else:
        pixels, shown = brightness(path, file, header, stored, frame, window)
    pixels = np.ascontiguousarray(pixels)
    return DicomImage(pixels, header, frame, shown, notices_of(header, frame, shown))


def notices_of(header: DicomHeader, frame: int = 0, shown: str = "") -> tuple[str, ...]:
    """Say what a person should know about a file of which one frame was read in one window."""
    found = []
    if header.frames > 1:
        found.append(f"It holds {header.frames} frames; frame {frame} is read.")
    choices = len(header.windows) + len(header.voi_luts)
    if choices > 1 and shown:
        found.append(f"It brings {choices} windows; it is shown with {shown}.")
    return tuple(found)


def full_depth(stored: Samples, header: DicomHeader) -> NDArray[np.generic]:
    """Spread samples of any depth over the whole of uint8 or uint16, the lowest black."""
    used = header.bits_stored
    levels = stored.astype(np.int64) + ((1 << (used - 1)) if header.is_signed else 0)
    if used > 16:
        return np.asarray(levels >> (used - 16), dtype=np.uint16)
    depth = np.uint8 if used <= 8 else np.uint16
    white, top = (1 << used) - 1, int(np.iinfo(depth).max)
    if white == top:
        return levels.astype(depth)
    return np.asarray(np.rint(levels * (top / white)), dtype=depth)


def _through_palette(file: Parsed, header: DicomHeader, stored: Samples) -> NDArray[np.uint8]:
    tables = palette(file.elements, is_signed=header.is_signed)
    # The high byte is what software of 8 bits shows; one channel where the whole table is grey.
    colours = [
        (lut.apply(stored[..., 0]) >> np.uint16(lut.bits - 8)).astype(np.uint8) for lut in tables
    ]
    red, green, blue = (lut.entries for lut in tables)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        colours = colours[:1]
    return np.stack(colours, axis=-1)


def pixels_of(path: Path, limits: Limits) -> NDArray[np.generic]:
    """Read the first frame as `read_dicom` does, without a word on whose it is."""
    with parsed(path, limits) as opened:
        header = header_of(path, opened, limits=limits)
        return _image(path, opened, header, "auto", 0).pixels


def values_of(path: Path, limits: Limits) -> NDArray[np.generic]:
    """Read the first frame as a mask: palette indices or greys as stored, (H, W), or colours."""
    with parsed(path, limits) as opened:
        header = header_of(path, opened, limits=limits)
        stored = stored_samples(path, opened, header, 0)
    if header.is_colour:
        return full_depth(stored, header)
    if header.bits_allocated == 1:
        return np.where(stored[..., 0] != 0, 255, 0).astype(np.uint8)
    return np.asarray(stored[..., 0])
