"""Where a source has more than one reader, or a true probability, beside its masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.second_reader import second_lung_reader
from penumbra.data.phantom.read import is_phantom_set, read_readers, read_truth
from penumbra.data.sample import Record
from penumbra.data.source import Source

Readers = Callable[[Record], NDArray[np.uint8] | None]
TrueProbability = Callable[[Record], NDArray[np.float32] | None]


def _nobody(_record: Record) -> None:
    return None


def readers_of(source: Source) -> Readers:
    """Give the masks of all readers of an image, from its record.

    Phantom sets have simulated readers. Chest X-rays of the layout ``covid-cxr`` with the target
    ``lungs`` have a second reader for some images, who comes behind the first.

    Args:
        source: any source.

    Returns:
        From a record to (R, H, W) uint8 class indices, 255 = ignore, R ≥ 2, or to ``None`` where
        the image has a single reader or none, or the source changes its images.

    Examples:
        >>> import tempfile
        >>> from penumbra.data.layouts import open_source
        >>> from penumbra.data.phantom.write import make_phantom
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = open_source(make_phantom(folder, count=1, size=32))
        ...     readers_of(source)(source.records[0]).shape
        (4, 32, 32)
    """
    if type(source) is not Source:
        return _nobody  # what changes images on the way changes where the readers' masks lie
    if source.layout == "folder" and is_phantom_set(source.root):
        return lambda record: read_readers(source.root, record)
    if source.layout == "covid-cxr" and source.target == "lungs":
        return _lung_readers(source)
    return _nobody


def _lung_readers(source: Source) -> Readers:
    second = second_lung_reader(source.root)
    if second is None:
        return _nobody

    def read(record: Record) -> NDArray[np.uint8] | None:
        other = second(record)
        if other is None:
            return None
        own = source.read_mask(record, (other.shape[0], other.shape[1]))
        return None if own is None else np.stack([own, other])

    return read


def true_probability_of(source: Source) -> TrueProbability:
    """Give the true probability (H, W) of foreground of an image, from its record.

    Phantom sets have it; for all others every answer is ``None``.
    """
    if type(source) is not Source:
        return _nobody
    if source.layout == "folder" and is_phantom_set(source.root):
        return lambda record: read_truth(source.root, record)
    return _nobody
