"""Masks as the nerve challenge takes them in: a table of run lengths, one row per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penumbra.data.tables import read_table
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.imaging.rle import decode_pairs, encode_pairs
from penumbra.storage import write_text

COLUMNS = ("img", "pixels")
"""The columns of a submission; the table of training masks has `subject` before them."""
KAGGLE_SIZE = (420, 580)
"""(height, width) of every frame of the challenge."""
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Submission(Mapping[str, NDArray[np.uint8]]):
    """Masks by image number; each is decoded when it is asked for.

    Attributes:
        path: the table, named in errors.
        runs: image number to pairs "start length …", counted from 1 down the columns; an empty
            text is a mask without foreground.
        size: (height, width) of all masks.
    """

    path: Path
    runs: Mapping[str, str]
    size: tuple[int, int] = KAGGLE_SIZE

    def __getitem__(self, image: str) -> NDArray[np.uint8]:
        """Decode the mask of an image, (H, W) uint8 of 0 and 1.

        Raises:
            KeyError: there is no such image.
            SourceError: its run lengths do not fit the size.
        """
        return mask_of_runs(self.runs[image], self.size, told=f"image {image} of {self.path}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


def mask_of_runs(text: str, size: tuple[int, int], *, told: str) -> NDArray[np.uint8]:
    """Decode one cell of run lengths to (H, W) uint8 of 0 and 1.

    Args:
        text: pairs "start length …", counted from 1 down the columns.
        size: (H, W).
        told: whose mask it is, for the error.

    Raises:
        SourceError: the pairs make no sense or leave a mask of that size.
    """
    try:
        return decode_pairs(text, size).astype(np.uint8)
    except ImageFileError as error:
        raise SourceError(f"The mask of {told} cannot be drawn. {error}") from error


def read_submission(path: str | Path, *, size: tuple[int, int] = KAGGLE_SIZE) -> Submission:
    """Read a table such as ``submission.csv``; masks are decoded one by one, when asked for.

    Args:
        path: a CSV file with the columns `img` and `pixels`.
        size: (height, width) of the masks.

    Raises:
        SourceError: the file cannot be read, lacks a column, or names an image twice.
    """
    file = Path(path)
    runs: dict[str, str] = {}
    for row in read_table(file, COLUMNS):
        image = row["img"].strip()
        if not image or image in runs:
            raise SourceError(
                expected(
                    f"every row of {file}",
                    "one image, named once",
                    f"{image!r} again" if image else "a row without img",
                    "correcting the table",
                )
            )
        runs[image] = row["pixels"].strip()
    return Submission(file, runs, size)


def check_row_name(name: str) -> None:
    """Refuse a name that a spreadsheet would take for a formula and compute.

    The challenge's images are numbers from 1. A quotation mark before a name would make it safe,
    and another name that no challenge knows.

    Args:
        name: of an image, as it would stand in the column `img`.

    Raises:
        SourceError: it begins with ``=``, ``+``, ``-`` or ``@``, spaces before it aside.

    Examples:
        >>> check_row_name("17"), check_row_name("1-a")
        (None, None)
    """
    if name.lstrip().startswith(_FORMULA):
        raise SourceError(
            expected(
                "the name of every row",
                f"one that no spreadsheet takes for a formula, so none that begins with "
                f"{', '.join(_FORMULA)}",
                repr(name[:80]),
                "renaming the image's file; the challenge's are numbers from 1",
            )
        )


def write_submission(
    path: str | Path,
    masks: Iterable[tuple[str | int, ArrayLike | None]],
    *,
    one_size: bool = True,
) -> None:
    r"""Write masks as the challenge takes them in, ``img,pixels``, one row per image in this order.

    One mask at a time is held, so that any number of them can be given.

    Args:
        path: the CSV file; its folder is made.
        masks: image number and (H, W) mask, bool or 0 and 1; ``None``, where an image could not
            be read, gives an empty cell, since the challenge refuses a table that lacks a row.
        one_size: refuse masks of several sizes, which cannot be told from the table.

    Raises:
        SettingsError: a mask is not (H, W) or holds other values.
        SourceError: an image comes twice, a spreadsheet would take its name for a formula, or
            masks are of several sizes where one is asked for.
        StorageError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "submission.csv"
        ...     write_submission(file, [(1, [[0, 1], [1, 1]]), (2, [[0, 0], [0, 0]])])
        ...     file.read_text(), read_submission(file, size=(2, 2))["1"].tolist()
        ('img,pixels\n1,2 3\n2,\n', [[0, 1], [1, 1]])
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    seen: set[str] = set()
    size: tuple[int, ...] | None = None
    for image, mask in masks:
        name, shape = str(image), size if mask is None else np.shape(mask)
        check_row_name(name)
        if name in seen or (one_size and size is not None and shape != size):
            raise SourceError(
                expected(
                    f"every mask for {path}",
                    "of one size and of an image of its own",
                    f"image {name} {'again' if name in seen else f'of shape {shape}'}",
                    "one mask per image, at the original size",
                )
            )
        seen.add(name)
        size = shape
        writer.writerow((name, "" if mask is None else encode_pairs(mask)))
    write_text(Path(path), text.getvalue())
