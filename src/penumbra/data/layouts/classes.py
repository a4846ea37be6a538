"""What the values in a folder's masks mean: drawn in 0 and 255, or class indices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penumbra.data.sample import IGNORE
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.imaging.files import read_mask_file, sniff_format

_LOOK = 8
_MOST_UNNAMED = 32


@dataclass(frozen=True)
class MaskValues:
    """What a look at a few masks showed.

    Attributes:
        values: every value seen in lossless masks, sorted.
        drawn: masks that hold 255 and otherwise only 0.
        indexed: masks that hold a value between 1 and 254.
        lossy: masks that are JPEG files.
    """

    values: tuple[int, ...] = ()
    drawn: tuple[Path, ...] = ()
    indexed: tuple[Path, ...] = ()
    lossy: tuple[Path, ...] = ()

    @property
    def binary(self) -> bool:
        """Whether nothing but 0 and 255 was seen, so that 255 is the foreground."""
        return not self.indexed

    @property
    def mixed(self) -> bool:
        """Whether some masks are drawn in 0 and 255 and others in class indices."""
        return bool(self.drawn and self.indexed)


def look_at(masks: Sequence[Path], *, count: int = _LOOK) -> MaskValues:
    """Decode `count` masks spread evenly over the folder and note their values.

    A mask that cannot be read is passed over here; it raises when its sample is asked for.
    """
    chosen = np.unique(np.linspace(0, len(masks) - 1, count).astype(int)) if masks else ()
    seen: set[int] = set()
    drawn, indexed, lossy = [], [], []
    for path in (masks[index] for index in chosen):
        try:
            values = set(np.unique(read_mask_file(path)).tolist())
            is_jpeg = sniff_format(path) == "jpeg"
        except ImageFileError:
            continue
        if is_jpeg:
            lossy.append(path)
            continue
        seen |= values
        if values - {0, IGNORE}:
            indexed.append(path)
        elif IGNORE in values:
            drawn.append(path)
    return MaskValues(tuple(sorted(seen)), tuple(drawn), tuple(indexed), tuple(lossy))


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
    highest = max((value for value in values.values if value != IGNORE), default=0)
    if highest >= _MOST_UNNAMED:
        raise SourceError(
            expected(
                f"the masks in {root}",
                "drawn in 0 and 255, or class indices 0, 1, 2, …",
                f"values such as {list(values.values[:8])}",
                "naming all classes (--classes, or classes.txt in the folder) if these are class "
                "indices, or exporting the masks again",
            )
        )
    if highest <= 1:
        return ("background", "foreground")
    return ("background", *(f"class {index}" for index in range(1, highest + 1)))


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
