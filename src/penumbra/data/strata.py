"""Which kind of mask each sample has, so that every split gets its share of each kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE, Finding, Record
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError
from penumbra.imaging.files import read_size
from penumbra.progress import Progress, silent

NO_MASK = "no mask"
EMPTY = "empty"
_BINS = 4


@dataclass(frozen=True)
class Strata:
    """The stratum of every readable sample.

    Attributes:
        names: sample id to stratum: ``"no mask"``, ``"empty"``, or ``"q0"`` … ``"q3"`` by quarter
            of the foreground fraction among samples with foreground.
        findings: one error per sample that could not be read; such samples are not in `names`.
    """

    names: dict[str, str]
    findings: tuple[Finding, ...] = ()


def strata_of(source: Source, *, progress: Progress = silent) -> Strata:
    """Sort samples by their foreground fraction; masks are decoded, images are not.

    The fraction is the share of pixels of class 1 and above among all that are not ignored. A
    sample whose image header or mask cannot be read becomes a finding and is left out.
    """
    fractions: dict[str, float | None] = {}
    findings = []
    for record in progress(source.records, total=len(source), what="reading masks"):
        try:
            fractions[record.id] = _fraction(source, record)
        except (ImageFileError, SourceError) as error:
            findings.append(Finding("unreadable", "error", (record.id,), str(error)))
    positive = sorted(f for f in fractions.values() if f is not None and f > 0)
    edges = np.quantile(positive, np.arange(1, _BINS) / _BINS) if positive else np.empty(0)
    names = {name: _stratum(fraction, edges) for name, fraction in fractions.items()}
    return Strata(names, tuple(findings))


def _fraction(source: Source, record: Record) -> float | None:
    size = read_size(record.image)
    mask = source.read_mask(record, size)
    if mask is None:
        return None
    source.check_mask(record, mask, size)
    counted = np.count_nonzero(mask != IGNORE)
    return np.count_nonzero((mask != 0) & (mask != IGNORE)) / counted if counted else 0.0


def _stratum(fraction: float | None, edges: NDArray[np.float64]) -> str:
    if fraction is None:
        return NO_MASK
    if fraction == 0:
        return EMPTY
    return f"q{int(np.searchsorted(edges, fraction, side='left'))}"
