"""Bringing images and their mask files together, and saying which have no partner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from penumbra.data.sample import Finding, Record

_SHOWN = 5


def some(names: Iterable[str]) -> str:
    """Name a few and count the rest.

    Examples:
        >>> some(["a", "b"])
        'a, b'
        >>> some(map(str, range(8)))
        '0, 1, 2, 3, 4 and 3 more'
    """
    listed = list(names)
    text = ", ".join(listed[:_SHOWN])
    return text if len(listed) <= _SHOWN else f"{text} and {len(listed) - _SHOWN} more"


def counted(number: int, one: str, many: str) -> str:
    """Count things and let the verb agree.

    Examples:
        >>> counted(1, "mask has", "masks have"), counted(0, "mask has", "masks have")
        ('1 mask has', '0 masks have')
    """
    return f"{number} {one if number == 1 else many}"


def missing_masks(records: Sequence[Record]) -> tuple[Finding, ...]:
    """Give one finding that lists the records without a mask, or none where all have one."""
    bare = tuple(record.id for record in records if not record.masks)
    if not bare:
        return ()
    message = f"{len(bare)} of {len(records)} images have no mask: {some(bare)}."
    return (Finding("missing-mask", "warning", bare, message),)


def orphan_masks(masks: Iterable[Path]) -> tuple[Finding, ...]:
    """Give one finding that lists mask files without an image, or none where there are none."""
    names = tuple(path.name for path in masks)
    if not names:
        return ()
    message = (
        f"{counted(len(names), 'mask file has', 'mask files have')} no image of the same name: "
        f"{some(names)}."
    )
    return (Finding("orphan-mask", "warning", names, message),)
