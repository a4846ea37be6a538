"""How numbers are worded on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

NOTHING = "–"
"""Stands where a number is undefined."""


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number.

    Examples:
        >>> is_number(0.5), is_number(float("nan")), is_number(None), is_number("0.5")
        (True, False, False, False)
    """
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def number(value: object, *, digits: int = 3) -> str:
    r"""Word a number; – where there is none.

    Args:
        value: integers are written whole.
        digits: decimals of any other number below 100; above, those that would say nothing fall
            away.

    Examples:
        >>> number(0.91234), number(12.345, digits=1), number(1234.6), number(float("nan"))
        ('0.912', '12.3', '1\u202f235', '–')
    """
    if not is_number(value):
        return NOTHING
    if isinstance(value, (int, np.integer)):
        digits = 0
    elif abs(value) >= 100:
        digits = max(digits - 3, 0)
    # A narrow space (U+202F, which does not break) parts thousands alike in every language.
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def percent(share: float) -> str:
    r"""Word a share as a percentage.

    Examples:
        >>> percent(0.714), percent(0.004), percent(1.0)
        ('71\u202f%', '0.4\u202f%', '100\u202f%')
    """
    scaled = 100 * share
    return f"{scaled:.{1 if 0 < scaled < 1 else 0}f}\u202f%"


def spread(interval: Mapping[str, Any] | None, *, digits: int = 3) -> str:
    """Word an interval; empty where it is undefined.

    Examples:
        >>> spread({"mean": 0.9, "low": 0.88, "high": 0.93}), spread({"mean": 0.9})
        ('0.880–0.930', '')
    """
    low, high = (interval or {}).get("low"), (interval or {}).get("high")
    if not (is_number(low) and is_number(high)):
        return ""
    return f"{number(low, digits=digits)}–{number(high, digits=digits)}"


def percents(interval: Mapping[str, Any] | None) -> str:
    r"""Word an interval of shares as percentages; empty where undefined or without width.

    Examples:
        >>> percents({"low": 0.81, "high": 0.96})
        '81–96\u202f%'
    """
    low, high = (interval or {}).get("low"), (interval or {}).get("high")
    if not (is_number(low) and is_number(high)) or low == high:
        return ""
    return f"{number(round(100 * low))}–{percent(high)}"


def count(amount: int, noun: str) -> str:
    """Word an amount of things.

    Examples:
        >>> count(1, "image"), count(12, "image"), count(2, "class")
        ('1 image', '12 images', '2 classes')
    """
    ending = "" if amount == 1 else "es" if noun.endswith("s") else "s"
    return f"{number(int(amount))} {noun}{ending}"
