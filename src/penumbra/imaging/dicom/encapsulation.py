"""Compressed frames in their wrapping: fragments, and which of them make up a frame."""

from __future__ import annotations

import struct

from penumbra.imaging.dicom.elements import Elements
from penumbra.imaging.dicom.parsing import Parsed
from penumbra.imaging.dicom.walking import CutOffError

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STREAM_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")

Fragment = tuple[int, int]
"""Offset in the stream and number of bytes."""


def frame_bytes(file: Parsed, start: int, frames: int, frame: int) -> bytes:
    """Give the compressed bytes of one frame.

    All fragments are walked (not read) first, so that a file whose last frame is cut off is not
    taken for a whole one.

    Args:
        file: the parsed file.
        start: where the encapsulated value starts.
        frames: how many frames the header announces.
        frame: which is wanted, from 0.

    Raises:
        CutOffError: the file ends within the fragments.
        ValueError: the fragments do not make up that many frames.
    """
    table, fragments = _walk(file, start)
    if not fragments:
        raise ValueError("no fragment")
    if frames == 1:
        chosen = fragments
    elif len(fragments) == frames:
        chosen = [fragments[frame]]
    else:
        chosen = _frames_of(file, table, fragments)[frame]
    return b"".join(file.read(place, length) for place, length in chosen)


def _walk(file: Parsed, start: int) -> tuple[list[int], list[Fragment]]:
    items: list[Fragment] = []
    place = start
    while True:
        head = file.read(place, 8)
        if len(head) < 8:
            raise CutOffError
        if head[:4] == _END:
            break
        (length,) = struct.unpack("<I", head[4:])
        if head[:4] != _ITEM:
            raise ValueError("no item")
        if place + 8 + length > file.size:
            raise CutOffError
        items.append((place + 8, length))
        place += 8 + length
    if not items:
        return [], []
    first = file.read(*items[0])
    count = len(first) // 4
    base = items[0][0] + items[0][1]
    offsets = [base + offset for offset in struct.unpack_from(f"<{count}I", first)]
    return _extended(file.elements, base) or offsets, items[1:]


def _extended(elements: Elements, base: int) -> list[int]:
    # Offsets of 64 bits, for files whose frames together pass 4 GiB.
    return [base + int(offset) for offset in elements.words("ExtendedOffsetTable", "Q")]


def _frames_of(file: Parsed, table: list[int], fragments: list[Fragment]) -> list[list[Fragment]]:
    """Group fragments by the offset table, or by where a codestream starts."""
    starts = set(table)
    if not starts:
        starts = {
            place - 8 for place, _ in fragments if file.read(place, 12).startswith(_STREAM_STARTS)
        }
    frames: list[list[Fragment]] = []
    for place, length in fragments:
        if place - 8 in starts or not frames:
            frames.append([])
        frames[-1].append((place, length))
    return frames
