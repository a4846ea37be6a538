"""What is wrong with single masks: unusable, empty, full, or about nothing that can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.comparison import SIDE
from penumbra.audit.facts import MaskObject, Scanned
from penumbra.audit.scan import Scan
from penumbra.data.layouts.pairs import counted, some
from penumbra.data.sample import Finding

USUAL = 0.05
"""Empty masks are part of the set, and only counted, from this share of the masks on."""
BLANK = 2
"""Grey levels (of 256) within which an area of the comparison image shows nothing."""
AROUND = SIDE // 32
"""Pixels of the comparison image around an object that are looked at with it."""

_FAULTS = {"unreadable": "unreadable-mask", "size": "mask-size", "values": "mask-values"}


def check_masks(scan: Scan) -> tuple[Finding, ...]:
    """Check the masks of a scan.

    - ``unreadable-mask``, ``mask-size``, ``mask-values`` (errors): the mask could not be decoded,
      has another size than its image, or values outside the classes.
    - ``empty-mask``: all background. A note where at least 5 % of the masks are: there, an absent
      object is an answer; otherwise a warning.
    - ``full-mask`` (warning): all foreground; where there is no background, all one class.
    - ``ignored-mask`` (warning): no pixel is counted.
    - ``mask-on-blank`` (warning): an object that touches nothing. In the comparison image, the box
      around the object and 1/32 of the image's side beyond it spans at most 2 of 256 grey levels,
      while the whole image spans more: no edge that an outline could follow is in reach, as when
      the object lies on padding or the mask belongs to another image.

    Missing masks, and masks without an image, are found when a layout lists its folder.

    Args:
        scan: what the scan learned.
    """
    samples = scan.samples
    return (
        *_faults(samples),
        *_empty(samples, has_background=scan.source.has_background),
        *_full(samples, has_background=scan.source.has_background),
        *_ignored(samples),
        *_on_blank(scan),
    )


def _faults(samples: Sequence[Scanned]) -> Iterable[Finding]:
    for sample in samples:
        if sample.mask_error is not None:
            kind = _FAULTS[sample.mask_fault or "unreadable"]
            yield Finding(kind, "error", (sample.id,), sample.mask_error)


def _empty(samples: Sequence[Scanned], *, has_background: bool) -> Iterable[Finding]:
    masked = [(s, s.mask) for s in samples if s.mask is not None]
    ids = tuple(s.id for s, mask in masked if mask.counts[0] and not mask.foreground)
    if not ids or not has_background:
        return
    share = len(ids) / len(masked)
    message = (
        f"{len(ids)} of {len(masked)} masks are all background ({100 * share:.1f} %): {some(ids)}."
    )
    severity = "note" if share >= USUAL else "warning"
    yield Finding("empty-mask", severity, ids, message, {"share": share})


def _full(samples: Sequence[Scanned], *, has_background: bool) -> Iterable[Finding]:
    ids = tuple(
        s.id
        for s in samples
        if s.mask is not None
        and (
            (s.mask.foreground and not s.mask.counts[0])
            if has_background
            else np.count_nonzero(s.mask.counts) == 1
        )
    )
    if ids:
        says = (
            ("mask has no background", "masks have no background")
            if has_background
            else ("mask holds a single class", "masks hold a single class")
        )
        message = f"{counted(len(ids), *says)}: {some(ids)}."
        yield Finding("full-mask", "warning", ids, message)


def _ignored(samples: Sequence[Scanned]) -> Iterable[Finding]:
    ids = tuple(s.id for s in samples if s.mask is not None and not any(s.mask.counts))
    if ids:
        message = f"{counted(len(ids), 'mask ignores', 'masks ignore')} every pixel: {some(ids)}."
        yield Finding("ignored-mask", "warning", ids, message)


def _on_blank(scan: Scan) -> Iterable[Finding]:
    found: dict[str, list[MaskObject]] = {}
    for index, sample in enumerate(scan.samples):
        if sample.mask is None or not sample.mask.objects or not sample.readable:
            continue
        grey = scan.grey(index)
        lost = [each for each in sample.mask.objects if _is_blank(grey, each, sample.size)]
        # Where the image as a whole is blank, that is another finding.
        if lost and np.ptp(grey) > BLANK:
            found[sample.id] = lost
    if found:
        message = (
            f"{counted(len(found), 'mask has', 'masks have')} an object where the image shows "
            f"nothing: {some(found)}."
        )
        details = {"boxes": {name: [list(o.box) for o in lost] for name, lost in found.items()}}
        yield Finding("mask-on-blank", "warning", tuple(found), message, details)


def _is_blank(grey: NDArray[np.uint8], found: MaskObject, size: tuple[int, int]) -> bool:
    left, top, right, bottom = found.box
    down, along = SIDE / size[0], SIDE / size[1]
    rows = slice(max(int(top * down) - AROUND, 0), int(np.ceil(bottom * down)) + AROUND)
    columns = slice(max(int(left * along) - AROUND, 0), int(np.ceil(right * along)) + AROUND)
    return bool(np.ptp(grey[rows, columns]) <= BLANK)
