"""How a set is made up: images and pixels by class, group and split; where objects lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.facts import Scanned
from penumbra.audit.scan import Scan
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding, Split

RARE_CLASS = 0.01
"""A class in fewer of the masks than this share is a finding."""
ONE_GROUP = 0.5
"""A group with more than this share of the images is a finding."""
APART = 2.0
"""Splits whose shares of empty masks or of a class differ by more than this factor are a finding;
shares below 1 % are not compared."""


@dataclass(frozen=True)
class Share:
    """What a part of the set holds.

    Attributes:
        images: number of images.
        masks: those with a usable mask.
        empty: masks without foreground.
        images_with: per class, the masks that hold it, (K,).
        pixels: per class, over all masks, (K,).
        ignored: pixels that masks ignore.
    """

    images: int
    masks: int
    empty: int
    images_with: tuple[int, ...]
    pixels: tuple[int, ...]
    ignored: int

    @property
    def empty_share(self) -> float:
        """Share of the masks that are empty; 0 without masks."""
        return self.empty / self.masks if self.masks else 0.0

    @property
    def pixel_shares(self) -> tuple[float, ...]:
        """Share of the pixels that are of each class, ignored ones left out."""
        total = sum(self.pixels)
        return tuple(count / total if total else 0.0 for count in self.pixels)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "images": self.images,
            "masks": self.masks,
            "empty": self.empty,
            "images_with": list(self.images_with),
            "pixels": list(self.pixels),
            "ignored": self.ignored,
        }


@dataclass(frozen=True)
class Balance:
    """How a set is made up.

    Attributes:
        class_names: by class index.
        has_background: whether class 0 is background.
        whole: the whole set.
        splits: split → what it holds; samples in no split are under ``""``.
        groups: group → what it holds, the largest first.
        sizes: (M,) float32, area of each object as a share of its image, of at most the 64 largest
            per mask.
        positions: (M, 2) float32, the middle of each object as shares of width and height, (x, y).
        classes: (M,) int64, the class of each object.
        mean_mask: (32, 32) float32, mean foreground over all masks, in [0, 1].
    """

    class_names: tuple[str, ...]
    has_background: bool
    whole: Share
    splits: Mapping[str, Share]
    groups: Mapping[str, Share]
    sizes: NDArray[np.float32]
    positions: NDArray[np.float32]
    classes: NDArray[np.int64]
    mean_mask: NDArray[np.float32] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Give plain values; of the objects' sizes, quantiles."""
        quantiles = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
        sizes = np.quantile(self.sizes, quantiles).tolist() if self.sizes.size else []
        return {
            "class_names": list(self.class_names),
            "whole": self.whole.to_json(),
            "splits": {name: share.to_json() for name, share in self.splits.items()},
            "groups": {name: share.to_json() for name, share in self.groups.items()},
            "objects": len(self.sizes),
            "object_sizes": dict(zip(map(str, quantiles), sizes, strict=False)),
        }


def measure_balance(scan: Scan, splits: Sequence[Split | None]) -> Balance:
    """Count images and pixels by class, group and split, and collect sizes and places of objects.

    Args:
        scan: what the scan learned.
        splits: one for each sample, ``None`` where it is in none.
    """
    samples, n_classes = scan.samples, scan.source.n_classes
    by_split = _by(samples, [split or "" for split in splits])
    by_group = _by(samples, [sample.group for sample in samples])
    largest = sorted(by_group.items(), key=lambda item: -len(item[1]))
    order = [name for name in ("train", "val", "test", "") if name in by_split]
    sizes, positions, classes = _objects(samples)
    return Balance(
        class_names=scan.source.class_names,
        has_background=scan.source.has_background,
        whole=_share(samples, n_classes),
        splits={name: _share(by_split[name], n_classes) for name in order},
        groups={name: _share(members, n_classes) for name, members in largest},
        sizes=sizes,
        positions=positions,
        classes=classes,
        mean_mask=_mean_mask(scan),
    )


def _by(samples: Sequence[Scanned], names: Sequence[str]) -> dict[str, list[Scanned]]:
    found: dict[str, list[Scanned]] = {}
    for sample, name in zip(samples, names, strict=True):
        found.setdefault(name, []).append(sample)
    return found


