"""The sizes that codestreams announce, read as strictly as any decoder reads them.

A decoder reserves what the stream says, whatever stands in the file around it. What could be read
in two ways is refused, since the decoder may take the other one.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_J2K_START = b"\xff\x4f\xff\x51"
_MOST_TILES = 4096
_START_OF_SCAN = 0xDA
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xDA), 0xFF}


class StreamSize(NamedTuple):
    """What is known of an image before it is decoded: rows, columns and samples per pixel."""

    height: int
    width: int
    components: int


def jpeg_frames(data: bytes) -> list[StreamSize]:
    """Read every frame header in front of the first scan of a JPEG or JPEG-LS stream.

    Tables that are shared by several streams have none.

    Raises:
        ValueError: it does not begin as JPEG does, or something but a segment stands there.
        struct.error: it is cut off.

    Examples:
        >>> jpeg_frames(bytes.fromhex("ffd8 ffc0 000b 08 0010 0020 01 011100 ffda"))
        [StreamSize(height=16, width=32, components=1)]
    """
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("no start of a JPEG stream")
    found, place = [], 2
    while place < len(data):
        mark, code = struct.unpack_from(">BB", data, place)
        if mark != 0xFF or (code in _WITHOUT_LENGTH and code != 0xD9):
            raise ValueError("no segment of a JPEG stream")
        if code in {_START_OF_SCAN, 0xD9}:
            break
        (length,) = struct.unpack_from(">H", data, place + 2)
        if code in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, place + 5)
            found.append(StreamSize(height, width, components))
        place += 2 + length
    return found


def jpeg_size(data: bytes) -> StreamSize:
    """Read the size that a JPEG or JPEG-LS stream announces.

    Raises:
        ValueError: there is not exactly one frame header, or it leaves its height open.
        struct.error: it is cut off.
    """
    frames = jpeg_frames(data)
    if len(frames) != 1 or not frames[0].height:
        raise ValueError("no frame header of a JPEG stream")
    return frames[0]


def jpeg2000_start(data: bytes) -> int:
    """Give where the codestream begins in JPEG 2000 data, bare or in a JP2 file.

    It is not searched for: a box in front of it may hold what looks like one.

    Raises:
        ValueError: there is none, or a palette would turn its samples into more.
        struct.error: it is cut off.
    """
    place = 0
    if data.startswith(_JP2_SIGNATURE):
        kind, size = b"", 0
        while kind != b"jp2c":
            place += size
            size, kind = struct.unpack_from(">I4s", data, place)
            head = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", data, place + 8)
                head = 16
            if size < head and kind != b"jp2c":
                raise ValueError("no box of a JP2 file")
        if b"pclr" in data[:place]:
            raise ValueError("a palette in a JP2 file")
        place += head
    if data[place : place + 4] != _J2K_START:
        raise ValueError("no JPEG 2000 codestream")
    return place


def jpeg2000_size(data: bytes) -> StreamSize:
    """Read the size that JPEG 2000 data announce.

    Raises:
        ValueError: there is none, or the stream is cut into more tiles than any encoder makes.
        struct.error: it is cut off.
    """
    values = struct.unpack_from(">8IH", data, jpeg2000_start(data) + 8)
    right, below, left, above, across, down, tiles_left, tiles_above, components = values
    if right <= left or below <= above or not across or not down:
        raise ValueError("an empty JPEG 2000 codestream")
    tiles = -(-(right - tiles_left) // across) * -(-(below - tiles_above) // down)
    if tiles > _MOST_TILES:
        raise ValueError(f"{tiles} tiles in a JPEG 2000 codestream")
    return StreamSize(below - above, right - left, components)
