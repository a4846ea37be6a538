"""PNG files chunk by chunk, so that nobody decodes pixels to see what lies behind them."""

from __future__ import annotations

import struct
from typing import BinaryIO

_SIGNATURE = 8
_FRAME = 8
"""Bytes of the length and the type of a chunk."""
_CHECK = 4
_MOST = 2**24
"""Bytes of a chunk that is kept; a length is whatever the file says."""
_SAYS_SOMETHING = {b"IHDR", b"eXIf", b"tEXt", b"zTXt", b"iTXt"}


def without_pixels(stream: BinaryIO) -> bytes:
    r"""Give a PNG file of nothing but its header, its EXIF block and its texts.

    Blocks may stand behind the pixels, which are skipped. A file that ends too soon gives what it
    has until then.

    Args:
        stream: the file, from its beginning.

    Returns:
        A PNG file whose pixels are missing.

    Examples:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("L", (9, 9)).save(file, "PNG")
        >>> bare = without_pixels(io.BytesIO(file.getvalue()))
        >>> Image.open(io.BytesIO(bare)).size
        (9, 9)
    """
    kept = [stream.read(_SIGNATURE)]
    while len(frame := stream.read(_FRAME)) == _FRAME:
        (length,), name = struct.unpack(">I", frame[:4]), frame[4:]
        if name == b"IEND":
            break
        if name in _SAYS_SOMETHING and length <= _MOST:
            kept += [frame, stream.read(length + _CHECK)]
        else:
            stream.seek(length + _CHECK, 1)
    return b"".join([*kept, struct.pack(">I", 0), b"IDAT"])
