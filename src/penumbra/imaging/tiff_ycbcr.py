"""TIFF pages of luma and chroma without JPEG, as video tools write them: often subsampled.

After TIFF 6.0 (Adobe, 1992), section 21. The samples lie in blocks: the luma of h × v pixels, row
by row, then one Cb and one Cr for all of them.
"""

from __future__ import annotations

import numpy as np
import tifffile
from numpy.typing import NDArray

_YCBCR = 6
_JPEGS = {6, 7, 34892, 33007}
_NO_COMPRESSION = 1
_COEFFICIENTS, _SUBSAMPLING, _REFERENCE, _PREDICTOR = 529, 530, 532, 317
_FACTORS = {1, 2, 4}


def holds_plain_ycbcr(page: tifffile.TiffPage) -> bool:
    """Tell whether a page is luma and chroma that no JPEG decoder turns into RGB."""
    return page.photometric == _YCBCR and int(page.compression) not in _JPEGS


def rgb_of_ycbcr(page: tifffile.TiffPage) -> NDArray[np.uint8]:
    """Decode a page of luma and chroma to (H, W, 3) uint8 RGB; chroma is repeated, not smoothed.

    Raises:
        ValueError: the page is not 8 bit, is tiled, planar or predicted, or a strip is too short.
    """
    across, down = _subsampling(page)
    is_plain = page.bitspersample == 8 and page.samplesperpixel == 3 and page.planarconfig == 1
    if not is_plain or page.is_tiled or _numbers(page, _PREDICTOR, (1,))[0] != 1:
        raise ValueError("YCbCr without JPEG is read as 8-bit strips without predictor only")
    height, width = int(page.imagelength), int(page.imagewidth)
    columns, block = -(-width // across), across * down + 2
    rows = min(int(page.rowsperstrip), height)
    if rows % down and rows < height:
        raise ValueError("strips do not hold whole blocks of YCbCr")
    strips = []
    for index, top in enumerate(range(0, height, rows)):
        lines = -(-min(rows, height - top) // down)
        strips.append(_strip(page, index, lines * columns * block))
    blocks = np.concatenate(strips).reshape(-1, columns, block)
    luma = blocks[..., :-2].reshape(-1, columns, down, across).swapaxes(1, 2)
    luma = luma.reshape(len(blocks) * down, -1)[:height, :width]
    return _to_rgb(page, luma, blocks[..., -2:], (across, down))


def _subsampling(page: tifffile.TiffPage) -> tuple[int, int]:
    across, down = map(int, _numbers(page, _SUBSAMPLING, (2, 2)))
    if not {across, down} <= _FACTORS:
        raise ValueError(f"chroma is subsampled by {across}×{down}")
    return across, down


def _strip(page: tifffile.TiffPage, index: int, size: int) -> NDArray[np.uint8]:
    file = page.parent.filehandle
    file.seek(page.dataoffsets[index])
    data = file.read(page.databytecounts[index])
    if page.compression != _NO_COMPRESSION:
        decode = tifffile.TIFF.DECOMPRESSORS[page.compression]
        # The size is known: no more than that is ever unpacked.
        data = decode(data, out=size)
    samples = np.frombuffer(data, dtype=np.uint8)
    if samples.size < size:
        raise ValueError(f"strip {index} holds {samples.size} of {size} bytes")
    return samples[:size]


def _to_rgb(
    page: tifffile.TiffPage,
    luma: NDArray[np.uint8],
    chroma: NDArray[np.uint8],
    factors: tuple[int, int],
) -> NDArray[np.uint8]:
    red, green, blue = _numbers(page, _COEFFICIENTS, (0.299, 0.587, 0.114))
    # Black and white of Y, Cb and Cr: video keeps room at both ends of its range.
    ends = _numbers(page, _REFERENCE, (0, 255, 128, 255, 128, 255))
    y = _levels(ends[0], ends[1], 255)[luma]
    to_blue = (_levels(ends[2], ends[3], 127) * np.float32(2 - 2 * blue))[chroma[..., 0]]
    to_red = (_levels(ends[4], ends[5], 127) * np.float32(2 - 2 * red))[chroma[..., 1]]
    to_green = -(np.float32(blue) * to_blue + np.float32(red) * to_red) / np.float32(green)
    rgb = np.empty((*luma.shape, 3), dtype=np.uint8)
    for channel, added in enumerate((to_red, to_green, to_blue)):
        # What chroma adds is worked out once per block, and repeated over its pixels.
        wide = added.repeat(factors[1], axis=0).repeat(factors[0], axis=1)
        share = (1 - red - blue) / green if channel == 1 else 1.0
        level = y * np.float32(share) + wide[: luma.shape[0], : luma.shape[1]]
        rgb[..., channel] = np.clip(np.rint(level), 0, 255)
    return rgb


def _levels(black: float, white: float, span: int) -> NDArray[np.float32]:
    if black == white:
        raise ValueError("black and white are the same")
    codes = np.arange(256, dtype=np.float32)
    return np.asarray((codes - np.float32(black)) * np.float32(span / (white - black)))


def _numbers(page: tifffile.TiffPage, code: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """Read a tag's numbers; fractions come as numerator and denominator in turn."""
    tag = page.tags.get(code)
    if tag is None:
        return default
    flat = tuple(map(float, np.ravel(tag.value)))
    if len(flat) == 2 * len(default) and code != _SUBSAMPLING:
        flat = tuple(top / bottom for top, bottom in zip(flat[::2], flat[1::2], strict=True))
    if len(flat) != len(default):
        raise ValueError(f"tag {code} has {len(flat)} numbers, not {len(default)}")
    return flat
