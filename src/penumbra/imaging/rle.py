"""Masks as run lengths: COCO's counts, plain and compressed, and Kaggle's start–length pairs.

Both go down the columns: pixel (row, column) of a mask of height H has the position
``column · H + row``. COCO writes the lengths of alternating runs, background first; Kaggle writes
the first position (counted from 1) and the length of each run of foreground.

The compressed form is the string of LEB128-like characters that the COCO tools define: from the
fourth count on, the difference to the count two before is written in groups of five bits, each as
the character of code 48 + bits, with bit 5 set where more groups follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penumbra.errors import ImageFileError, SettingsError, expected

MAX_PIXELS = 100_000_000
"""Most pixels of a mask that is decoded, unless the caller allows more."""

_FIRST, _MORE, _BITS = 48, 0x20, 5
_MOST_GROUPS = 7  # 35 bits: more than any difference of two counts under 2**32 needs
_NUMBER = re.compile(r"[0-9]{1,10}")

Size = tuple[int, int]


def binary(mask: ArrayLike) -> NDArray[np.bool_]:
    """Give a mask of two values as bool.

    Args:
        mask: (H, W) bool, or whole numbers that are all 0 or 1; 255 (ignore) is refused, since
            neither form can hold a third value.

    Raises:
        SettingsError: it is neither.

    Examples:
        >>> binary([[0, 1]]).tolist()
        [[False, True]]
    """
    array = np.asarray(mask)
    if array.ndim != 2 or not array.size:
        raise SettingsError(
            expected("`mask`", "of shape (H, W)", f"shape {array.shape}", "one mask at a time")
        )
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iu" or ((array != 0) & (array != 1)).any():
        raise SettingsError(
            expected("`mask`", "bool, or all 0 and 1", array.dtype, "`mask == class_index`")
        )
    return array.astype(np.bool_)


def counts_of(mask: ArrayLike) -> NDArray[np.int64]:
    """Count the alternating runs of a mask, column by column, background first.

    Args:
        mask: (H, W) bool, or whole numbers that are all 0 or 1.

    Returns:
        (R,) lengths that sum to H · W; the first is 0 where the first pixel is foreground, every
        other one is above 0.

    Raises:
        SettingsError: the mask is not (H, W), is empty, or holds other values.

    Examples:
        >>> counts_of([[0, 1], [1, 1]]).tolist()
        [1, 3]
    """
    flat = binary(mask).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], edges, [flat.size]))
    lengths = np.diff(bounds)
    return np.concatenate(([0], lengths)) if flat[0] else lengths


def mask_of_counts(
    counts: ArrayLike, size: Size, *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.bool_]:
    """Draw the mask that COCO's counts describe; the inverse of `counts_of`.

    Args:
        counts: (R,) lengths of alternating runs, background first, none below 0.
        size: (H, W).
        max_pixels: refuse larger masks.

    Returns:
        (H, W) bool.

    Raises:
        ImageFileError: the counts are no whole numbers, one is below 0, they do not sum to H · W,
            there are more of them than pixels could need, or the mask is too large.

    Examples:
        >>> mask_of_counts([1, 3], (2, 2)).astype(int).tolist()
        [[0, 1], [1, 1]]
    """
    height, width = _checked_size(size, max_pixels)
    lengths = _checked_counts(counts, height * width)
    values = np.zeros(lengths.size, dtype=np.bool_)
    values[1::2] = True
    return _upright(np.repeat(values, lengths), height, width)


def compress(counts: ArrayLike) -> str:
    """Write counts as the COCO tools' compressed string.

    Args:
        counts: (R,) whole numbers from 0 to 2**32 - 1.

    Raises:
        SettingsError: a count is outside that range, or they are no whole numbers.

    Examples:
        >>> compress([3, 2, 1, 40])
        '321V1'
    """
    numbers = np.asarray(counts)
    whole = numbers.dtype.kind in "iu" or not numbers.size
    if numbers.ndim != 1 or not whole or (numbers < 0).any() or (numbers >= 2**32).any():
        raise SettingsError(
            expected("`counts`", "(R,) whole numbers from 0", numbers, "`counts_of(mask)`")
        )
    left = numbers.astype(np.int64)
    left[3:] -= numbers[1:-2].astype(np.int64)
    codes = np.zeros((left.size, _MOST_GROUPS), dtype=np.uint8)
    written = np.zeros(codes.shape, dtype=np.bool_)
    active = np.ones(left.size, dtype=np.bool_)
    for group in range(_MOST_GROUPS):
        bits = left & 0x1F
        left = left >> _BITS
        # A group is the last one where the rest is all sign bits and its own top bit is the sign.
        more = active & np.where(bits & 0x10, left != -1, left != 0)
        codes[:, group] = bits + np.where(more, _MORE, 0) + _FIRST
        written[:, group] = active
        active = more
        if not active.any():  # Most numbers are short, so that the later groups are empty.
            break
    return codes[written].tobytes().decode("ascii")


def decompress(text: str | bytes, *, most: int = 2 * MAX_PIXELS + 2) -> NDArray[np.int64]:
    """Read counts from the COCO tools' compressed string; the inverse of `compress`.

    Args:
        text: characters of codes 48 to 111.
        most: refuse more counts than this.

    Returns:
        (R,) int64.

    Raises:
        ImageFileError: a character is outside the alphabet, the string ends within a number, a
            number is longer than 35 bits, a count is below 0, or there are too many.

    Examples:
        >>> decompress("321V1").tolist()
        [3, 2, 1, 40]
    """
    codes = _codes(text, most)
    last = np.flatnonzero((codes & _MORE) == 0)
    if codes.size and (not last.size or last[-1] != codes.size - 1):
        raise _bad_string("complete", "one that ends within a number")
    if last.size > most:
        raise _bad_string(f"of at most {most:,} counts", f"{last.size:,}")
    starts = np.concatenate(([0], last[:-1] + 1)).astype(np.int64)[: last.size]
    lengths = last - starts + 1
    if lengths.size and lengths.max() > _MOST_GROUPS:
        raise _bad_string(f"of numbers of at most {_MOST_GROUPS} characters", int(lengths.max()))
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    parts = (codes & 0x1F).astype(np.int64) << (_BITS * place)
    numbers = np.add.reduceat(parts, starts) if starts.size else np.zeros(0, dtype=np.int64)
    negative = (codes[last] & 0x10) != 0
    numbers[negative] -= np.int64(1) << (_BITS * lengths[negative])
    # Differences reach back by two, from the fourth count on: two running sums that interleave.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if (numbers < 0).any():
        raise _bad_string("of counts from 0", int(numbers.min()))
    return numbers


def encode_coco(mask: ArrayLike, *, compressed: bool = True) -> dict[str, Any]:
    """Encode a mask as a COCO RLE object of plain JSON values.

    Args:
        mask: (H, W) bool, or whole numbers that are all 0 or 1.
        compressed: write the counts as a string rather than as a list.

    Returns:
        ``{"size": [H, W], "counts": …}``.

    Raises:
        SettingsError: the mask is not (H, W), is empty, or holds other values.

    Examples:
        >>> encode_coco([[0, 1], [1, 1]])
        {'size': [2, 2], 'counts': '13'}
        >>> encode_coco([[0, 1], [1, 1]], compressed=False)["counts"]
        [1, 3]
    """
    counts = counts_of(mask)
    height, width = np.shape(mask)
    return {
        "size": [height, width],
        "counts": compress(counts) if compressed else counts.tolist(),
    }


def decode_coco(
    rle: Mapping[str, Any], *, size: Size | None = None, max_pixels: int = MAX_PIXELS
) -> NDArray[np.bool_]:
    """Decode a COCO RLE object, whose counts are a list or a compressed string.

    Args:
        rle: ``{"size": [H, W], "counts": [...] or "..."}``.
        size: the (H, W) that the object must have, where it is known.
        max_pixels: refuse larger masks.

    Returns:
        (H, W) bool.

    Raises:
        ImageFileError: a part is missing or of another kind, the size is another one, or the
            counts do not fit it.

    Examples:
        >>> decode_coco({"size": [2, 2], "counts": "13"}).astype(int).tolist()
        [[0, 1], [1, 1]]
    """
    found = rle.get("size") if isinstance(rle, Mapping) else None
    counts = rle.get("counts") if isinstance(rle, Mapping) else None
    if not _is_pair(found) or not isinstance(counts, (str, bytes, list, tuple, np.ndarray)):
        raise _bad("a COCO RLE", "an object with size [H, W] and counts", repr(rle)[:60])
    height, width = _checked_size((found[0], found[1]), max_pixels)
    if size is not None and (height, width) != tuple(size):
        raise _bad("the size of a COCO RLE", f"that of its image, {tuple(size)}", (height, width))
    if isinstance(counts, (str, bytes)):
        counts = decompress(counts, most=2 * height * width + 2)
    return mask_of_counts(counts, (height, width), max_pixels=max_pixels)


def encode_pairs(mask: ArrayLike) -> str:
    """Encode a mask as Kaggle's pairs "start length start length …".

    Positions count from 1 and go down the columns. A mask without foreground gives "".

    Args:
        mask: (H, W) bool, or whole numbers that are all 0 or 1.

    Raises:
        SettingsError: the mask is not (H, W), is empty, or holds other values.

    Examples:
        >>> encode_pairs([[0, 1], [1, 1]])
        '2 3'
    """
    bounds = np.cumsum(counts_of(mask))
    # Runs 1, 3, 5 … are foreground: each begins where the background before it ends.
    starts = bounds[0::2][: bounds.size // 2]
    pairs = np.stack([starts + 1, bounds[1::2] - starts], axis=1)
    return " ".join(map(str, pairs.ravel().tolist()))


def decode_pairs(text: str, size: Size, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """Decode Kaggle's pairs "start length …"; the inverse of `encode_pairs`.

    Args:
        text: whole numbers between blanks; "" is a mask without foreground.
        size: (H, W).
        max_pixels: refuse larger masks.

    Returns:
        (H, W) bool.

    Raises:
        ImageFileError: something is no number, a length has no partner or is 0, runs overlap or
            are out of order, a run leaves the mask, or the mask is too large.

    Examples:
        >>> decode_pairs("2 3", (2, 2)).astype(int).tolist()
        [[0, 1], [1, 1]]
    """
    height, width = _checked_size(size, max_pixels)
    starts, lengths = _checked_pairs(text, height * width)
    steps = np.zeros(height * width + 1, dtype=np.int8)
    # Touching runs end and begin at the same place: add, since assignment would lose one.
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + lengths, -1)
    return _upright(np.cumsum(steps[:-1], dtype=np.int8) > 0, height, width)


def _upright(flat: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _is_pair(found: object) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(found, Sequence)
        and len(found) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in found)
    )


def _checked_size(size: Size, max_pixels: int) -> Size:
    height, width = size
    if height < 1 or width < 1 or height * width > max_pixels:
        raise _bad("a mask's size", f"at least 1×1 and at most {max_pixels:,} pixels", size)
    return int(height), int(width)


def _checked_counts(counts: ArrayLike, pixels: int) -> NDArray[np.int64]:
    try:
        numbers = np.asarray(counts)
    except ValueError as error:  # nested lists of unequal lengths
        raise _bad("the counts", "a list of whole numbers", "nested lists") from error
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
        raise _bad("the counts", "a list of whole numbers", f"{numbers.dtype} {numbers.shape}")
    if numbers.size > 2 * pixels + 2:
        raise _bad("the counts", f"at most {2 * pixels + 2:,}", f"{numbers.size:,}")
    if (numbers < 0).any() or (numbers > pixels).any():
        raise _bad("every count", f"from 0 to {pixels:,}", f"{numbers.min()} to {numbers.max()}")
    total = int(numbers.sum(dtype=np.int64))
    if total != pixels:
        raise _bad("the sum of the counts", f"height × width, {pixels:,}", f"{total:,}")
    return numbers.astype(np.int64)


def _codes(text: str | bytes, most: int) -> NDArray[np.uint8]:
    if len(text) > _MOST_GROUPS * most:
        raise _bad_string(f"of at most {most:,} counts", f"{len(text):,} characters")
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise _bad_string("of ASCII characters", "others") from error
    codes = np.frombuffer(raw, dtype=np.uint8)
    if codes.size and (codes.min() < _FIRST or codes.max() > _FIRST + 63):
        raise _bad_string("of characters from '0' to 'o'", "others")
    return codes - np.uint8(_FIRST)


def _checked_pairs(text: str, pixels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # Each run takes at most two numbers of ten digits and needs a pixel of its own.
    if len(text) > 24 * pixels + 24:
        raise _bad(
            "the run lengths", f"of a mask of {pixels:,} pixels", f"{len(text):,} characters"
        )
    words = text.split()
    wrong = next((word for word in words if not _NUMBER.fullmatch(word)), None)
    if wrong is not None or len(words) % 2:
        got = f"an odd count of {len(words)}" if wrong is None else repr(wrong[:20])
        raise _bad("the run lengths", "whole numbers in pairs", got)
    numbers = np.array(words, dtype=np.int64).reshape(-1, 2)
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    ends = starts + lengths
    if (starts < 0).any() or (lengths < 1).any() or (ends > pixels).any():
        raise _bad("every run", f"within the positions 1 to {pixels:,}", "one that is not")
    if (starts[1:] < ends[:-1]).any():
        raise _bad("the runs", "in order and without overlap", "others")
    return starts, lengths


def _bad_string(to_be: str, got: object) -> ImageFileError:
    return _bad("a compressed RLE string", to_be, got)


def _bad(what: str, to_be: str, got: object) -> ImageFileError:
    return ImageFileError(expected(what, to_be, got, "exporting the annotation again"))
