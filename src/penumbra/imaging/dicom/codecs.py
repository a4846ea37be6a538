"""Transfer syntaxes: which there are, and from a frame's bytes to its samples."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.dicom.codestream import Stream, jpeg2000_facts, jpeg_facts
from penumbra.imaging.dicom.header import DicomHeader

Samples = NDArray[np.generic]
Codec = Literal["native", "rle", "deflated frames", "jpeg", "jpeg-ls", "jpeg 2000"]


@dataclass(frozen=True)
class TransferSyntax:
    """One way of storing pixels.

    Attributes:
        name: what the standard calls it.
        codec: who decodes it; ``None`` where nobody does.
        is_lossless: whether it always gives back the samples that were stored.
        is_encapsulated: whether frames are wrapped as fragments.
    """

    name: str
    codec: Codec | None
    is_lossless: bool = True

    @property
    def is_encapsulated(self) -> bool:
        """Whether frames are wrapped as fragments."""
        return self.codec != "native"


_RLE_SLACK = 256
_ROOT = "1.2.840.10008.1.2"
SYNTAXES: dict[str, TransferSyntax] = {
    _ROOT: TransferSyntax("Implicit VR Little Endian", "native"),
    f"{_ROOT}.1": TransferSyntax("Explicit VR Little Endian", "native"),
    f"{_ROOT}.1.98": TransferSyntax("Encapsulated Uncompressed Explicit VR Little Endian", None),
    f"{_ROOT}.1.99": TransferSyntax("Deflated Explicit VR Little Endian", "native"),
    f"{_ROOT}.2": TransferSyntax("Explicit VR Big Endian", "native"),
    f"{_ROOT}.4.50": TransferSyntax("JPEG Baseline", "jpeg", is_lossless=False),
    f"{_ROOT}.4.51": TransferSyntax("JPEG Extended (8 and 12 bit)", "jpeg", is_lossless=False),
    f"{_ROOT}.4.57": TransferSyntax("JPEG Lossless (Process 14)", "jpeg"),
    f"{_ROOT}.4.70": TransferSyntax("JPEG Lossless SV1", "jpeg"),
    f"{_ROOT}.4.80": TransferSyntax("JPEG-LS Lossless", "jpeg-ls"),
    f"{_ROOT}.4.81": TransferSyntax("JPEG-LS Near-Lossless", "jpeg-ls", is_lossless=False),
    f"{_ROOT}.4.90": TransferSyntax("JPEG 2000 Lossless", "jpeg 2000"),
    f"{_ROOT}.4.91": TransferSyntax("JPEG 2000", "jpeg 2000", is_lossless=False),
    f"{_ROOT}.4.92": TransferSyntax("JPEG 2000 Part 2 Lossless", None),
    f"{_ROOT}.4.93": TransferSyntax("JPEG 2000 Part 2", None, is_lossless=False),
    f"{_ROOT}.4.94": TransferSyntax("JPIP Referenced", None),
    f"{_ROOT}.4.95": TransferSyntax("JPIP Referenced Deflate", None),
    f"{_ROOT}.4.100": TransferSyntax("MPEG-2 Main Profile Main Level", None, is_lossless=False),
    f"{_ROOT}.4.101": TransferSyntax("MPEG-2 Main Profile High Level", None, is_lossless=False),
    f"{_ROOT}.4.102": TransferSyntax("MPEG-4 AVC/H.264 High Profile", None, is_lossless=False),
    f"{_ROOT}.4.103": TransferSyntax("MPEG-4 AVC/H.264 BD-compatible", None, is_lossless=False),
    f"{_ROOT}.4.104": TransferSyntax("MPEG-4 AVC/H.264 for 2D Video", None, is_lossless=False),
    f"{_ROOT}.4.105": TransferSyntax("MPEG-4 AVC/H.264 for 3D Video", None, is_lossless=False),
    f"{_ROOT}.4.106": TransferSyntax("MPEG-4 AVC/H.264 Stereo", None, is_lossless=False),
    f"{_ROOT}.4.107": TransferSyntax("HEVC/H.265 Main Profile", None, is_lossless=False),
    f"{_ROOT}.4.108": TransferSyntax("HEVC/H.265 Main 10 Profile", None, is_lossless=False),
    f"{_ROOT}.4.110": TransferSyntax("JPEG XL Lossless", None),
    f"{_ROOT}.4.111": TransferSyntax("JPEG XL JPEG Recompression", None, is_lossless=False),
    f"{_ROOT}.4.112": TransferSyntax("JPEG XL", None, is_lossless=False),
    f"{_ROOT}.4.201": TransferSyntax("HTJ2K Lossless", "jpeg 2000"),
    f"{_ROOT}.4.202": TransferSyntax("HTJ2K Lossless RPCL", "jpeg 2000"),
    f"{_ROOT}.4.203": TransferSyntax("HTJ2K", "jpeg 2000", is_lossless=False),
    f"{_ROOT}.5": TransferSyntax("RLE Lossless", "rle"),
    f"{_ROOT}.8.1": TransferSyntax("Deflated Image Frame", "deflated frames"),
}
"""Every transfer syntax of the standard that holds images; by UID."""


class StreamMismatchError(ValueError):
    """A codestream is of another size than the header that it stands under."""


def decode_frame(data: bytes, header: DicomHeader, codec: Codec) -> tuple[Samples, Stream | None]:
    """Decode one compressed frame to (H, W, S) as stored, and what its codestream says.

    Raises:
        StreamMismatchError: the codestream announces another size than the header.
        ValueError: (or what the decoder raises) the frame is damaged.
    """
    if codec == "rle":
        return _from_rle(data, header), None
    if codec == "deflated frames":
        plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, frame_size(header))
        return unpacked(plain, header, is_little=True), None
    facts, decode = _DECODERS[codec]
    stream = facts(data)
    told = (stream.height, stream.width, stream.components)
    if told != (header.height, header.width, header.samples):
        raise StreamMismatchError(told)
    samples = decode(data, stream)
    return samples.reshape(header.height, header.width, header.samples), stream


def _jpeg(data: bytes, stream: Stream) -> Samples:
    # The same colour space in and out: the samples as they stand, converted later by DICOM's words.
    space = "YCBCR" if stream.components == 3 else None
    decoded: Samples = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    return decoded


def _jpeg_ls(data: bytes, _stream: Stream) -> Samples:
    decoded: Samples = imagecodecs.jpegls_decode(data)
    return decoded


def _jpeg2000(data: bytes, _stream: Stream) -> Samples:
    decoded: Samples = imagecodecs.jpeg2k_decode(data, numthreads=1)
    return decoded


_DECODERS: dict[str, tuple[Callable[[bytes], Stream], Callable[[bytes, Stream], Samples]]] = {
    "jpeg": (jpeg_facts, _jpeg),
    "jpeg-ls": (jpeg_facts, _jpeg_ls),
    "jpeg 2000": (jpeg2000_facts, _jpeg2000),
}


def frame_size(header: DicomHeader) -> int:
    """Give the bytes of one frame that is not compressed; bits are rounded up to a byte."""
    samples = 2 if header.photometric.endswith("_422") else header.samples
    return (header.height * header.width * samples * header.bits_allocated + 7) // 8


def unpacked(
    data: bytes, header: DicomHeader, *, is_little: bool, swap: bool = False, skip_bits: int = 0
) -> Samples:
    """Give a frame that is not compressed as (H, W, S), or flat where its chroma is shared.

    Args:
        data: the frame's bytes.
        header: says how many samples of how many bits.
        is_little: the byte order.
        swap: whether bytes were stored as the halves of big-endian words.
        skip_bits: bits of the frame before it in the first byte; frames of one bit per pixel
            follow each other without padding.

    Raises:
        ValueError: there are fewer bytes than the frame needs.
    """
    octets = np.frombuffer(data, dtype=np.uint8)
    if swap:
        octets = octets[: len(octets) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
    size = (header.height, header.width, header.samples)
    if header.bits_allocated == 1:
        bits = np.unpackbits(octets, bitorder="little")[skip_bits:]
        return bits[: header.height * header.width].reshape(size)
    kind = "f" if header.kind != "integer" else "u"
    code = f"{'<' if is_little else '>'}{kind}{header.bits_allocated // 8}"
    flat = octets[: frame_size(header)].view(code)
    flat = flat.astype(flat.dtype.newbyteorder("="))
    if header.photometric.endswith("_422"):
        return flat
    if header.is_planar and header.is_colour:
        return np.moveaxis(flat.reshape(size[2], *size[:2]), 0, -1)
    return flat.reshape(size)


def _from_rle(data: bytes, header: DicomHeader) -> Samples:
    """Decode RLE (PS3.5 annex G): one PackBits segment per byte of a sample, high bytes first."""
    words = struct.unpack_from("<16I", data)
    count, starts = words[0], words[1:]
    pixels = header.height * header.width
    if header.bits_allocated == 1:
        plain = _segment(data, starts[0], len(data), (pixels + 7) // 8)
        return unpacked(plain.tobytes(), header, is_little=True)
    depth = header.bits_allocated // 8
    if count != depth * header.samples:
        raise ValueError("segments")
    ends = [*starts[1:count], len(data)]
    planes = [
        _segment(data, start, end, pixels) for start, end in zip(starts[:count], ends, strict=True)
    ]
    samples = np.stack(planes).reshape(header.samples, depth, pixels)
    wide = np.ascontiguousarray(np.moveaxis(samples, 1, -1)).view(f">u{depth}")
    native = wide.astype(wide.dtype.newbyteorder("="))
    return np.moveaxis(native.reshape(header.samples, header.height, header.width), 0, -1)


def _segment(data: bytes, start: int, end: int, size: int) -> NDArray[np.uint8]:
    if not 64 <= start <= end:
        raise ValueError("segment offsets")
    # Two bytes can become 128: the room is what the header needs, and a run past its end.
    plain = imagecodecs.packbits_decode(data[start:end], out=size + _RLE_SLACK)
    if len(plain) < size:
        raise ValueError("segment cut off")
    return np.frombuffer(plain, dtype=np.uint8)[:size]
