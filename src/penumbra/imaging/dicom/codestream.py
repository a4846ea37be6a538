"""What a compressed frame says of itself, read before any of it is decoded.

A DICOM header of 10×10 may hold a codestream of 60,000×60,000, and the decoder believes the stream.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from penumbra.imaging.codestreams import jpeg2000_size, jpeg2000_start

_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
_LOSSY = {0xC0, 0xC1, 0xC2}
_FRAME_MARKERS = {*_LOSSY, 0xC3, 0xF7}
"""Baseline, extended, progressive, lossless and JPEG-LS; arithmetic coding is not among them."""


@dataclass(frozen=True)
class Stream:
    """The facts in a codestream's own header.

    Attributes:
        height: rows.
        width: columns.
        components: samples per pixel.
        precision: bits per sample.
        is_signed: whether samples are signed.
        is_ycc: whether the stream says that its three components are luma and chroma.
    """

    height: int
    width: int
    components: int
    precision: int
    is_signed: bool = False
    is_ycc: bool = False


def jpeg_facts(data: bytes) -> Stream:
    """Read the frame header of a JPEG or JPEG-LS stream.

    Raises:
        ValueError: there is none, or it is of a kind that is not read.
        struct.error: it is cut off.
    """
    place, is_ycc = data.find(b"\xff\xd8") + 2, False
    if place < 2:
        raise ValueError("no start of image")
    while True:
        mark, code = data[place], data[place + 1]
        if mark != 0xFF:
            raise ValueError("no marker")
        if code == 0xFF or code in _NO_LENGTH:
            place += 1 if code == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        body = data[place + 4 : place + 2 + length]
        if code in _FRAME_MARKERS:
            precision, height, width, components = struct.unpack_from(">BHHB", body)
            # Only lossy JPEG turns colours into luma and chroma, whatever its first segment says.
            is_ycc &= components == 3 and code in _LOSSY
            return Stream(height, width, components, precision, is_ycc=is_ycc)
        if code in {0xD9, 0xDA} or (0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC}):
            raise ValueError("no frame header that is read")
        is_ycc |= body.startswith(b"JFIF\0") or (body.startswith(b"Adobe") and body[11:12] == b"\1")
        place += 2 + length


def jpeg2000_facts(data: bytes) -> Stream:
    """Read the SIZ segment of a JPEG 2000 or HTJ2K stream, in a JP2 file or bare.

    Raises:
        ValueError: there is none, it is cut into too many tiles or goes through a palette, or its
            components differ in depth or size.
        struct.error: it is cut off.
    """
    height, width, components = jpeg2000_size(data)
    start = jpeg2000_start(data)
    parts = [data[start + 42 + 3 * i : start + 45 + 3 * i] for i in range(min(components, 4))]
    if any(part != parts[0] for part in parts) or parts[0][1:] != b"\1\1":
        raise ValueError("components differ")
    depth = parts[0][0]
    return Stream(height, width, components, (depth & 0x7F) + 1, depth >= 0x80)
