"""Lookup tables: modality, VOI and palette (DICOM PS3.3 C.11.1, C.11.2 and C.7.9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.dicom.elements import Elements

Words = NDArray[np.uint16]

_LARGEST = 65536
_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Lut:
    """A table from whole numbers to whole numbers.

    Attributes:
        first: the value that the first entry stands for; lower ones give it too.
        entries: (N,) uint16; values beyond the last entry give the last.
        bits: how many bits an entry can use, 8 to 16.
        name: what the file calls it; empty where it does not.
    """

    first: int
    entries: Words
    bits: int
    name: str = ""

    @property
    def white(self) -> int:
        """The largest value that an entry can have."""
        return (1 << self.bits) - 1

    def apply(self, values: NDArray[np.generic]) -> Words:
        """Look up whole numbers of any shape."""
        places = np.rint(values.astype(np.float64)) - self.first
        indices = np.clip(places, 0, len(self.entries) - 1).astype(np.intp)
        return np.asarray(self.entries[indices])


def modality_lut(elements: Elements, *, is_signed: bool) -> Lut | None:
    """Read the modality LUT; ``None`` where there is none."""
    found = elements.items("ModalityLUTSequence")
    return _plain_lut(found[0], is_signed=is_signed) if found else None


def voi_luts(elements: Elements, *, is_signed: bool) -> tuple[Lut, ...]:
    """Read the VOI LUTs; `is_signed` says whether the values that they map can be negative."""
    found = elements.items("VOILUTSequence")
    return tuple(_plain_lut(item, is_signed=is_signed) for item in found)


def palette(elements: Elements, *, is_signed: bool) -> tuple[Lut, Lut, Lut]:
    """Read the red, green and blue tables, plain or segmented.

    Raises:
        ValueError: a table is missing, empty or malformed.
    """
    red, green, blue = (_colour_lut(elements, name, is_signed=is_signed) for name in _COLOURS)
    return red, green, blue


def _plain_lut(item: Elements, *, is_signed: bool) -> Lut:
    count, first, bits = _descriptor(item, "LUTDescriptor", is_signed=is_signed)
    entries = _entries(item, "LUTData", count, bits)
    return Lut(first, entries, _used_bits(entries, bits), item.text("LUTExplanation"))


def _colour_lut(elements: Elements, colour: str, *, is_signed: bool) -> Lut:
    name = f"{colour}PaletteColorLookupTable"
    count, first, bits = _descriptor(elements, f"{name}Descriptor", is_signed=is_signed)
    segmented = f"Segmented{name}Data"
    if elements.raw(segmented):
        words = elements.words(segmented, "B" if bits == 8 else "H")
        entries = np.array(expanded([int(word) for word in words], most=count), dtype=np.uint16)
        if len(entries) < count:
            raise ValueError(segmented)
    else:
        entries = _entries(elements, f"{name}Data", count, bits)
    return Lut(first, entries, bits)


def _descriptor(item: Elements, keyword: str, *, is_signed: bool) -> tuple[int, int, int]:
    count, first, bits = (int(word) for word in item.words(keyword, "H")[:3])
    if first >= 0x8000 and (is_signed or item.is_signed(keyword)):
        first -= 0x10000
    if not 8 <= bits <= 16:
        raise ValueError(keyword)
    return count or _LARGEST, first, bits


def _entries(item: Elements, keyword: str, count: int, bits: int) -> Words:
    raw = item.raw(keyword)
    # Entries of 8 bits stand one to a byte or one to a word; only the length tells.
    code = "B" if bits == 8 and len(raw) < 2 * count else "H"
    words = item.words(keyword, code)[:count]
    if len(words) < count:
        raise ValueError(keyword)
    return np.array(words, dtype=np.uint16)


def _used_bits(entries: Words, bits: int) -> int:
    # Some writers announce fewer bits than their entries use.
    return max(bits, int(entries.max()).bit_length())


def expanded(words: list[int], *, most: int = _LARGEST) -> list[int]:
    """Expand a segmented palette (PS3.3 C.7.9.2).

    Segments are discrete (0, n, n values), linear (1, n, end: n values on a line from the entry
    before to the end) or indirect (2, n, offset low, offset high: n segments from there again).

    Args:
        words: the segments.
        most: how many entries the table has; the expansion stops there.

    Raises:
        ValueError: a segment is cut off, of an unknown kind, or refers to a reference.

    Examples:
        >>> expanded([0, 2, 10, 20, 1, 4, 40])
        [10, 20, 25, 30, 35, 40]
    """
    out: list[int] = []
    place = 0
    while place + 1 < len(words) and len(out) < most:
        if words[place] == 2:
            _, count, low, high = words[place : place + 4]
            _repeat(words, count, (high << 16 | low) // 2, out, most)
            place += 4
        else:
            place = _one_segment(words, place, out)
    return out[:most]


def _repeat(words: list[int], count: int, place: int, out: list[int], most: int) -> None:
    for _ in range(count):
        if len(out) >= most:
            return
        place = _one_segment(words, place, out)


def _one_segment(words: list[int], place: int, out: list[int]) -> int:
    kind, count = words[place], words[place + 1]
    if kind == 0 and place + 2 + count <= len(words):
        out.extend(words[place + 2 : place + 2 + count])
        return place + 2 + count
    if kind == 1 and out and count:
        start, end = out[-1], words[place + 2]
        out.extend(start + (end - start) * step // count for step in range(1, count + 1))
        return place + 3
    raise ValueError(kind)
