"""What the values in a folder's masks mean: drawn in 0 and 255, or class indices."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from penumbra.data.sample import IGNORE
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.imaging.files import read_mask_file, read_size, sniff_format

VALUES_FILE = "mask_values.txt"
"""May say, in one word, what a folder's masks hold: ``drawn`` (0 and 255) or ``indices``."""

_LOOK = 8
_LOOK_AT_ALL = 300
_ALL_PIXELS = 50_000_000
_MOST_UNNAMED = 32
_WORD = 64


@dataclass(frozen=True)
class MaskValues:
    """What a look at masks showed.

    Attributes:
        values: every value seen in `drawn`, `indexed` and empty masks, sorted.
        drawn: masks that hold 255 and otherwise only 0.
        indexed: masks that hold class indices between 1 and 31.
        ignoring: those of `indexed` that hold 255 too.
        shaded: masks with values from 32 to 254, such as smooth edges; no indices by their looks.
        shades: every value seen in `shaded`, sorted.
        lossy: masks that are JPEG files.
    """

    values: tuple[int, ...] = ()
    drawn: tuple[Path, ...] = ()
    indexed: tuple[Path, ...] = ()
    ignoring: tuple[Path, ...] = ()
    shaded: tuple[Path, ...] = ()
    shades: tuple[int, ...] = ()
    lossy: tuple[Path, ...] = ()

    @property
    def highest(self) -> int:
        """The highest class index seen."""
        return max((value for value in self.values if value != IGNORE), default=0)

    @property
    def binary(self) -> bool:
        """Whether 255 is the foreground: no mask holds it beside class indices, nor index 2."""
        if not self.indexed:
            return True
        return bool(self.drawn) and self.highest <= 1 and not self.ignoring

    @property
    def mixed(self) -> bool:
        """Whether some masks are drawn in 0 and 255 and others in class indices."""
        return bool(self.drawn and self.indexed)


def look_at(masks: Sequence[Path], *, count: int = _LOOK) -> MaskValues:
    """Decode masks and note their values.

    All of them where there are at most 300 with at most 50 million pixels together, so that a rare
    class is not missed; else `count` that are spread evenly over the folder. A mask that cannot be
    read is passed over here; it raises when its sample is asked for.
    """
    held: dict[Path, set[int]] = {}
    lossy: list[Path] = []
    for path in masks if _are_small(masks) else _spread(masks, count):
        try:
            is_jpeg = sniff_format(path) == "jpeg"
            mask = read_mask_file(path)
        except ImageFileError:
            continue
        if is_jpeg:
            lossy.append(path)
        else:
            held[path] = set(np.flatnonzero(np.bincount(mask.ravel())).tolist())
    shaded = {path: v for path, v in held.items() if max(v - {IGNORE}, default=0) >= _MOST_UNNAMED}
    plain = {path: values for path, values in held.items() if path not in shaded}
    indexed = tuple(path for path, values in plain.items() if values - {0, IGNORE})
    return MaskValues(
        values=tuple(sorted(set().union(*plain.values()))),
        drawn=tuple(path for path, v in plain.items() if IGNORE in v and not v - {0, IGNORE}),
        indexed=indexed,
        ignoring=tuple(path for path in indexed if IGNORE in plain[path]),
        shaded=tuple(shaded),
        shades=tuple(sorted(set().union(*shaded.values()))),
        lossy=tuple(lossy),
    )


def _spread(masks: Sequence[Path], count: int) -> list[Path]:
    return [masks[index] for index in np.unique(np.linspace(0, len(masks) - 1, count).astype(int))]


def _are_small(masks: Sequence[Path]) -> bool:
    if len(masks) > _LOOK_AT_ALL:
        return False
    pixels = 0
    for path in masks:
        with contextlib.suppress(ImageFileError):
            height, width = read_size(path)
            pixels += height * width
    return pixels <= _ALL_PIXELS


def class_names_for(
    root: Path, given: tuple[str, ...] | None, values: MaskValues
) -> tuple[str, ...]:
    """Name the classes: as given, as the folder's own list has it, or by the values seen.

    Args:
        root: the folder that may hold ``classes.txt`` (one name a line) or ``classes.json`` (a
            list, or an object from index to name).
        given: names from the user, which come first.
        values: what the masks showed.

    Raises:
        SourceError: the list cannot be read, has fewer than two names, or the values seen are no
            plausible class indices.
    """
    names = given if given is not None else _names_in(root)
    if names is not None:
        if len(names) < 2:
            raise SourceError(
                expected(
                    "the class names",
                    "at least two, background included",
                    ", ".join(names) or "none",
                    "names such as background,foreground",
                )
            )
        return names
    # A few such masks among good ones are named when they are read, and do not stop the others.
    if values.shaded and len(values.shaded) >= len(values.drawn) + len(values.indexed):
        raise SourceError(
            expected(
                f"the masks in {root}",
                "drawn in 0 and 255, or class indices 0, 1, 2, …",
                f"values such as {list(values.shades[:8])}",
                "naming all classes (--classes, or classes.txt in the folder) if these are class "
                "indices, or exporting the masks again",
            )
        )
    highest = values.highest
    if highest <= 1:
        return ("background", "foreground")
    return ("background", *(f"class {index}" for index in range(1, highest + 1)))


def declared_values(root: Path) -> Literal["drawn", "indices"] | None:
    """Read what a folder says about its masks' values; ``None`` where it says nothing.

    A mask of only 0 and 255 may show foreground or ignored pixels, and looks cannot tell which.

    Raises:
        SourceError: the file cannot be read, or holds another word.
    """
    path = root / VALUES_FILE
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8-sig") as handle:
            word = handle.read(_WORD).strip()
    except (OSError, UnicodeDecodeError) as error:
        word = str(error)
    if word == "drawn":
        return "drawn"
    if word == "indices":
        return "indices"
    raise SourceError(expected(str(path), "the word drawn or indices", repr(word), "one of them"))


def _names_in(root: Path) -> tuple[str, ...] | None:
    text, table = root / "classes.txt", root / "classes.json"
    try:
        if text.is_file():
            lines = text.read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
        if table.is_file():
            return _from_json(table, json.loads(table.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError) as error:
        raise SourceError(
            expected(
                f"the class names in {root}",
                "a readable classes.txt or classes.json",
                error,
                "one name a line in classes.txt",
            )
        ) from error
    return None


def _from_json(path: Path, document: object) -> tuple[str, ...]:
    if isinstance(document, dict) and all(str(key).isdecimal() for key in document):
        by_index = {int(key): value for key, value in document.items()}
        if sorted(by_index) == list(range(len(by_index))):
            document = [by_index[index] for index in range(len(by_index))]
    if isinstance(document, list) and all(isinstance(name, str) for name in document):
        return tuple(document)
    raise SourceError(
        expected(
            str(path),
            'a list of names, or an object such as {"0": "background", "1": "nerve"}',
            f"{str(document)[:60]!r}",
            "one of these, with every index from 0 on",
        )
    )
