"""The tables of an audit's report, as words ready to be put into cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from penumbra.audit.balance import Balance, Share
from penumbra.data.layouts.pairs import some
from penumbra.imaging.palette import class_colour, hex_code
from penumbra.pages.tables import Cell, Column, Table
from penumbra.pages.words import number

if TYPE_CHECKING:
    from penumbra.audit.audit import Audit

MOST_ROWS = 1000
_KINDS = {"differ": "masks differ", "one-empty": "one empty", "one-missing": "one missing"}


def _value(value: float | None, digits: int = 2) -> Cell:
    return Cell(number(value, digits=digits), "" if value is None else repr(float(value)))


def _text(words: str, says: str = "") -> Cell:
    return Cell(words, words, says=says)


def _percent(share: float) -> Cell:
    return Cell(f"{number(100 * share, digits=1)}\u202f%", repr(float(share)))


def labels(found: Audit) -> Table | None:
    """Give the labels that were judged, the most suspicious first."""
    if found.labels is None or not found.labels.images:
        return None
    columns = (
        *(Column(name, numeric=False) for name in ("Image", "Group", "Judged as", "Where")),
        Column("Score", "label-error score in [0, 1], higher is more suspicious"),
        Column("Parts", "connected parts in which network and label differ"),
    )
    rows = []
    for image in found.labels.images[:MOST_ROWS]:
        worst = next(iter(image.components), None)
        where = ""
        if worst is not None:
            where = f"{worst.pixels} px of {worst.labelled}, seen as {worst.predicted}"
        words = (image.id, image.group, image.role, where)
        rows.append((*map(_text, words), _value(image.score), _value(len(image.components), 0)))
    return Table(columns, tuple(rows), len(found.labels.images))


def _in_order(places: Iterable[str | None]) -> str:
    """Name places once: train before val before test, and others as words sort."""
    order = {"train": "0", "val": "1", "test": "2"}
    named = {place for place in places if place}
    return ", ".join(sorted(named, key=lambda place: order.get(place, place))) or "–"


def conflicts(found: Audit) -> Table | None:
    """Give every conflict, the highest score first; cut after `MOST_ROWS`."""
    ranked = found.conflicts
    if not ranked:
        return None
    columns = (
        *(Column(name, numeric=False) for name in ("First", "Second", "Images", "Masks")),
        Column("Score", "(1 − RMS / threshold) · (1 − Dice)"),
        Column("RMS", "difference of the images, 0–255"),
        Column("Dice", "overlap: 2·|A ∩ B| / (|A| + |B|)"),
        Column("IoU", "overlap: |A ∩ B| / |A ∪ B|"),
        Column("Boundary px", "mean distance between the outlines"),
        Column("HD95 px", "95th percentile of the distance between the outlines"),
        Column("Area ratio", "smaller area / larger area"),
    )
    rows = []
    for pair in ranked[:MOST_ROWS]:
        scores = pair.disagreement
        words = (pair.a, pair.b, pair.level, _KINDS.get(pair.kind, pair.kind))
        far = (None, None) if scores is None else (scores.distance, scores.hd95)
        rows.append(
            (
                *map(_text, words),
                _value(pair.score),
                _value(pair.rms, 1),
                _value(pair.dice),
                _value(None if scores is None else scores.iou),
                *(_value(each, 1) for each in far),
                _value(None if scores is None else scores.area_ratio),
            )
        )
    return Table(columns, tuple(rows), len(ranked))


def duplicates(found: Audit) -> Table | None:
    """Give the groups of duplicates, the strongest level and the largest first."""
    if not found.groups:
        return None
    columns = (
        Column("Alike in", "the weakest tie that the group needs", numeric=False),
        Column("Splits", "of the members", numeric=False),
        Column("Which", numeric=False),
        Column("Images"),
        Column("Pairs", "pairs of exactly this level"),
        Column("Largest RMS", "0–255"),
    )
    order = ("bytes", "pixels", "near")
    ranked = sorted(found.groups, key=lambda group: (order.index(group.level), -len(group.members)))
    rows = []
    for group in ranked[:MOST_ROWS]:
        ids = [found.scan.samples[member].id for member in group.members]
        rows.append(
            (
                _text(group.level),
                _text(_in_order(found.splits[member] for member in group.members)),
                _text(some(ids), ", ".join(ids[:50])),
                _value(len(ids), 0),
                _value(len(group.pairs), 0),
                _value(group.rms, 1),
            )
        )
    return Table(columns, tuple(rows), len(found.groups))


def leaks(found: Audit) -> Table | None:
    """Give the duplicates on both sides of a split, or under two subjects."""
    if not found.leaks:
        return None
    columns = (
        Column("Straddles", numeric=False),
        Column("Alike in", numeric=False),
        Column("Where", numeric=False),
        Column("Which", numeric=False),
        Column("Images"),
        Column("Pairs", "pairs that cross"),
    )
    rows = []
    for leak in found.leaks[:MOST_ROWS]:
        ids = [found.scan.samples[member].id for member in leak.members]
        rows.append(
            (
                _text("splits" if leak.between == "splits" else "subjects"),
                _text(leak.level),
                _text(_in_order(leak.places)),
                _text(some(ids), ", ".join(ids[:50])),
                _value(len(ids), 0),
                _value(len(leak.pairs), 0),
            )
        )
    return Table(columns, tuple(rows), len(found.leaks))


def _shares(share: Share, classes: Sequence[int]) -> tuple[Cell, ...]:
    pixels = share.pixel_shares
    return (
        _value(share.images, 0),
        _value(share.masks, 0),
        _percent(share.empty_share) if share.masks else _value(None),
        *(_percent(pixels[index]) if share.masks else _value(None) for index in classes),
    )


def _columns(balance: Balance, first: str) -> tuple[tuple[Column, ...], tuple[int, ...]]:
    start = 1 if balance.has_background else 0
    # More columns than these do not fit; the table of classes has them all.
    classes = tuple(range(start, len(balance.class_names)))[:6]
    named = (Column(f"Pixels: {balance.class_names[index]}") for index in classes)
    head = (Column(first, numeric=False), Column("Images"), Column("Masks"), Column("Empty masks"))
    return (*head, *named), classes


def splits(balance: Balance) -> Table:
    """Give what each split holds, and the whole."""
    columns, classes = _columns(balance, "Split")
    named = [(name or "in no split", share) for name, share in balance.splits.items()]
    if list(balance.splits) == [""]:
        named = []
    rows = tuple((_text(name), *_shares(share, classes)) for name, share in named)
    whole = (_text("all"), *_shares(balance.whole, classes))
    return Table(columns, rows, len(rows), (whole,))


def groups(balance: Balance) -> Table | None:
    """Give what each group holds, the largest first; nothing where every image is its own group."""
    if len(balance.groups) in (1, balance.whole.images):
        return None
    columns, classes = _columns(balance, "Group")
    rows = tuple(
        (_text(name), *_shares(share, classes))
        for name, share in list(balance.groups.items())[:MOST_ROWS]
    )
    return Table(columns, rows, len(balance.groups))


def classes(balance: Balance) -> Table | None:
    """Give the images, pixels and objects of each class."""
    whole = balance.whole
    if not whole.masks:
        return None
    columns = (
        Column("Class", numeric=False),
        Column("Masks with it"),
        Column("Share of masks"),
        Column("Pixels"),
        Column("Share of pixels"),
        Column("Objects", "connected parts, of at most the 64 largest per mask"),
        Column("Median size", "of an object, as a share of its image"),
    )
    rows = []
    for index, name in enumerate(balance.class_names):
        sizes = balance.sizes[balance.classes == index]
        swatch = hex_code(class_colour(index)) if index else ""
        rows.append(
            (
                Cell(name, name, swatch=swatch),
                _value(whole.images_with[index], 0),
                _percent(whole.images_with[index] / whole.masks),
                _value(whole.pixels[index], 0),
                _percent(whole.pixel_shares[index]),
                _value(len(sizes), 0) if sizes.size else _value(None),
                _percent(float(np.median(sizes))) if sizes.size else _value(None),
            )
        )
    return Table(columns, tuple(rows), len(rows))
