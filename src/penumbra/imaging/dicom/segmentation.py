"""DICOM segmentation objects (SEG): masks that say which image they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.dicom.elements import Elements
from penumbra.imaging.dicom.geometry import Plane, plane_of
from penumbra.imaging.dicom.header import DicomHeader, header_of, scopes
from penumbra.imaging.dicom.parsing import Parsed, parsed
from penumbra.imaging.dicom.samples import stored_samples
from penumbra.imaging.limits import Limits

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SOP_CLASSES = (SEGMENTATION, LABEL_MAP)
_HIGHEST_CLASS = 254


@dataclass(frozen=True)
class SegmentFrame:
    """One frame of a segmentation: one segment (or all of a label map) in one plane.

    Attributes:
        mask: (h, w) uint8, the segment's number where it is and 0 elsewhere.
        segment: the number; 0 in a label map, which holds several.
        instance: SOP instance UID of the image it was drawn on; empty where not given.
        source_frame: frame of that image, from 0; ``None`` where not given.
        plane: where it lies in the patient, or ``None``.
    """

    mask: NDArray[np.uint8]
    segment: int
    instance: str
    source_frame: int | None
    plane: Plane | None


@dataclass(frozen=True)
class Segmentation:
    """A segmentation object.

    Attributes:
        frames: its frames, in the file's order.
        segments: number to label, such as ``{1: "Liver"}``.
        header: what the file says of its pixels.
    """

    frames: tuple[SegmentFrame, ...]
    segments: dict[int, str]
    header: DicomHeader

    def mask_for(
        self, image: str | Path, *, frame: int = 0, limits: Limits | None = None
    ) -> NDArray[np.uint8]:
        """Place the segmentation on an image.

        A frame belongs to the image that it names by SOP instance UID (and frame number). Where it
        lies in the patient decides which pixels it covers: a frame that is smaller, shifted or of
        another spacing is brought to the image's grid, each pixel from the nearest one. Frames
        that name no image belong to the image in whose slice they lie. Without places, the sizes
        must agree. Where segments overlap, the higher number is kept.

        Args:
            image: the DICOM image.
            frame: which of its frames.
            limits: the largest image that is accepted.

        Returns:
            (H, W) uint8, segment numbers as class indices, 0 = background; all background where
            no frame lies on the image and the object names it, or images of its series.

        Raises:
            ImageFileError: the image cannot be read, no frame has anything to do with it, or
                sizes do not agree and no place is known.
        """
        file, most = Path(image), limits or Limits()
        with parsed(file, most) as opened:
            header = header_of(file, opened, limits=most, frame=frame)
            plane = plane_of(opened.elements, frame)
        size = (header.height, header.width)
        chosen = self._frames_for(file, header, frame, plane)
        return _united((_placed(file, each, plane, size) for each in chosen), size)

    def _frames_for(
        self, path: Path, header: DicomHeader, frame: int, plane: Plane | None
    ) -> list[SegmentFrame]:
        named = [
            each
            for each in self.frames
            if each.instance == header.instance and each.source_frame in {None, frame}
        ]
        if named and header.instance:
            return named
        if header.instance and header.instance in self._instances():
            return []
        free = [each for each in self.frames if not each.instance]
        if plane is None:
            near = [each for each in free if each.plane is None]
        else:
            near = [each for each in free if each.plane and each.plane.is_same_slice(plane)]
            near = near or [each for each in free if each.plane is None]
        if near:
            return near
        raise ImageFileError(
            expected(
                f"the segmentation for {path}",
                "one that names this image or lies in its slice",
                "one of other images",
                "the segmentation that belongs to it",
            )
        )

    def _instances(self) -> set[str]:
        return {each.instance for each in self.frames}


def read_segmentation(path: str | Path, *, limits: Limits | None = None) -> Segmentation:
    """Read a DICOM segmentation object.

    Binary objects (1 bit), fractional ones (at half of their maximum and above) and label maps
    are read; the pixels of all frames together must stay within ``limits.max_bytes``.

    Args:
        path: the file.
        limits: the largest object that is read, checked before anything is decoded.

    Raises:
        ImageFileError: the file is no segmentation, damaged, over the limits, or has a segment
            number outside 1–254, which no mask can hold.
    """
    file, most = Path(path), limits or Limits()
    with parsed(file, most) as opened:
        header = header_of(file, opened, limits=most)
        if header.sop_class not in SOP_CLASSES:
            raise ImageFileError(
                expected(str(file), "a DICOM segmentation object", "another kind", "`read_dicom`")
            )
        most.check_file(file, header.frames * header.height * header.width)
        segments = _segments(file, opened.elements)
        frames = tuple(
            _frame(file, opened, header, frame, set(segments)) for frame in range(header.frames)
        )
    return Segmentation(frames, segments, header)


def mask_of(path: Path, limits: Limits) -> NDArray[np.uint8]:
    """Read a segmentation of one slice as a mask without an image; see `read_segmentation`.

    Raises:
        ImageFileError: its frames lie in several slices, so that the image must be named.
    """
    found = read_segmentation(path, limits=limits)
    first = found.frames[0]
    for each in found.frames[1:]:
        apart = each.instance != first.instance or each.source_frame != first.source_frame
        if each.plane is not None and first.plane is not None:
            apart = not each.plane.is_same_slice(first.plane)
        if apart:
            raise ImageFileError(
                expected(
                    f"the mask {path}",
                    "of one slice",
                    f"a segmentation of {len(found.frames)} frames in several slices",
                    "`read_segmentation(…).mask_for(image)`, which picks those of one image",
                )
            )
    return _united((each.mask for each in found.frames), first.mask.shape)


def _segments(path: Path, elements: Elements) -> dict[int, str]:
    found = {
        item.whole("SegmentNumber", 0): item.text("SegmentLabel")
        for item in elements.items("SegmentSequence")
    }
    # A label map may list its background as segment 0.
    found.pop(0, None)
    if any(not 0 < number <= _HIGHEST_CLASS for number in found):
        raise ImageFileError(
            expected(
                f"every segment of {path}",
                f"numbered 1–{_HIGHEST_CLASS}",
                f"numbers up to {max(found)}",
                "exporting fewer segments at a time",
            )
        )
    return found


def _frame(
    path: Path, file: Parsed, header: DicomHeader, frame: int, known: set[int]
) -> SegmentFrame:
    elements = file.elements
    stored = stored_samples(path, file, header, frame)[..., 0]
    instance, source_frame = _source(elements, frame)
    number = 0
    if header.sop_class == LABEL_MAP or elements.text("SegmentationType") == "LABELMAP":
        if not set(np.unique(stored).tolist()) <= {0, *known}:
            raise ValueError("labels without a segment")
        mask = stored.astype(np.uint8)
    else:
        identification = scopes(elements, frame, "SegmentIdentificationSequence")[0]
        number = identification.whole("ReferencedSegmentNumber", 1 if len(known) == 1 else 0)
        if number not in known:
            raise ValueError("a frame without a segment")
        most = elements.whole("MaximumFractionalValue", 1)
        inside = 2 * stored.astype(np.int64) >= max(1, most)
        mask = np.where(inside, number, 0).astype(np.uint8)
    return SegmentFrame(mask, number, instance, source_frame, plane_of(elements, frame))


def _source(elements: Elements, frame: int) -> tuple[str, int | None]:
    """Read which frame of which image a frame was drawn on."""
    derivation = scopes(elements, frame, "DerivationImageSequence")[0]
    sources = derivation.items("SourceImageSequence")
    if not sources:
        return "", None
    numbers = sources[0].numbers("ReferencedFrameNumber")
    return sources[0].text("ReferencedSOPInstanceUID"), int(numbers[0]) - 1 if numbers else None


def _placed(
    path: Path, frame: SegmentFrame, plane: Plane | None, size: tuple[int, int]
) -> NDArray[np.uint8]:
    height, width = frame.mask.shape
    if plane is None or frame.plane is None:
        if (height, width) == size:
            return frame.mask
        raise ImageFileError(
            expected(
                f"the segmentation for {path}",
                f"{size[0]}×{size[1]} (height × width), as its image",
                f"{height}×{width}, with no place in the patient that would align the two",
                "exporting it on the image's grid",
            )
        )
    rows, columns = (np.rint(part).astype(np.int64) for part in frame.plane.pixels_on(plane, size))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    placed = frame.mask[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, placed, 0).astype(np.uint8)


def _united(masks: Iterable[NDArray[np.uint8]], size: tuple[int, ...]) -> NDArray[np.uint8]:
    united = np.zeros(size, dtype=np.uint8)
    for mask in masks:
        np.maximum(united, mask, out=united)
    return united