def _share(samples: Sequence[Scanned], n_classes: int) -> Share:
    masks = [sample.mask for sample in samples if sample.mask is not None]
    counts = np.array([mask.counts for mask in masks], np.int64).reshape(-1, n_classes)
    return Share(
        images=len(samples),
        masks=len(masks),
        empty=sum(not mask.foreground for mask in masks),
        images_with=tuple(np.count_nonzero(counts, axis=0).tolist()),
        pixels=tuple(counts.sum(axis=0).tolist()),
        ignored=sum(mask.ignored for mask in masks),
    )


def _objects(
    samples: Sequence[Scanned],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    sizes, positions, classes = [], [], []
    for sample in samples:
        height, width = sample.size
        for each in sample.mask.objects if sample.mask is not None else ():
            sizes.append(each.pixels / (height * width))
            # The middle of the first pixel is 0, so half a pixel lies before it.
            positions.append(((each.centroid[0] + 0.5) / width, (each.centroid[1] + 0.5) / height))
            classes.append(each.class_index)
    return (
        np.array(sizes, np.float32),
        np.array(positions, np.float32).reshape(-1, 2),
        np.array(classes, np.int64),
    )


def _mean_mask(scan: Scan) -> NDArray[np.float32]:
    total, seen = np.zeros((32, 32), np.float64), 0
    for index in range(len(scan)):
        soft = scan.soft_mask(index)
        if soft is not None:
            total += soft
            seen += 1
    return (total / max(seen, 1)).astype(np.float32)


def balance_findings(balance: Balance) -> tuple[Finding, ...]:
    """Find what a network would learn of the set rather than of what it shows.

    - ``absent-class`` (warning): a class that no mask holds.
    - ``rare-class`` (note): a class in less than 1 % of the masks.
    - ``large-group`` (note): one of several groups has more than half of the images.
    - ``uneven-splits`` (warning): the share of empty masks, or of a class's pixels, is more than
      twice as high in one split as in another, and at least 1 % in the higher.
    """
    return (*_classes(balance), *_large_group(balance), *_uneven(balance))


def _classes(balance: Balance) -> Iterable[Finding]:
    if not balance.whole.masks:
        return
    counts = dict(zip(balance.class_names, balance.whole.images_with, strict=True))
    absent = tuple(name for name, count in counts.items() if not count)
    rare = tuple(n for n, count in counts.items() if 0 < count < RARE_CLASS * balance.whole.masks)
    if absent:
        message = f"No mask holds {some(absent)}."
        yield Finding("absent-class", "warning", (), message, {"classes": list(absent)})
    if rare:
        message = f"Less than 1 % of the masks hold {some(f'{n} ({counts[n]})' for n in rare)}."
        details = {"classes": {name: counts[name] for name in rare}}
        yield Finding("rare-class", "note", (), message, details)


def _large_group(balance: Balance) -> Iterable[Finding]:
    if len(balance.groups) < 2:
        return
    name, share = next(iter(balance.groups.items()))
    part = share.images / balance.whole.images
    if part > ONE_GROUP:
        message = f"The group {name} has {100 * part:.0f} % of the images."
        yield Finding("large-group", "note", (), message, {"group": name, "images": share.images})


def _uneven(balance: Balance) -> Iterable[Finding]:
    named = {name: share for name, share in balance.splits.items() if name and share.masks}
    if len(named) < 2:
        return
    shares = {"empty masks": {name: share.empty_share for name, share in named.items()}}
    for index, label in enumerate(balance.class_names):
        shares[f"pixels of {label}"] = {n: s.pixel_shares[index] for n, s in named.items()}
    for what, parts in shares.items():
        least, most = min(parts.values()), max(parts.values())
        if most >= 0.01 and most > APART * least:
            said = ", ".join(f"{100 * part:.1f} % in {name}" for name, part in parts.items())
            message = f"The splits differ in their share of {what}: {said}."
            yield Finding("uneven-splits", "warning", (), message, {"what": what, "shares": parts})
