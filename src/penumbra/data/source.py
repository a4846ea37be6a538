"""An ordered, lazy collection of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE, Finding, Record, Sample
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import read_spacing

Symmetry = Literal["none", "horizontal", "dihedral"]
"""Which flips and turns leave the meaning of the images as it is."""

NO_MASKS = "none"
"""The target of a layout whose data set ships boxes and no masks, unless these are filled."""

ReadImage = Callable[[Path], NDArray[np.generic]]
ReadMask = Callable[[Record, tuple[int, int]], NDArray[np.uint8] | None]
ReadBoxes = Callable[[Record, tuple[int, int]], NDArray[np.float32] | None]


@dataclass(frozen=True)
class Source(Sequence[Sample]):
    """An ordered, lazy collection of samples; nothing is decoded before it is asked for.

    Attributes:
        layout: name of the layout that made it, such as ``"folder"``.
        root: the folder it was made from.
        records: one light record per sample, in a stable order.
        class_names: one name per class index.
        read_image: decodes a record's image to (H, W, C).
        read_mask: decodes a record's mask to (H, W) class indices for an image of that (H, W);
            ``None`` where the record has none.
        has_background: whether class 0 is background, which averages over classes leave out.
        symmetry: flips and turns that augmentation may use.
        target: what the mask shows, where the layout offers several (``"lungs"``).
        findings: what was noticed while the folder was listed.
        read_boxes: gives a record's boxes, (N, 4) float32 xyxy in the pixels of an image of that
            (H, W); ``None`` where the record has none, and where the layout knows no boxes.
        pinned: whether the records' splits are a manifest's, not what the data set ships.
    """

    layout: str
    root: Path
    records: tuple[Record, ...]
    class_names: tuple[str, ...]
    read_image: ReadImage
    read_mask: ReadMask
    has_background: bool = True
    symmetry: Symmetry = "none"
    target: str | None = None
    findings: tuple[Finding, ...] = ()
    read_boxes: ReadBoxes | None = None
    pinned: bool = False

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # slices: use `subset`
        record = self.records[index]
        image = self.read_image(record.image)
        height, width = image.shape[:2]
        mask = self.read_mask(record, (height, width))
        if mask is not None:
            self.check_mask(record, mask, (height, width))
        return Sample(
            id=record.id,
            image=image,
            mask=mask,
            group=record.group,
            boxes=None if self.read_boxes is None else self.read_boxes(record, (height, width)),
            spacing=record.spacing or read_spacing(record.image),
        )

    def __iter__(self) -> Iterator[Sample]:
        for index in range(len(self)):
            yield self[index]

    @property
    def n_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names)

    @property
    def name(self) -> str:
        """The ``LAYOUT:PATH`` form that opens this source again."""
        return f"{self.layout}:{self.root}"

    def subset(self, indices: Sequence[int]) -> Source:
        """Give the source of these samples, in this order."""
        return replace(self, records=tuple(self.records[index] for index in indices))

    def check_mask(self, record: Record, mask: NDArray[np.uint8], size: tuple[int, int]) -> None:
        """Check that a mask has its image's size and no value outside the classes.

        Raises:
            SourceError: it has not; the text names the sample.
        """
        if mask.shape != size:
            raise SourceError(
                expected(
                    f"the mask of {record.id!r}",
                    f"as large as its image, {size[0]}×{size[1]} (height × width)",
                    "×".join(map(str, mask.shape)),
                    "exporting the mask again at the image's size, or removing the sample",
                )
            )
        values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        outside = [int(v) for v in values if v >= self.n_classes and v != IGNORE]
        if outside:
            raise SourceError(
                expected(
                    f"every value in the mask of {record.id!r}",
                    f"a class index 0–{self.n_classes - 1} or {IGNORE} (ignore)",
                    f"{outside[:8]}",
                    "naming every class (--classes a,b,c, or classes.txt in the folder), or "
                    "correcting the mask",
                )
            )


def has_boxes_alone(source: Source) -> bool:
    """Tell whether a source knows boxes, and a mask of none of its samples."""
    return source.read_boxes is not None and not any(record.masks for record in source.records)


def require_masks(source: Source) -> None:
    """Raise where not a single sample of `source` has a mask; some without are fine.

    Call it before work that is pointless without masks, such as training or evaluation.

    Raises:
        SourceError: the source has no sample, or none of its samples has a mask.
    """
    if any(record.masks for record in source.records):
        return
    count = len(source)
    raise SourceError(
        expected(
            f"the source {source.name}",
            "images with masks",
            f"{count} image{'' if count == 1 else 's'} and no mask",
            "--target boxes, which fills the boxes as a weak mask"
            if source.target == NO_MASKS
            else "putting masks of the same names into masks/ beside images/, or naming the layout "
            "(LAYOUT:PATH)",
        )
    )
