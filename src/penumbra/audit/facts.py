"""What a scan learns of one sample: plain values that fit on a line of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from penumbra.data.sample import Record, Split

MaskFault = Literal["unreadable", "size", "values"]
"""Why a mask is of no use: it could not be read, has another size than its image, or holds values
outside the classes."""

MOST_OBJECTS = 64
"""Of how many objects of a mask, the largest first, the place is kept."""


@dataclass(frozen=True)
class MaskObject:
    """One connected component (8 neighbours) of one foreground class.

    Attributes:
        class_index: its class.
        pixels: its area.
        box: xyxy in pixels, the far edges exclusive.
        centroid: (x, y) in pixels; the middle of the top left pixel is (0, 0).
    """

    class_index: int
    pixels: int
    box: tuple[int, int, int, int]
    centroid: tuple[float, float]


@dataclass(frozen=True)
class MaskFacts:
    """What a scan learns of a mask. Its soft foreground map is `Scan.soft_mask`.

    Attributes:
        counts: pixels per class, K of them; pixels to be ignored are in none.
        ignored: pixels to be ignored.
        digest: sha256 (hex) of shape and class indices.
        components: how many objects there are, over all foreground classes.
        largest: pixels of the largest object, 0 where there is none.
        objects: the largest `MOST_OBJECTS` of them, the largest first.
    """

    counts: tuple[int, ...]
    ignored: int
    digest: str
    components: int
    largest: int
    objects: tuple[MaskObject, ...]

    @property
    def foreground(self) -> int:
        """Pixels of every class but 0."""
        return sum(self.counts[1:])


@dataclass(frozen=True)
class Scanned:
    """What a scan learns of one sample.

    Attributes:
        id: of the sample.
        group: what must not straddle a split.
        split: the split the data set itself ships, if any.
        image: the image file.
        masks: the files the mask is made of.
        error: why the image could not be read, as a sentence; ``None`` where it could. All that
            follows up to `changed` is empty or 0 where it could not.
        size: (height, width) as decoded, upright.
        channels: 1 or 3.
        dtype: ``"uint8"``, ``"uint16"`` or ``"float32"``.
        bits: per channel, of the type: 8, 16 or 32.
        format: what the file is by its content (``"png"``), whatever its suffix says.
        file_bytes: size of the image file.
        file_digest: sha256 (hex) of the image file's bytes; also known of files that could be
            opened and not decoded.
        cut: whether a PNG or JPEG lacks its end mark in the last 64 KiB, also known where
            decoding failed; of other formats, whether their decoder failed for it.
        pixel_digest: sha256 (hex) of shape, type and decoded pixels.
        mean: of all pixels and channels, in the image's own units.
        std: of all pixels and channels.
        low: the lowest value.
        high: the highest value.
        mask: what its mask holds; ``None`` where there is none, or none that could be used.
        mask_error: why the mask could not be used, as a sentence.
        mask_fault: the same as one word.
        changed: whether one of its files changed while the scan ran, so that nothing here can be
            relied on.
    """

    id: str
    group: str
    split: Split | None
    image: Path
    masks: tuple[Path, ...]
    error: str | None = None
    size: tuple[int, int] = (0, 0)
    channels: int = 0
    dtype: str = ""
    bits: int = 0
    format: str = ""
    file_bytes: int = 0
    file_digest: str = ""
    cut: bool = False
    pixel_digest: str = ""
    mean: float = 0.0
    std: float = 0.0
    low: float = 0.0
    high: float = 0.0
    mask: MaskFacts | None = None
    mask_error: str | None = None
    mask_fault: MaskFault | None = None
    changed: bool = False

    @property
    def readable(self) -> bool:
        """Whether the image could be decoded."""
        return self.error is None


_OF_RECORD = {"id", "group", "split", "image", "masks"}


def to_plain(facts: Scanned) -> dict[str, Any]:
    """Give what was learned as plain JSON values, less what the record of the sample says."""
    # `vars` and not `asdict`, which copies every value and takes as long as decoding does.
    plain = {name: value for name, value in vars(facts).items() if name not in _OF_RECORD}
    if facts.mask is not None:
        objects = [vars(each) for each in facts.mask.objects]
        plain["mask"] = {**vars(facts.mask), "objects": objects}
    return plain


def from_plain(record: Record, plain: Mapping[str, Any]) -> Scanned:
    """Build the facts of a record from what `to_plain` gave.

    Raises:
        KeyError: a field of the mask is missing.
        TypeError: `plain` has other fields than it should.

    Examples:
        >>> record = Record("a", "a", Path("a.png"))
        >>> facts = Scanned("a", "a", None, Path("a.png"), (), size=(4, 3), channels=1)
        >>> from_plain(record, to_plain(facts)) == facts
        True
    """
    if unknown := plain.keys() - _LEARNED:
        message = f"unknown fields {sorted(unknown)}"
        raise TypeError(message)
    height, width = plain["size"]
    return Scanned(
        id=record.id,
        group=record.group,
        split=record.split,
        image=record.image,
        masks=record.masks,
        **{
            **plain,
            "size": (height, width),
            "mask": None if plain["mask"] is None else _mask(plain["mask"]),
        },
    )


_LEARNED = {field.name for field in fields(Scanned)} - _OF_RECORD


def _mask(plain: Mapping[str, Any]) -> MaskFacts:
    objects = tuple(
        MaskObject(
            class_index=each["class_index"],
            pixels=each["pixels"],
            box=tuple(each["box"]),
            centroid=tuple(each["centroid"]),
        )
        for each in plain["objects"]
    )
    return MaskFacts(**{**plain, "counts": tuple(plain["counts"]), "objects": objects})
