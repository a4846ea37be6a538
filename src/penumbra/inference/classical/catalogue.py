"""The one visible list of methods, and how one is named: `classical:NAME,key=value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.inference.classical.regions import chan_vese, grabcut, walker, watershed
from penumbra.inference.classical.thresholds import Grey, adaptive, otsu

PREFIX = "classical:"
Foreground = Literal["bright", "dark", "train"]
_FOREGROUNDS = ("bright", "dark", "train")


@dataclass(frozen=True)
class Setting:
    """One number of a method.

    Attributes:
        default: what it is where nothing is said.
        least: smallest value.
        most: largest value.
        odd: whether it has to be odd.
    """

    default: float
    least: float
    most: float
    odd: bool = False

    def read(self, name: str, text: str) -> float:
        """Read a value of the same kind as the default.

        Raises:
            SettingsError: it is no such number, or outside its range.
        """
        kind = type(self.default)
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not self.least <= value <= self.most or (self.odd and not value % 2):
            what = ("odd, " if self.odd else "") + f"from {self.least:g} to {self.most:g}"
            what = ("a whole number " if kind is int else "a number ") + what
            raise SettingsError(expected(f"`{name}`", what, repr(text), f"{name}={self.default:g}"))
        return value


@dataclass(frozen=True)
class Method:
    """One row of the list.

    Attributes:
        name: what follows `classical:`.
        describe: one sentence.
        probabilities: what they are, honestly.
        segment: from grey (H, W) in [0, 1], colour (H, W, 3) uint8 and settings to the foreground.
        settings: by name.
    """

    name: str
    describe: str
    probabilities: str
    segment: Callable[[Grey, NDArray[np.uint8], Mapping[str, Any]], Grey]
    settings: Mapping[str, Setting]


_LONGEST = Setting(0, 0, 65535)
_BOUNDED = Setting(512, 0, 65535)
_WIDTH = Setting(2.0, 0.1, 100.0)
_BORDER = "a ramp over the distance to the border of a hard mask; not learned"

METHODS: tuple[Method, ...] = (
    Method(
        "otsu",
        "One threshold for the whole image.",
        "of two normal classes of equal spread about the threshold; not calibrated",
        lambda grey, _, __: otsu(grey),
        {"longest": _LONGEST},
    ),
    Method(
        "adaptive",
        "A threshold that follows the mean of the surroundings.",
        "the rank of a pixel among its surroundings; not a chance of being foreground",
        lambda grey, _, s: adaptive(grey, **s),
        {
            "block": Setting(51, 3, 4095, odd=True),
            "offset": Setting(0.0, -1.0, 1.0),
            "longest": _LONGEST,
        },
    ),
    Method(
        "watershed",
        "The gradient flooded from what is surely bright and surely dark.",
        _BORDER,
        lambda grey, _, s: watershed(grey, **s),
        {"width": _WIDTH, "longest": _LONGEST},
    ),
    Method(
        "walker",
        "Random walks from what is surely bright and surely dark.",
        "of walks, given seeds that are taken to be certain",
        lambda grey, _, s: walker(grey, **s),
        {"beta": Setting(130.0, 0.1, 1e5), "longest": _BOUNDED},
    ),
    Method(
        "chan-vese",
        "An active contour between two even regions (morphological Chan–Vese).",
        _BORDER,
        lambda grey, _, s: chan_vese(grey, **s),
        {
            "iterations": Setting(50, 1, 1000),
            "smoothing": Setting(1, 0, 8),
            "width": _WIDTH,
            "longest": _BOUNDED,
        },
    ),
    Method(
        "grabcut",
        "A cut between two mixtures of colours, started from Otsu's mask.",
        _BORDER,
        lambda grey, colour, s: grabcut(grey, colour, **s),
        {"iterations": Setting(5, 1, 50), "width": _WIDTH, "longest": _BOUNDED},
    ),
)


def is_classical(run: Path | str) -> bool:
    """Tell whether what stands for a run is a method of this list.

    Examples:
        >>> is_classical("classical:otsu"), is_classical("runs/classical")
        (True, False)
    """
    return str(run).startswith(PREFIX)


@dataclass(frozen=True)
class Baseline:
    """A method with its settings.

    Attributes:
        method: which.
        foreground: whether it is ``"bright"`` or ``"dark"``; ``"train"`` until training data said.
        settings: every setting of the method, by name.
    """

    method: Method
    foreground: Foreground
    settings: Mapping[str, float]

    @classmethod
    def parse(cls, text: Path | str) -> Baseline:
        """Read ``classical:NAME[,key=value…]``.

        Raises:
            SettingsError: no such method or setting, or a value that is not possible.

        Examples:
            >>> str(Baseline.parse("classical:adaptive,foreground=dark,block=31"))
            'classical:adaptive,foreground=dark,block=31'
        """
        name, *parts = str(text).removeprefix(PREFIX).split(",")
        found = next((row for row in METHODS if row.name == name.strip()), None)
        if found is None or not is_classical(text):
            known = ", ".join(row.name for row in METHODS)
            raise SettingsError(
                expected("the method", f"{PREFIX} and one of {known}", repr(str(text)),
                         f"{PREFIX}{METHODS[0].name}")
            )  # fmt: skip
        given = dict(_pair(part, found) for part in parts)
        if len(given) < len(parts):
            raise SettingsError(
                expected("every setting", "given once", str(text), "leaving one out")
            )
        foreground = given.pop("foreground", "train")
        if foreground not in _FOREGROUNDS:
            raise SettingsError(
                expected("`foreground`", "bright, dark or train", repr(foreground), "bright")
            )
        read = {key: found.settings[key].read(key, value) for key, value in given.items()}
        defaults = {key: setting.default for key, setting in found.settings.items()}
        return cls(found, foreground, defaults | read)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Name it as `parse` reads it, leaving defaults out."""
        changed = [
            f"{key}={value:g}"
            for key, value in self.settings.items()
            if value != self.method.settings[key].default
        ]
        return ",".join([f"{PREFIX}{self.method.name}", f"foreground={self.foreground}", *changed])

    def with_foreground(self, foreground: Foreground) -> Baseline:
        """Give the same with another foreground."""
        return replace(self, foreground=foreground)


def _pair(part: str, method: Method) -> tuple[str, str]:
    key, separator, value = (piece.strip() for piece in part.partition("="))
    known = ("foreground", *method.settings)
    if not separator or key not in known:
        raise SettingsError(
            expected(f"a setting of {method.name}", f"KEY=VALUE with one of {', '.join(known)}",
                     repr(part), f"{known[0]}=bright")
        )  # fmt: skip
    return key, value
