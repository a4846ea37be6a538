"""Duplicates whose masks disagree: one image, two answers.

Every pair of duplicates is laid over each other, as the images were found to fit, and their masks
are compared. Where the images hardly differ and the masks do, at least one mask is wrong::

    score = (1 − rms / threshold) · (1 − Dice)

in [0, 1]: 1 is the same image with masks that share nothing. A pair near the threshold may well
differ for a reason, such as two frames of a moving scene, and ranks low.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.disagreement import Disagreement, disagreement
from penumbra.audit.facts import Scanned
from penumbra.audit.pairs import Pairs
from penumbra.audit.placement import lay_over
from penumbra.audit.threads import in_threads
from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.errors import PenumbraError
from penumbra.progress import Progress, silent

AGREE = 0.9
"""Masks of duplicates with at least this Dice are no finding; two careful readers rarely do better
on soft outlines."""

_KEPT = 32

Kind = Literal["agree", "differ", "one-empty", "one-missing", "both-empty", "both-missing"]
"""How the masks of a pair stand: the Dice at least `AGREE` or below it, only one with an object,
only one there at all, both without an object, or neither there."""


@dataclass(frozen=True)
class Compared:
    """A pair of duplicates with its masks compared.

    Attributes:
        a: id of the first sample.
        b: id of the second.
        level: ``"bytes"``, ``"pixels"`` or ``"near"``.
        rms: root of the mean squared difference of the images, 0–255.
        turn: which symmetry takes b to a.
        shift: (dy, dx) that moves b to a, in pixels of the comparison images.
        kind: how the masks stand.
        score: (1 − rms / threshold) · (1 − Dice), in [0, 1]; ``None`` without two masks.
        disagreement: of the masks; ``None`` where not both could be read.
    """

    a: str
    b: str
    level: str
    rms: float
    turn: int
    shift: tuple[int, int]
    kind: Kind
    score: float | None
    disagreement: Disagreement | None

    @property
    def is_conflict(self) -> bool:
        """Whether somebody should look at the pair."""
        return self.kind in ("differ", "one-empty", "one-missing")

    @property
    def dice(self) -> float | None:
        """Dice of the aligned masks, where both could be read."""
        return None if self.disagreement is None else self.disagreement.dice

    def details(self) -> dict[str, Any]:
        """Give the figures as plain values."""
        figures = {} if self.disagreement is None else asdict(self.disagreement)
        return {
            "level": self.level,
            "rms": self.rms,
            "turn": self.turn,
            "shift": list(self.shift),
            "score": self.score,
            **figures,
        }


ReadMask = Callable[[int], NDArray[np.uint8] | None]


def compare_masks(
    source: Source,
    samples: Sequence[Scanned],
    pairs: Pairs,
    *,
    threshold: float,
    workers: int | None = None,
    progress: Progress = silent,
) -> tuple[Compared, ...]:
    """Compare the masks of every pair.

    Args:
        source: what was scanned.
        samples: its samples, scanned.
        pairs: its duplicates.
        threshold: of the pairs' rms, for the score.
        workers: threads that compare; as many as there are cores where not given. The result does
            not depend on it.
        progress: is shown the pairs.

    Returns:
        One for each pair, in the order of the pairs.
    """
    read = _kept(lambda index: _mask_of(source, samples, index))
    classes = tuple(range(1 if source.has_background else 0, source.n_classes))
    numbers = range(len(pairs.a))

    def compare(number: int) -> Compared:
        return _compare(samples, pairs, number, read, classes=classes, threshold=threshold)

    with in_threads(workers) as pool:
        compared = pool.map(compare, numbers)
        return tuple(progress(compared, total=len(numbers), what="comparing masks"))


def ranked(compared: Sequence[Compared]) -> tuple[Compared, ...]:
    """Give the conflicts, the highest score first; pairs with one mask only come last."""
    found = [pair for pair in compared if pair.is_conflict]
    return tuple(
        sorted(found, key=lambda pair: -1.0 if pair.score is None else pair.score, reverse=True)
    )


def _mask_of(source: Source, samples: Sequence[Scanned], index: int) -> NDArray[np.uint8] | None:
    if samples[index].mask is None:
        return None
    try:
        mask = source.read_mask(source.records[index], samples[index].size)
    except (PenumbraError, OSError, ValueError):
        # It could be read a moment ago; that files change is the scan's to say.
        return None
    return mask if mask is None or mask.shape == samples[index].size else None


def _kept(read: ReadMask) -> ReadMask:
    """Keep the masks that were read last: pairs of one group share them."""
    held: OrderedDict[int, NDArray[np.uint8] | None] = OrderedDict()
    turn = threading.Lock()

    def from_held(index: int) -> NDArray[np.uint8] | None:
        with turn:
            if index in held:
                held.move_to_end(index)
                return held[index]
        # Outside the lock: that two threads read one file now and then costs less than waiting.
        mask = read(index)
        with turn:
            held[index] = mask
            if len(held) > _KEPT:
                held.popitem(last=False)
        return mask

    return from_held


def _compare(
    samples: Sequence[Scanned],
    pairs: Pairs,
    number: int,
    read: ReadMask,
    *,
    classes: tuple[int, ...],
    threshold: float,
) -> Compared:
    a, b = int(pairs.a[number]), int(pairs.b[number])
    turn = int(pairs.turn[number])
    shift = (int(pairs.shift[number][0]), int(pairs.shift[number][1]))
    rms = float(pairs.rms[number])
    first, second = read(a), read(b)
    found: Disagreement | None = None
    if first is not None and second is not None:
        over = lay_over(second, samples[a].size, (turn, *shift))
        found = disagreement(first, over, classes=classes)
    alike = 1.0 - min(rms / threshold, 1.0) if threshold > 0 else 1.0
    return Compared(
        a=samples[a].id,
        b=samples[b].id,
        level=str(pairs.level[number]),
        rms=rms,
        turn=turn,
        shift=shift,
        kind=_kind(found, n_masks=(first is not None) + (second is not None)),
        score=None if found is None else alike * (1.0 - found.dice),
        disagreement=found,
    )


def _kind(found: Disagreement | None, *, n_masks: int) -> Kind:
    if found is None:
        return "one-missing" if n_masks == 1 else "both-missing"
    if not any(found.areas):
        return "both-empty"
    if not all(found.areas):
        return "one-empty"
    return "agree" if found.dice >= AGREE else "differ"


_KINDS = {
    "differ": "conflicting-masks",
    "one-empty": "one-empty-mask",
    "one-missing": "one-missing-mask",
}


def conflict_findings(conflicts: Sequence[Compared]) -> tuple[Finding, ...]:
    """Give a finding for each conflict, in their order."""
    return tuple(_finding(pair) for pair in conflicts)


def _finding(pair: Compared) -> Finding:
    same = pair.level in ("bytes", "pixels")
    images = "are the same image" if same else f"differ by an RMS of {pair.rms:.1f} of 255"
    if pair.kind == "differ":
        says = f"their masks have a Dice of {pair.dice:.2f}"
    elif pair.kind == "one-empty":
        says = "one mask is empty and the other is not"
    else:
        says = "only one has a mask"
    severity = "note" if pair.kind == "one-missing" else "error" if same else "warning"
    message = f"{pair.a} and {pair.b} {images}, and {says}."
    return Finding(_KINDS[pair.kind], severity, (pair.a, pair.b), message, pair.details())
