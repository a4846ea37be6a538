"""From a quadrilateral to a rectangle: the homography and the pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.documents.quad import Quad
from penumbra.documents.settings import RectifySettings

Matrix = NDArray[np.float64]
"""(3, 3) homography from the photograph's pixels (x, y) to the crop's."""


def crop_size(quad: Quad, settings: RectifySettings) -> tuple[int, int]:
    """Choose (width, height) of a crop: the settings', or the card's ratio as finely as it is seen.

    The longer side gets as many pixels as the longest of the quad's sides asks for.
    """
    if settings.size is not None:
        return settings.size
    top, right, bottom, left = (float(np.hypot(*side)) for side in np.roll(quad, -1, axis=0) - quad)
    width = max(top, bottom, settings.ratio * left, settings.ratio * right)
    width = float(np.clip(round(width), 16, settings.most_side))
    return int(width), max(round(width / settings.ratio), 1)


def homography(quad: Quad, size: tuple[int, int]) -> Matrix:
    """Compute the homography that takes a quad's corners to those of a rectangle.

    Args:
        quad: (4, 2) top left, top right, bottom right, bottom left.
        size: (width, height) of the rectangle.

    Returns:
        H with (u, v, 1) ~ H (x, y, 1); both origins are outer corners of first pixels.

    Examples:
        >>> quad = np.array([[1.0, 1], [3, 1], [3, 2], [1, 2]])
        >>> (homography(quad, (2, 1)) @ [1, 1, 1]).round(6).tolist()
        [0.0, 0.0, 1.0]
    """
    width, height = size
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    rows = []
    # Corners near the origin and of size 1 keep the equations well conditioned.
    middle, spread = quad.mean(axis=0), max(float(np.ptp(quad, axis=0).max()), 1e-9)
    for (x, y), (u, v) in zip((quad - middle) / spread, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    found = np.append(np.linalg.solve(np.array(rows), target.ravel()), 1.0).reshape(3, 3)
    bring = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, spread]]) / spread
    matrix = found @ bring
    return np.asarray(matrix / matrix[2, 2])


def warp(
    picture: NDArray[np.generic], matrix: Matrix, size: tuple[int, int], *, finer: int = 1
) -> NDArray[np.generic]:
    """Sample a picture along a homography, linearly; 0 where the photograph does not reach.

    Args:
        picture: (H, W) or (H, W, C).
        matrix: from the picture to the rectangle.
        size: (width, height) of the rectangle.
        finer: samples per pixel and axis that are averaged, for crops much coarser than the
            photograph.
    """
    width, height = size
    # The sampler's coordinates start at the first pixel's centre, ours at its outer corner.
    into = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    scaled = np.diag([finer, finer, 1.0]) @ matrix
    centred = np.linalg.inv(into) @ scaled @ into
    # Half-precision floats and the like are not sampled; the wider type holds every value.
    source = picture if picture.dtype in (np.uint8, np.uint16) else picture.astype(np.float32)
    fine = cv2.warpPerspective(
        np.ascontiguousarray(source), centred, (width * finer, height * finer),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    coarse = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) if finer > 1 else fine
    result: NDArray[np.generic] = coarse.reshape(height, width, *picture.shape[2:])
    return result


def known_pixels(
    matrix: Matrix, size: tuple[int, int], frame: tuple[int, int]
) -> NDArray[np.bool_]:
    """Tell which of a crop's pixels have their centre in the frame.

    Args:
        matrix: from the photograph to the crop.
        size: (width, height) of the crop.
        frame: (height, width) of the photograph.

    Returns:
        (height, width) of the crop.
    """
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    x, y, scale = np.tensordot(
        np.linalg.inv(matrix), np.stack([columns, rows, np.ones_like(rows)]), axes=1
    )
    x, y = x / scale, y / scale
    return np.asarray((x >= 0) & (x <= frame[1]) & (y >= 0) & (y <= frame[0]))


def samples_per_pixel(quad: Quad, size: tuple[int, int]) -> int:
    """Give how many of the photograph's pixels meet in one of the crop's, along an axis, 1 … 8."""
    top, right, bottom, left = (float(np.hypot(*side)) for side in np.roll(quad, -1, axis=0) - quad)
    finest = max(max(top, bottom) / size[0], max(left, right) / size[1])
    return int(np.clip(np.ceil(finest - 0.25), 1, 8))
