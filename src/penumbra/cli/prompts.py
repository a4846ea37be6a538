"""Prompts as they are written on the command line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penumbra.imaging.filters import FilterChain
    from penumbra.promptable.prompts import Prompts

_SIGNS = {"+": 1, "1": 1, "-": 0, "−": 0, "0": 0}


@dataclass(frozen=True)
class Asked:
    """What was asked for, before the image is known.

    Attributes:
        boxes: one prompt each.
        points: (x, y, label), all of one prompt.
        mask: a file.
    """

    boxes: tuple[tuple[float, ...], ...] = ()
    points: tuple[tuple[float, float, int], ...] = ()
    mask: Path | None = None

    @classmethod
    def of(cls, boxes: list[str] | None, points: list[str] | None, mask: Path | None) -> Asked:
        """Read the options.

        Raises:
            SettingsError: one is not of its form, or they do not go together.
        """
        from penumbra.errors import SettingsError, expected

        asked = cls(
            tuple(_box(text) for text in boxes or ()),
            tuple(_point(text) for text in points or ()),
            mask,
        )
        if len(asked.boxes) > 1 and (asked.points or mask is not None):
            raise SettingsError(
                expected("--point and --mask", "about one object", f"{len(asked.boxes)} boxes",
                         "one call for each box, or the boxes alone")
            )  # fmt: skip
        return asked

    def __bool__(self) -> bool:
        return bool(self.boxes or self.points or self.mask)

    @property
    def kinds(self) -> frozenset[str]:
        """Which kinds of prompt are given."""
        named = (("box", self.boxes), ("point", self.points), ("mask", self.mask))
        return frozenset(name for name, given in named if given)

    def on(self, size: tuple[int, int]) -> Prompts:
        """Place them on an image of (H, W).

        Raises:
            SettingsError: they do not fit that image.
            ImageFileError: the mask cannot be read.
        """
        from penumbra.promptable.prompts import Prompts

        given: dict[str, Any] = {"boxes": list(self.boxes) or None}
        if self.points:
            given["points"] = [[x, y] for x, y, _ in self.points]
            given["labels"] = [label for _, _, label in self.points]
        if self.mask is not None:
            given["mask"] = _mask(self.mask, size)
        return Prompts.of(size=size, **given)


def _mask(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    import numpy as np

    from penumbra.errors import SettingsError, expected
    from penumbra.imaging.files import read_mask_file

    mask = read_mask_file(path)
    if mask.shape != size:
        raise SettingsError(
            expected(f"--mask {path}", f"as large as the image, {size[0]}×{size[1]}",
                     "×".join(map(str, mask.shape)), "the mask of this very image")
        )  # fmt: skip
    return np.asarray(mask > 0, dtype=np.float32)


def _box(text: str) -> tuple[float, ...]:
    values = _numbers(text.split(","))
    if len(values) != 4:
        raise _bad("--box", "x0,y0,x1,y1 in pixels", text, "--box 40,30,200,180")
    return values


def _point(text: str) -> tuple[float, float, int]:
    words = [word.strip() for word in text.split(",")]
    values, sign = _numbers(words[:2]), words[2:] or ["+"]
    if len(values) != 2 or len(sign) != 1 or sign[0] not in _SIGNS:
        raise _bad("--point", "x,y,+ on the object or x,y,- beside it", text, "--point 120,90,+")
    return values[0], values[1], _SIGNS[sign[0]]


def _numbers(words: list[str]) -> tuple[float, ...]:
    """Give the numbers; none where a word is no finite number."""
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def _bad(what: str, to_be: str, got: str, try_: str) -> Exception:
    from penumbra.errors import SettingsError, expected

    return SettingsError(expected(what, to_be, repr(got), try_))


def chain_of(texts: list[str] | None) -> FilterChain | None:
    """Read the values of `--filter`, in their order; ``None`` where there are none.

    Raises:
        SettingsError: a filter or a setting of it does not exist.
    """
    if not texts:
        return None
    from penumbra.imaging.filters import FilterChain

    return FilterChain(tuple(step for text in texts for step in FilterChain.parse(text).steps))
