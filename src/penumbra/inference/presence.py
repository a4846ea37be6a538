"""Whether an image shows anything at all: the rule that empties masks and takes islands off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from penumbra.errors import RunError, expected
from penumbra.storage import write_json

PRESENCE_FILE = "presence.json"
PRESENCE_VERSION = 1
CHOSEN_AT = 0.5
"""Least foreground probability of the masks that a rule is chosen for."""

PresenceScore = Literal["head", "area"]
"""What is held against the threshold: the probability by the presence head, or the mask's share of
the image after islands are gone."""


class PresenceRule(BaseModel):
    """What was chosen on validation images after training: `presence.json` of a run.

    Attributes:
        version: format of the file.
        score: see `PresenceScore`.
        threshold: an image whose score is below it is given an empty mask; 0 empties none.
        smallest: least area of a connected part (8 neighbours) of the foreground, as a share of
            the image's pixels; smaller ones are taken off. 0 takes none off.
        weights: SHA-256 of the file of weights that it belongs to; ``None`` where it is unknown.
        record: how it was chosen, in plain values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = Field(default=PRESENCE_VERSION, ge=1, strict=True)
    score: PresenceScore = "area"
    threshold: float = Field(default=0.0, ge=0)
    smallest: float = Field(default=0.0, ge=0, le=1)
    weights: str | None = None
    record: dict[str, Any] = Field(default_factory=dict)

    @property
    def does_nothing(self) -> bool:
        """Whether every mask stays as it is."""
        return self.threshold == 0 and self.smallest == 0

    def apply(self, mask: NDArray[np.uint8], *, probability: float | None = None) -> Judged:
        """Take islands off a mask, then empty it where nothing seems to be there.

        Args:
            mask: (H, W) class indices; every class but 0 is foreground.
            probability: that the image shows something, by the presence head.

        Raises:
            RunError: the rule needs a presence head, and there is no probability.

        Examples:
            >>> mask = np.array([[1, 1, 0, 0, 1]], dtype=np.uint8)
            >>> PresenceRule(smallest=0.4).apply(mask).mask.tolist()
            [[1, 1, 0, 0, 0]]
            >>> PresenceRule(score="head", threshold=0.5).apply(mask, probability=0.3).emptied
            True
        """
        kept = without_islands(mask, self.smallest)
        score = float((kept > 0).mean()) if self.score == "area" else probability
        if score is None:
            raise RunError(
                expected(PRESENCE_FILE, "one for a network with a presence head",
                         "a network without one", "`penumbra calibrate … --presence` again")
            )  # fmt: skip
        emptied = score < self.threshold and bool(kept.any())
        return Judged(np.zeros_like(kept) if score < self.threshold else kept, emptied)

    def note_at(self, threshold: float) -> str | None:
        """Give a sentence where masks are made at another threshold than the rule was chosen for.

        Args:
            threshold: least foreground probability of the masks.

        Examples:
            >>> PresenceRule(smallest=0.01).note_at(0.5) is None
            True
            >>> PresenceRule(smallest=0.01).note_at(0.3)
            'the presence rule was chosen for masks at threshold 0.5, and is applied at 0.3.'
        """
        if self.does_nothing or threshold == CHOSEN_AT:
            return None
        return (
            f"the presence rule was chosen for masks at threshold {CHOSEN_AT:g}, and is applied at "
            f"{threshold:g}."
        )

    def check_weights(self, digest: str) -> None:
        """Refuse to go with other weights than those it was chosen for.

        Raises:
            RunError: they are others.
        """
        if self.weights is not None and self.weights != digest:
            raise RunError(
                expected(PRESENCE_FILE, "of the run's present weights", "that of other ones",
                         "`penumbra calibrate … --presence` again, or --uncalibrated")
            )  # fmt: skip

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """Read the rule of a run folder; ``None`` where there is none.

        Raises:
            RunError: the file is damaged, or of a newer version.
        """
        path = Path(run) / PRESENCE_FILE
        if not path.is_file():
            return None
        try:
            found = cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                expected(str(path), "a presence rule", reason, "`penumbra calibrate … --presence`")
            ) from error
        if found.version > PRESENCE_VERSION:
            raise RunError(
                expected(f"the version of {path}", f"at most {PRESENCE_VERSION}", found.version,
                         "upgrading Penumbra, since a newer version wrote it")
            )  # fmt: skip
        return found

    def write(self, run: Path) -> None:
        """Write `presence.json` into a run folder, atomically."""
        write_json(Path(run) / PRESENCE_FILE, self.model_dump(mode="json"))


@dataclass(frozen=True)
class Judged:
    """A mask after the rule, and whether the rule emptied it."""

    mask: NDArray[np.uint8]
    emptied: bool


def parts_of(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the connected parts of the foreground, 8 neighbours, and give their sizes.

    Returns:
        (H, W) numbers, 0 = background, and (N,) pixels of parts 1 … N.
    """
    n, numbers, facts, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask > 0, dtype=np.uint8), connectivity=8
    )
    return np.asarray(numbers, dtype=np.int32), facts[1:n, cv2.CC_STAT_AREA].astype(np.int64)


def without_islands(mask: NDArray[np.uint8], smallest: float) -> NDArray[np.uint8]:
    """Set connected parts of the foreground of less than `smallest` of the image to background.

    Args:
        mask: (H, W) class indices.
        smallest: in [0, 1], as a share of the image's pixels.

    Examples:
        >>> without_islands(np.array([[1, 0, 2, 2]], dtype=np.uint8), 0.5).tolist()
        [[0, 0, 2, 2]]
    """
    if smallest <= 0 or not mask.any():
        return mask
    numbers, sizes = parts_of(mask)
    # Index 0 is the background, which stays what it is.
    stays = np.concatenate([[True], sizes >= smallest * mask.size])
    return np.where(stays[numbers], mask, 0).astype(np.uint8)
