"""The account of a corrected set: what became of every sample that was touched, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.corrections import Corrections
from penumbra.audit.decisions import Decision
from penumbra.audit.policy import least_dice
from penumbra.data.sample import Finding
from penumbra.storage import write_json, write_text
from penumbra.version import __version__

_VERSION = 1

NOT_COPIED = "not-copied"
"""The kind of finding on a sample whose image could not be copied, so that it is not there."""


@dataclass(frozen=True)
class Change:
    """What became of one sample.

    Attributes:
        sample: its id.
        change: ``"left-out"``, ``"mask"`` (it has another mask) or ``"same-mask"`` (the new mask is
            the one it had).
        action: of the decision.
        decision: id of the decision; ``policy-…`` where a policy made it.
        samples: whom the decision was about, A first.
        author: who made it, where they said so.
        time: when; empty for a policy.
        note: why.
        pixels: pixels whose class changed, where the mask did.
        dice: of the mask it had and the new one; ``None`` where it had none, or was left out.
    """

    sample: str
    change: Literal["left-out", "mask", "same-mask"]
    action: str
    decision: str
    samples: tuple[str, ...]
    author: str | None
    time: str
    note: str
    pixels: int | None = None
    dice: float | None = None


def change_of(
    name: str,
    decision: Decision,
    before: NDArray[np.uint8] | None = None,
    after: NDArray[np.uint8] | None = None,
) -> Change:
    """Describe what became of a sample.

    Args:
        name: the sample.
        decision: what was decided.
        before: the mask it had, if it had one.
        after: the mask it gets; ``None`` where the sample is left out.
    """
    pixels, dice = None, None
    if after is not None:
        pixels = int(after.size if before is None else np.count_nonzero(before != after))
        dice = None if before is None else least_dice([before, after])
    return Change(
        sample=name,
        change="left-out" if after is None else "mask" if pixels else "same-mask",
        action=decision.action,
        decision=decision.id,
        samples=decision.samples,
        author=decision.author,
        time=decision.time,
        note=decision.note,
        pixels=pixels,
        dice=dice,
    )


@dataclass(frozen=True)
class Account:
    """What a correction did.

    Attributes:
        source: what was corrected.
        target: what its masks show, where the layout offers several.
        samples: how many samples it has.
        changes: one per sample that was touched.
        findings: what was not applied, and why.
        settings: how, such as policy and copies.
    """

    source: str
    target: str | None
    samples: int
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    settings: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """How many samples there were, are, were left out, were not copied, got another mask."""
        found = Counter(each.change for each in self.changes)
        not_copied = sum(finding.kind == NOT_COPIED for finding in self.findings)
        return {
            "samples": self.samples,
            "kept": self.samples - found["left-out"] - not_copied,
            "left_out": found["left-out"],
            "not_copied": not_copied,
            "masks_changed": found["mask"],
        }

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "version": _VERSION,
            "penumbra": __version__,
            "source": self.source,
            "target": self.target,
            **self.settings,
            "counts": self.counts,
            "changes": [asdict(each) for each in self.changes],
            "findings": [finding.to_json() for finding in self.findings],
        }

    def to_markdown(self) -> str:
        """Write the account for people."""
        counts = self.counts
        lines = [
            "# Account of the corrections",
            "",
            f"Of the {counts['samples']} samples of `{self.source}`, {counts['left_out']} were "
            f"left out and {counts['masks_changed']} have another mask. "
            "The original was not touched.",
            *([f"{counts['not_copied']} could not be copied."] if counts["not_copied"] else []),
            "",
            *(f"- {name}: {value}" for name, value in self.settings.items() if value is not None),
            "",
            "| sample | change | decided | with | pixels | Dice before and after | by | why |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *map(_row, self.changes),
            "",
        ]
        if self.findings:
            lines += ["## Not applied, or to be known", ""]
            lines += [f"- {each.kind}: {_plain(each.message)}" for each in self.findings] + [""]
        return "\n".join(lines)


def account_of(
    corrections: Corrections,
    changes: Sequence[Change],
    findings: Sequence[Finding],
    settings: Mapping[str, Any],
) -> Account:
    """Put an account together.

    Args:
        corrections: what was to change.
        changes: what did.
        findings: what was noticed while it was written; those of the plan come first.
        settings: how, such as policy and copies.
    """
    source = corrections.source
    return Account(
        source=source.name,
        target=source.target,
        samples=len(source),
        changes=tuple(changes),
        findings=(*corrections.findings, *findings),
        settings=settings,
    )


def write_account(account: Account, path: Path) -> None:
    """Write the account as JSON to `path`, and for people beside it, ending in ``.md``.

    Raises:
        StorageError: a file cannot be written.
    """
    write_text(path.with_suffix(".md"), account.to_markdown())
    write_json(path, account)


def _row(change: Change) -> str:
    others = [name for name in change.samples if name != change.sample]
    shown = _some(others)
    cells = (
        change.sample,
        change.change,
        change.action,
        shown,
        "" if change.pixels is None else str(change.pixels),
        "" if change.dice is None else f"{change.dice:.3f}",
        " ".join(filter(None, (change.author, change.time))),
        change.note,
    )
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _some(names: Sequence[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _plain(text: str) -> str:
    """Keep names and notes from being read as tables, links or HTML."""
    escaped = "".join(f"\\{each}" if each in "\\|<>[]`*_" else each for each in text)
    return " ".join(escaped.split())
