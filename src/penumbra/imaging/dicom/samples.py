"""From a parsed file to the samples of one frame: signs, unused bits and colour put right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from imagecodecs import DelayedImportError
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.dicom.codecs import (
    SYNTAXES,
    StreamMismatchError,
    TransferSyntax,
    decode_frame,
    frame_size,
    unpacked,
)
from penumbra.imaging.dicom.codestream import Stream
from penumbra.imaging.dicom.colour import joined_422, rgb_from_ybr
from penumbra.imaging.dicom.encapsulation import frame_bytes
from penumbra.imaging.dicom.header import DicomHeader
from penumbra.imaging.dicom.parsing import Parsed, PixelElement
from penumbra.imaging.dicom.walking import CutOffError
from penumbra.imaging.limits import damaged

Samples = NDArray[np.generic]


def stored_samples(path: Path, file: Parsed, header: DicomHeader, frame: int) -> Samples:
    """Decode one frame to the samples that were stored.

    Returns:
        (H, W, S): integers with their sign, unused bits cleared; floats as they stand. Luma and
        chroma have become red, green and blue.

    Raises:
        ImageFileError: the transfer syntax is not decoded, or the frame is damaged.
    """
    syntax = _known_syntax(path, header)
    pixels = file.pixels
    if pixels is None:
        raise damaged(path, "it ends before its pixels", truncated=True)
    with _named_damage(path, header):
        if pixels.length is None or syntax.is_encapsulated:
            samples, stream = _compressed(file, header, syntax, pixels, frame)
        else:
            samples, stream = _native(path, file, header, pixels, frame), None
        if header.kind != "integer":
            return samples
        return _in_colour(_meant(samples, header, stream), header, stream)


@contextmanager
def _named_damage(path: Path, header: DicomHeader) -> Iterator[None]:
    """Name the damage that has a name; the rest is left to the parser's guard."""
    try:
        yield
    except CutOffError:
        raise damaged(path, "its pixels are cut off", truncated=True) from None
    except StreamMismatchError:
        told = f"{header.height}×{header.width}, {header.samples} samples per pixel"
        raise damaged(path, f"its header says {told}, its codestream another size") from None
    except DelayedImportError:
        raise ImageFileError(
            expected(
                str(path),
                "in a transfer syntax that this installation decodes",
                SYNTAXES[header.syntax].name,
                "installing a complete imagecodecs",
            )
        ) from None


def _known_syntax(path: Path, header: DicomHeader) -> TransferSyntax:
    syntax = SYNTAXES.get(header.syntax)
    if syntax is not None and syntax.codec is not None:
        return syntax
    raise ImageFileError(
        expected(
            str(path),
            "in a transfer syntax that Penumbra decodes",
            "an unknown one" if syntax is None else syntax.name,
            "converting it to Explicit VR Little Endian",
        )
    )


def _compressed(
    file: Parsed, header: DicomHeader, syntax: TransferSyntax, pixels: PixelElement, frame: int
) -> tuple[Samples, Stream | None]:
    if pixels.length is not None or syntax.codec in {None, "native"}:
        raise ValueError("encapsulation and transfer syntax do not agree")
    data = frame_bytes(file, pixels.start, header.frames, frame)
    return decode_frame(data, header, syntax.codec)


def _native(
    path: Path, file: Parsed, header: DicomHeader, pixels: PixelElement, frame: int
) -> Samples:
    pixel_bits = header.height * header.width
    if header.bits_allocated == 1:
        start, skip = divmod(frame * pixel_bits, 8)
        count, total = (skip + pixel_bits + 7) // 8, (header.frames * pixel_bits + 7) // 8
    else:
        count, skip = frame_size(header), 0
        start, total = frame * count, header.frames * count
    held = min(pixels.length or 0, file.size - pixels.start)
    if held < total:
        raise damaged(path, f"{held:,} bytes of pixels instead of {total:,}", truncated=True)
    # In words of 16 bits, big endian swaps bytes that are samples of their own.
    swap = pixels.wide and not file.is_little and header.bits_allocated <= 8
    odd = start % 2 if swap else 0
    data = file.read(pixels.start + start - odd, count + odd + (count + odd) % 2)
    if not swap:
        return unpacked(data[:count], header, is_little=file.is_little, skip_bits=skip)
    swapped = np.frombuffer(data, dtype=np.uint8).reshape(-1, 2)[:, ::-1].reshape(-1)
    return unpacked(swapped[odd : odd + count].tobytes(), header, is_little=False, skip_bits=skip)


def _meant(samples: Samples, header: DicomHeader, stream: Stream | None) -> Samples:
    """Clear unused bits, and give negative samples their sign."""
    used = header.bits_stored
    if stream is None:
        low = header.high_bit + 1 - used
        samples = samples >> np.asarray(low, dtype=samples.dtype) if low else samples
    else:
        # Headers announce more bits than the stream has now and then; the sign stands in the
        # highest bit of the stream.
        used = min(used, stream.precision)
        if stream.is_signed and header.is_signed:
            return samples
    if not header.is_signed and samples.dtype.kind == "u" and used == 8 * samples.dtype.itemsize:
        return samples
    wide = samples.astype(np.int64) & ((1 << used) - 1)
    if header.is_signed:
        wide = (wide ^ (1 << (used - 1))) - (1 << (used - 1))
        return wide.astype(np.int32 if used > 16 else np.int16)
    return wide.astype(np.uint32 if used > 16 else np.uint16 if used > 8 else np.uint8)


def _in_colour(samples: Samples, header: DicomHeader, stream: Stream | None) -> Samples:
    meaning = header.photometric
    if stream is None and meaning.endswith("_422"):
        samples = joined_422(samples, header.height, header.width)
    # Decoders of JPEG 2000 undo ICT and RCT, which are part of its codestream, by themselves.
    is_ybr = meaning.startswith("YBR_") and meaning not in {"YBR_ICT", "YBR_RCT"}
    # Many JPEG files are said to be RGB and hold what JPEG always holds.
    if not is_ybr and not (meaning == "RGB" and stream is not None and stream.is_ycc):
        return samples
    if header.bits_stored > 16:
        raise ValueError("luma and chroma of more than 16 bits")
    bits = header.bits_stored
    colours = rgb_from_ybr(samples, bits, is_partial=meaning.startswith("YBR_PARTIAL"))
    return colours.astype(np.uint8 if bits <= 8 else np.uint16)
