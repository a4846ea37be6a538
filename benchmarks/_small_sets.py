"""The sets that the small promptable model learns from, their objects, and who is held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _record import ROOT
from numpy.typing import NDArray
from scipy import ndimage

from penumbra.data.layouts import open_source
from penumbra.data.sample import IGNORE, Record, Split
from penumbra.data.source import Source
from penumbra.data.split import select, split_source
from penumbra.data.together import keep_together
from penumbra.imaging.files import read_mask_file
from penumbra.promptable.scenes import Symmetry

DATA = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data"))
SEED = 0


@dataclass(frozen=True)
class Case:
    """One set: where it lies, and what its objects are.

    Attributes:
        name: in tables.
        source: layout and folder, with a colon between them.
        prepare: makes the masks show objects.
        prompts: how many objects are prompted for in one scene of training.
        symmetry: flips and turns that are allowed.
        target: of the layout.
    """

    name: str
    source: str
    prepare: Callable[[Source], Source]
    prompts: int
    symmetry: Symmetry
    target: str | None = None


def nuclei_apart(source: Source) -> Source:
    """Keep nuclei that touch apart: pixels where two meet are ignored, so that each is its own."""

    def read(record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        numbers = np.zeros(size, np.int32)
        for number, path in enumerate(record.masks, start=1):
            numbers[read_mask_file(path) > 0] = number
        high = ndimage.maximum_filter(numbers, 3)
        low = -ndimage.maximum_filter(np.where(numbers > 0, -numbers, -(10**6)), 3)
        mask = (numbers > 0).astype(np.uint8)
        mask[(numbers > 0) & (high != low)] = IGNORE
        return mask

    return replace(source, read_mask=read)


def cells(source: Source) -> Source:
    """Take the cells as objects: whole areas between 50 pixels and a third of the image."""
    inner = source.read_mask

    def read(record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        mask = inner(record, size)
        if mask is None:
            return None
        parts, _ = ndimage.label(mask == 1)
        areas = np.bincount(parts.ravel())
        unfit = (areas < 50) | (areas > parts.size / 3)
        unfit[0] = False
        out = (parts > 0).astype(np.uint8)
        out[unfit[parts]] = IGNORE
        return out

    return replace(source, read_mask=read, has_background=True)


def without_duplicates_apart(source: Source) -> Source:
    """Merge the groups that share a byte-identical image."""
    seen: dict[str, str] = {}
    pairs = []
    for record in source.records:
        digest = hashlib.sha256(record.image.read_bytes()).hexdigest()
        pairs.append((seen.setdefault(digest, record.id), record.id))
    return keep_together(source, [pair for pair in pairs if pair[0] != pair[1]])


def as_it_is(source: Source) -> Source:
    """Leave a source alone."""
    return source


CASES = (
    Case("nuclei", "dsb2018:dsb2018", nuclei_apart, 8, "dihedral"),
    Case("nerve", "nerve:nerve", without_duplicates_apart, 3, "horizontal"),
    Case("cells", "isbi:isbi_em", cells, 8, "dihedral"),
    Case("lungs", "covid-cxr:covid_cxr", as_it_is, 4, "horizontal", target="lungs"),
)


def parts(case: Case) -> dict[Split, Source]:
    """Open a set and divide it by its groups."""
    layout, folder = case.source.split(":")
    source = open_source(f"{layout}:{DATA / folder}", target=case.target)
    kept = [i for i, record in enumerate(source.records) if record.masks]
    prepared = case.prepare(source.subset(kept))
    assignment = split_source(prepared, seed=SEED)
    names: tuple[Split, ...] = ("train", "val", "test")
    return {name: select(prepared, assignment, name) for name in names}


def never_seen() -> Source:
    """Give the infections of the chest X-rays whose patients are held out: no training saw them."""
    lungs = next(case for case in CASES if case.name == "lungs")
    held_out = {record.group for record in parts(lungs)["test"].records}
    _, folder = lungs.source.split(":")
    source = open_source(f"covid-cxr:{DATA / folder}", target="infection")
    kept = [i for i, r in enumerate(source.records) if r.masks and r.group in held_out]
    return source.subset(kept)
