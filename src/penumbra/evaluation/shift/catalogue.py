"""Which corruptions there are, how strong each severity is, and how people write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from penumbra.errors import SettingsError, expected

Kind = Literal["blur", "contrast", "noise", "gamma", "jpeg", "resolution", "ghost", "rotation"]
"""What can be done to an image."""

KINDS: tuple[Kind, ...] = get_args(Kind)
SEVERITIES = (1, 2, 3, 4, 5)

STRENGTHS: Mapping[Kind, tuple[float, float, float, float, float]] = {
    "blur": (0.75, 1.25, 2.0, 3.0, 4.5),
    "contrast": (0.7, 0.5, 0.35, 0.2, 0.1),
    "noise": (0.03, 0.06, 0.10, 0.15, 0.22),
    "gamma": (1.25, 1.6, 2.0, 2.7, 3.5),
    "jpeg": (60, 35, 20, 12, 6),
    "resolution": (1.4, 2.0, 2.8, 4.0, 5.6),
    "ghost": (0.15, 0.3, 0.45, 0.6, 0.75),
    "rotation": (5, 10, 15, 22.5, 30),
}
"""Strength by severity 1–5. What each number is, is said where it is used:

- blur: standard deviation of a Gaussian, in units of length (below).
- contrast: what is left of the distance from the mean.
- noise: standard deviation of white Gaussian noise, as a share of the display range.
- gamma: the exponent or, for half of the images, one over it.
- jpeg: quality.
- resolution: side of the new pixels, in units of length.
- ghost: depth of a soft shadow; an echo of the image is added at a third of it.
- rotation: degrees, in either direction.

The unit of length is 1/256 of the longest side and at least a pixel, so that a severity means
about the same for a large scan and for a small one.

The numbers are our own, in the spirit of five steps from *barely seen* to *hard for a person*.
Source of that idea: D. Hendrycks and T. Dietterich, Benchmarking neural network robustness to
common corruptions and perturbations, ICLR 2019, arXiv:1903.12261.
"""


@dataclass(frozen=True, order=True)
class Shift:
    """One corruption at one severity.

    Attributes:
        kind: one of `KINDS`.
        severity: 1 (barely seen) to 5 (hard for a person).

    Raises:
        SettingsError: there is no such kind or severity.

    Examples:
        >>> Shift("blur", 3).name, Shift("blur", 3).strength
        ('blur-3', 2.0)
    """

    kind: Kind
    severity: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(
                expected("a shift", f"one of {', '.join(KINDS)}", repr(self.kind), "blur:3")
            )
        if self.severity not in SEVERITIES or isinstance(self.severity, bool):
            raise SettingsError(
                expected(
                    f"the severity of {self.kind}",
                    "a whole number 1–5",
                    repr(self.severity),
                    f"{self.kind}:3",
                )
            )

    @property
    def name(self) -> str:
        """How folders and tables call it, such as ``blur-3``."""
        return f"{self.kind}-{self.severity}"

    @property
    def strength(self) -> float:
        """Its number in `STRENGTHS`."""
        return float(STRENGTHS[self.kind][self.severity - 1])

    @property
    def moves_pixels(self) -> bool:
        """Whether the mask has to move with the image."""
        return self.kind == "rotation"


def parse_shifts(texts: str | Iterable[str]) -> tuple[Shift, ...]:
    """Read shifts as people write them: ``all``, ``blur`` (all five) or ``blur:3``.

    Args:
        texts: one text, comma-separated, or several.

    Returns:
        Each shift once, in the order they were named.

    Raises:
        SettingsError: a kind or a severity does not exist, or nothing was named.

    Examples:
        >>> [shift.name for shift in parse_shifts("contrast:3, blur:1")]
        ['contrast-3', 'blur-1']
        >>> len(parse_shifts("all")), len(parse_shifts("noise"))
        (40, 5)
    """
    parts = [texts] if isinstance(texts, str) else list(texts)
    words = [word.strip() for part in parts for word in part.split(",") if word.strip()]
    if not words:
        raise SettingsError(expected("the shifts", "at least one", "none", "all, or blur:3"))
    return tuple(dict.fromkeys(shift for word in words for shift in _of_word(word)))


def _of_word(word: str) -> list[Shift]:
    if word == "all":
        return [Shift(kind, severity) for kind in KINDS for severity in SEVERITIES]
    name, colon, number = word.partition(":")
    kind = next((each for each in KINDS if each == name.strip()), None)
    if kind is None:
        raise SettingsError(
            expected("a shift", f"all or one of {', '.join(KINDS)}", repr(word), "blur:3")
        )
    if not colon:
        return [Shift(kind, severity) for severity in SEVERITIES]
    text = number.strip()
    if text not in {str(severity) for severity in SEVERITIES}:
        raise SettingsError(
            expected(f"the severity of {kind}", "a whole number 1–5", repr(text), f"{kind}:3")
        )
    return [Shift(kind, int(text))]
