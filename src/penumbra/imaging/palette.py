"""The colours of Penumbra: one meaning each, the same in every overlay, report and file.

Amber always and only means doubt, so it is no class colour. The class colours differ in
lightness as well as in hue, so that readers who confuse hues can still tell neighbours apart.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penumbra.errors import SettingsError, expected

RGB = tuple[int, int, int]
"""Red, green and blue between 0 and 255."""


def rgb(code: str) -> RGB:
    """Turn ``"#RRGGBB"`` into three integers between 0 and 255.

    Raises:
        SettingsError: the text is not six hexadecimal digits after a ``#``.

    Examples:
        >>> rgb("#12A594")
        (18, 165, 148)
    """
    digits = code[1:]
    if len(code) != 7 or code[0] != "#" or any(d not in "0123456789abcdefABCDEF" for d in digits):
        raise SettingsError(expected("a colour", "#RRGGBB", repr(code), "a code such as #12A594"))
    return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def hex_code(colour: Sequence[int]) -> str:
    """Turn three integers into ``"#RRGGBB"``.

    Examples:
        >>> hex_code((18, 165, 148))
        '#12A594'
    """
    red, green, blue = colour
    return f"#{red:02X}{green:02X}{blue:02X}"


AMBER = rgb("#E89B1C")
"""Doubt, and nothing else."""
TEAL = rgb("#12A594")
"""The mask of the first class."""
TRUE_POSITIVE = rgb("#8E4EC6")
FALSE_NEGATIVE = rgb("#FFD60A")
FALSE_POSITIVE = rgb("#30A46C")
WRONG_CLASS = rgb("#7CE2FE")
"""Foreground in both, but of another class; cannot occur with two classes."""
IGNORED = rgb("#8B8D98")

CLASS_COLOURS: tuple[RGB, ...] = tuple(
    rgb(code)
    for code in (
        "#12A594",  # teal: the one class of most problems
        "#E93D82",  # pink
        "#68DDFD",  # sky
        "#5B5BD6",  # indigo
        "#BDEE63",  # lime
        "#A07553",  # brown
        "#D19DFF",  # lavender
        "#0090FF",  # blue
        "#E54D2E",  # tomato
        "#86EAD4",  # mint
        "#7A7F87",  # slate
        "#F9B5D0",  # rose
    )
)
"""Colours of classes 1, 2, …; class 0 is background and has none."""

_GOLDEN = 0.6180339887498949


def class_colour(index: int) -> RGB:
    """Give the fixed colour of a class, the same in every picture.

    Args:
        index: class index; 0 is the background and black. Beyond the named colours, hues step by
            the golden ratio, so that neighbours differ however many classes there are.

    Raises:
        SettingsError: the index is negative.

    Examples:
        >>> class_colour(1) == TEAL
        True
    """
    if index < 0:
        raise SettingsError(expected("a class index", "0 or more", index, "an index from a mask"))
    if index == 0:
        return (0, 0, 0)
    if index <= len(CLASS_COLOURS):
        return CLASS_COLOURS[index - 1]
    step = index - len(CLASS_COLOURS)
    red, green, blue = colorsys.hsv_to_rgb((step * _GOLDEN) % 1.0, 0.65, (0.95, 0.7)[step % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def class_palette(n_classes: int) -> NDArray[np.uint8]:
    """Give the colours of classes 0 … n_classes − 1 as (n_classes, 3) uint8.

    Examples:
        >>> class_palette(2).tolist()
        [[0, 0, 0], [18, 165, 148]]
    """
    return np.array([class_colour(index) for index in range(n_classes)], dtype=np.uint8)


VIRIDIS: tuple[RGB, ...] = tuple(
    rgb("#" + codes[start : start + 6])
    for codes in (
        "440154470D6048186A482374472D7B453781424086",
        "3E49893B528B375B8D33638D2F6B8E2C728E297A8E",
        "26828E23898E21918C1F978B1F9F8821A68527AD81",
        "31B57B3DBC744CC26C5CC8636ECE5881D34D95D840",
        "AADC32C0DF25D5E21AEAE51AFDE725",
    )
    for start in range(0, len(codes), 6)
)
"""Evenly spaced stops of viridis (van der Walt and Smith, 2015, CC0)."""

HEAT: tuple[tuple[int, int, int, float], ...] = (
    (*rgb("#8A4B08"), 0.0),
    (*rgb("#C97A10"), 0.4),
    (*AMBER, 0.9),
    (*rgb("#FFD38A"), 1.0),
    (*rgb("#FFFAF0"), 1.0),
)
"""Evenly spaced stops (red, green, blue, opacity) from transparent over amber to white-hot."""


def _interpolate(values: ArrayLike, stops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Look values in [0, 1] up between evenly spaced stops (K, N); gives (…, N) float32."""
    # Zero stands for whatever is not a number: an undefined value must not look like doubt.
    t = np.nan_to_num(np.asarray(values, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    position = np.clip(t, 0.0, 1.0) * np.float32(len(stops) - 1)
    below = np.minimum(position.astype(np.intp), len(stops) - 2)
    share = (position - below)[..., None]
    mixed: NDArray[np.float32] = stops[below] * (1.0 - share) + stops[below + 1] * share
    return mixed


def viridis(values: ArrayLike) -> NDArray[np.uint8]:
    """Colour values in [0, 1] by viridis; values outside are clipped, NaN counts as 0.

    Args:
        values: array of any shape.

    Returns:
        (…, 3) uint8.

    Examples:
        >>> viridis([0.0, 1.0]).tolist()
        [[68, 1, 84], [253, 231, 37]]
    """
    return np.rint(_interpolate(values, np.array(VIRIDIS, dtype=np.float32))).astype(np.uint8)


def heat(values: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give colour and opacity of doubt, from transparent over amber to white-hot.

    Args:
        values: doubt as a share of its maximum, in [0, 1]; values outside are clipped, NaN
            counts as 0.

    Returns:
        Colour (…, 3) float32 in [0, 255] and opacity (…) float32 in [0, 1].

    Examples:
        >>> colour, opacity = heat(np.array([0.0, 0.5, 1.0]))
        >>> opacity.round(2).tolist(), hex_code(colour[1].astype(int))
        ([0.0, 0.9, 1.0], '#E89B1C')
    """
    mixed = _interpolate(values, np.array(HEAT, dtype=np.float32))
    return mixed[..., :3], mixed[..., 3]
