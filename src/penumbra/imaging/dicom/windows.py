"""Windows: which range of values is shown from black to white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected

Floats = NDArray[np.float64]
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
"""How values become brightness (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

WindowChoice = int | str | tuple[float, float] | None
"""Which window: ``"auto"``, ``"percentile"``, ``"full"``, ``"lut"``, the index or the name of one
of the file's windows, (centre, width), or ``None`` for values as measured."""

PERCENTILES = (0.5, 99.5)
"""What goes black and white where a deep image brings no window."""

WORDS = ("auto", "percentile", "full", "lut")
"""The choices that are words of ours; any other text is a window's name."""


@dataclass(frozen=True)
class Window:
    """A range of values and how it is shown.

    Attributes:
        center: the value that is shown mid-grey.
        width: how many units lie between black and white; at least 1 with ``"LINEAR"``, above 0
            otherwise.
        name: what the file calls it; empty where it does not.
        function: how values in between are shown.

    Examples:
        >>> Window(40, 400).apply(np.array([-160.0, 39.5, 239.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    center: float
    width: float
    name: str = ""
    function: WindowFunction = "LINEAR"

    @property
    def is_valid(self) -> bool:
        """Whether the width is one that the standard allows."""
        least = self.width >= 1 if self.function == "LINEAR" else self.width > 0
        return bool(least and np.isfinite([self.center, self.width]).all())

    def apply(self, values: Floats) -> Floats:
        """Give the brightness of values, 0 (black) to 1 (white).

        ``LINEAR``: (x - (c - 0.5)) / (w - 1) + 0.5; ``LINEAR_EXACT``: (x - c) / w + 0.5, both cut
        at 0 and 1; ``SIGMOID``: 1 / (1 + exp(-4 (x - c) / w)).
        """
        if self.function == "SIGMOID":
            slope = np.clip(-4.0 * (values - self.center) / self.width, -700, 700)
            return np.asarray(1.0 / (1.0 + np.exp(slope)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1:
            return np.asarray(values > self.center - 0.5, dtype=np.float64)
        middle = self.center - 0.5
        return np.clip((values - middle) / (self.width - 1.0) + 0.5, 0.0, 1.0)


def stretched(values: Floats, low: float, high: float) -> Floats:
    """Give the brightness of values, `low` black and `high` white; all black where they agree."""
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def check_choice(choice: WindowChoice) -> None:
    """Refuse a choice that no file could answer.

    Raises:
        SettingsError: it is of another type, an index below 0, or a width below 1.
    """
    if isinstance(choice, tuple):
        fits = len(choice) == 2 and Window(float(choice[0]), float(choice[1])).is_valid
    else:
        is_index = isinstance(choice, int) and not isinstance(choice, bool) and choice >= 0
        fits = choice is None or isinstance(choice, str) or is_index
    if not fits:
        raise SettingsError(
            expected(
                "`window`",
                "an index, a name, (centre, width) with a width of 1 or more, or None",
                repr(choice),
                '"auto"',
            )
        )


def find_window(windows: Sequence[Window], choice: int | str) -> Window | None:
    """Give the window of that index or name (letter case aside); ``None`` where there is none."""
    if isinstance(choice, int):
        return windows[choice] if choice < len(windows) else None
    wanted = choice.strip().casefold()
    return next((each for each in windows if each.name.casefold() == wanted), None)
