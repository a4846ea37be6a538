"""What a sample is, in two hashes: a decision holds for the files that it was made on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, expected
from penumbra.imaging.files import read_size

_BLOCK = 2**20


@dataclass(frozen=True)
class Digest:
    """The contents of a sample.

    Attributes:
        image: SHA-256 of the bytes of the image file, in hexadecimal.
        mask: SHA-256 of the mask's shape and class indices, ``None`` where there is no mask. Of the
            decoded mask, since a layout may make it of several files or of a line in a table.
    """

    image: str
    mask: str | None

    def to_json(self) -> dict[str, str | None]:
        """Give plain values."""
        return {"image": self.image, "mask": self.mask}


def digest_of(source: Source, record: Record) -> Digest:
    """Hash the image file and the decoded mask of a record; the image is not decoded.

    Raises:
        ImageFileError: the image or the mask cannot be read.
        SourceError: the mask is not one of these classes and of the image's size.
    """
    mask = mask_of(source, record)
    return Digest(_of_file(record), None if mask is None else of_mask(mask))


def of_mask(mask: NDArray[np.uint8]) -> str:
    """Hash the shape and the class indices of a mask, as `MaskFacts.digest` of a scan does.

    Examples:
        >>> flat, tall = np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.uint8)
        >>> of_mask(flat) == of_mask(tall), len(of_mask(flat))
        (False, 64)
    """
    found = hashlib.sha256(f"{mask.shape}".encode())
    found.update(np.ascontiguousarray(mask).data)
    return found.hexdigest()


def mask_of(source: Source, record: Record) -> NDArray[np.uint8] | None:
    """Decode and check the mask of a record; ``None`` where it has none.

    Raises:
        ImageFileError, SourceError: it cannot be read, or does not fit.
    """
    size = read_size(record.image)
    mask = source.read_mask(record, size)
    if mask is not None:
        source.check_mask(record, mask, size)
    return mask


def _of_file(record: Record) -> str:
    found = hashlib.sha256()
    try:
        with record.image.open("rb") as handle:
            while block := handle.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise ImageFileError(
            expected(
                f"the image of {record.id!r}", "a readable file", error.strerror or repr(error),
                "checking its path and permissions",
            )
        ) from error  # fmt: skip
    return found.hexdigest()
