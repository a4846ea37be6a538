"""Learning all there is to know of one sample, its image and its mask decoded once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.audit.comparison import GRID, Grey, area_mean, block_sums, comparison_image
from penumbra.audit.facts import MOST_OBJECTS, MaskFacts, MaskFault, MaskObject, Scanned
from penumbra.data.sample import IGNORE, Record
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, PenumbraError, SourceError
from penumbra.imaging.formats import HEAD_BYTES, format_of, require_plain_file, unreadable

# What reading a file can raise: our own errors, and what slips through a decoder or a layout.
_FAULTS = (PenumbraError, OSError, ValueError, MemoryError)

_AT_ONCE = 2**20

_ENDS = {"png": b"IEND\xae\x42\x60\x82", "jpeg": b"\xff\xd9"}
"""The mark that ends a file, where its format has one; some programs write notes after it."""
_TAIL = 65_536

Soft = NDArray[np.float16]


@dataclass(frozen=True)
class Learned:
    """What was learned of one sample.

    Attributes:
        facts: its plain values.
        grey: (256, 256) uint8, its comparison image; ``None`` where it could not be read.
        sums: (32, 32) uint16, the block sums of `grey`.
        soft: (32, 32) float16, the part of foreground in each block; ``None`` without a mask.
    """

    facts: Scanned
    grey: Grey | None = None
    sums: NDArray[np.uint16] | None = None
    soft: Soft | None = None


def learn(source: Source, record: Record) -> Learned:
    """Decode the image and the mask of a sample; whatever is wrong with them becomes its `error`.

    Args:
        source: knows how to read `record`.
        record: one of its records.
    """
    about = {
        "id": record.id,
        "group": record.group,
        "split": record.split,
        "image": record.image,
        "masks": record.masks,
    }
    of_file: dict[str, object] = {}
    try:
        of_file = _of_file(record.image)
        image = source.read_image(record.image)
        grey = comparison_image(image)
        of_pixels = _of_pixels(image)
    except _FAULTS as error:
        # Where a format has no end mark, the decoder alone can tell.
        if isinstance(error, ImageFileError) and of_file.get("format") not in _ENDS:
            of_file["cut"] = error.truncated
        return Learned(Scanned(**about, **of_file, error=_sentence(record.image, error)))  # type: ignore[arg-type]
    height, width = image.shape[:2]
    mask, soft, mask_error, fault = _of_mask(source, record, (height, width))
    facts = Scanned(
        **about,  # type: ignore[arg-type]
        **of_file,  # type: ignore[arg-type]
        **of_pixels,  # type: ignore[arg-type]
        mask=mask,
        mask_error=mask_error,
        mask_fault=fault,
    )
    return Learned(facts, grey, block_sums(grey), soft)


def _sentence(path: Path, error: BaseException) -> str:
    if isinstance(error, OSError):
        return str(unreadable(path, error))
    return str(error) or type(error).__name__


def _of_file(path: Path) -> dict[str, object]:
    require_plain_file(path)
    digest, size, head, tail = hashlib.sha256(), 0, b"", b""
    with path.open("rb", buffering=0) as handle:
        while part := handle.read(_AT_ONCE):
            digest.update(part)
            size += len(part)
            head = head or part[:HEAD_BYTES]
            tail = part if len(part) >= _TAIL else tail[-_TAIL:] + part
    file_format = format_of(head) or ""
    mark = _ENDS.get(file_format)
    return {
        "file_bytes": size,
        "file_digest": digest.hexdigest(),
        "format": file_format,
        "cut": mark is not None and mark not in tail[-_TAIL:],
    }


def _of_pixels(image: NDArray[np.generic]) -> dict[str, object]:
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    # By channel, and the channels are of one size: the variances within and between them add up.
    means, stds = (part.ravel() for part in cv2.meanStdDev(cast("NDArray[np.uint8]", image)))
    return {
        "size": (int(image.shape[0]), int(image.shape[1])),
        "channels": int(image.shape[2]),
        "dtype": str(image.dtype),
        "bits": 8 * image.dtype.itemsize,
        "pixel_digest": digest.hexdigest(),
        "mean": float(means.mean()),
        "std": float(np.sqrt((stds**2).mean() + means.var())),
        "low": float(np.min(image)),
        "high": float(np.max(image)),
    }


_MaskOutcome = tuple[MaskFacts | None, Soft | None, str | None, MaskFault | None]


def _of_mask(source: Source, record: Record, size: tuple[int, int]) -> _MaskOutcome:
    try:
        for path in record.masks:
            require_plain_file(path)
        mask = source.read_mask(record, size)
    except _FAULTS as error:
        return None, None, _sentence(record.masks[0], error), "unreadable"
    if mask is None:
        return None, None, None, None
    try:
        # Most masks pass at a glance; the full check counts every value, and says what is wrong.
        if mask.shape != size or int(mask.max()) >= source.n_classes:
            source.check_mask(record, mask, size)
    except SourceError as error:
        return None, None, str(error), "size" if mask.shape != size else "values"
    return mask_facts(mask, source.n_classes), soft_map(mask), None, None


def mask_facts(mask: NDArray[np.uint8], n_classes: int) -> MaskFacts:
    """Learn what a mask holds.

    Args:
        mask: (H, W) uint8 class indices below `n_classes`, or 255.
        n_classes: how many classes there are, background included.

    Examples:
        >>> facts = mask_facts(np.array([[0, 1, 0, 2], [255, 1, 0, 2]], np.uint8), 3)
        >>> facts.counts, facts.ignored, facts.components
        ((3, 2, 2), 1, 2)
    """
    counts = _counts(mask)
    digest = hashlib.sha256(f"{mask.shape}".encode())
    digest.update(np.ascontiguousarray(mask).data)
    objects = [
        each for index in range(1, n_classes) if counts[index] for each in _objects(mask, index)
    ]
    objects.sort(key=lambda each: (-each.pixels, each.class_index, each.box))
    return MaskFacts(
        counts=tuple(counts[:n_classes].tolist()),
        ignored=int(counts[IGNORE]) if n_classes <= IGNORE else 0,
        digest=digest.hexdigest(),
        components=len(objects),
        largest=objects[0].pixels if objects else 0,
        objects=tuple(objects[:MOST_OBJECTS]),
    )


def _counts(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    if mask.max(initial=0) > 1:
        return np.bincount(mask.ravel(), minlength=256)
    counts = np.zeros(256, np.int64)
    counts[1] = cv2.countNonZero(mask)
    counts[0] = mask.size - counts[1]
    return counts


def _objects(mask: NDArray[np.uint8], index: int) -> list[MaskObject]:
    where = np.asarray(mask == index, dtype=np.uint8)
    left, top, width, height = cv2.boundingRect(where)
    # Only inside the box: most masks are small, and labelling costs by the pixel.
    _, _, stats, centroids = cv2.connectedComponentsWithStats(
        where[top : top + height, left : left + width], connectivity=8
    )
    stats[:, :2] += (left, top)
    centroids += (left, top)
    return [
        MaskObject(index, area, (x, y, x + width, y + height), (round(cx, 3), round(cy, 3)))
        for (x, y, width, height, area), (cx, cy) in zip(
            stats[1:].tolist(), centroids[1:].tolist(), strict=True
        )
    ]


def soft_map(mask: NDArray[np.uint8]) -> Soft:
    """Give the part of foreground in each of 32×32 blocks of a mask; ignored pixels count as none.

    Returns:
        (32, 32) float16 in [0, 1].
    """
    drawn = mask if mask.max(initial=0) <= 1 else (mask != 0) & (mask != IGNORE)
    return area_mean(drawn.astype(np.float32), GRID).astype(np.float16)
