"""Write the corrected set that decisions ask for, beside the original, which is never touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penumbra.audit.account import Account, account_of, change_of, write_account
from penumbra.audit.corrections import Copies, Corrections, corrected_mask, plan_corrections
from penumbra.audit.decisions import Decisions
from penumbra.audit.digests import of_mask
from penumbra.audit.folder_out import write_folder
from penumbra.audit.placement import Duplicate
from penumbra.audit.policy import Policy
from penumbra.data.assignment import Assignment
from penumbra.data.corrected import with_corrected_masks
from penumbra.data.export.names import stems_of
from penumbra.data.layouts.catalogue import strategy_of
from penumbra.data.manifest import write_manifest
from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, SourceError, StorageError, expected
from penumbra.imaging.write import write_mask
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable

__all__ = ["Applied", "Copies", "apply"]


@dataclass(frozen=True)
class Applied:
    """What `apply` wrote.

    Attributes:
        out: the manifest or the folder; `penumbra.open_source` opens it.
        account: what became of every sample that was touched.
        account_file: where the account is, as JSON; the same for people ends in ``.md``.
    """

    out: Path
    account: Account
    account_file: Path

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was not applied, and why."""
        return self.account.findings


def apply(
    source: Source,
    out: str | Path,
    *,
    decisions: Decisions | None = None,
    policy: Policy | str | None = None,
    pairs: Sequence[Duplicate] = (),
    copies: Copies = "one",
    force: bool = False,
    progress: Progress = silent,
) -> Applied:
    """Write the corrected set; the original is never touched.

    ``folder:DIR`` writes the ``folder`` layout: images copied as they are, every mask as a PNG of
    class indices, ``groups.csv``, ``classes.txt``, ``account.json`` and ``account.md``. It appears
    when it is whole; a call that was stopped goes on where it stood.

    ``NAME.csv`` writes a manifest that leaves samples out and points to corrected masks in
    ``NAME_masks/``, with ``NAME_account.json`` and ``.md``. Masks come first and the manifest last,
    under names made of their content, so that an earlier manifest of that name stays whole until it
    is replaced. It pins the splits of a source that is a manifest, or whose layout is split as
    given (`camvid`), and else none.

    Args:
        source: what is corrected.
        out: ``folder:DIR``, or a file that ends in ``.csv``.
        decisions: see `plan_corrections`, as for `policy`, `pairs` and `copies`.
        policy: a rule for the other groups of duplicates.
        pairs: the duplicates, for the policy.
        copies: what stays of samples that show the same.
        force: replace an existing manifest. A folder is never replaced.
        progress: shows how many files were written.

    Returns:
        Where it is and what was done. A sample whose new mask cannot be made keeps its own and is a
        finding.

    Raises:
        SettingsError: `out` is neither.
        SourceError: nothing would be left.
        StorageError: `out` exists, or cannot be written.

    Examples:
        >>> import tempfile
        >>> from penumbra.data.layouts import open_source
        >>> from penumbra.data.phantom import make_phantom
        >>> with tempfile.TemporaryDirectory() as place:
        ...     made = open_source(make_phantom(Path(place) / "set", count=3, size=32))
        ...     same = [Duplicate("card_00000", "xray_00000")]
        ...     done = apply(made, f"{place}/new.csv", policy="keep-first", pairs=same)
        ...     done.account.counts["kept"], [c.sample for c in done.account.changes]
        (2, ['xray_00000'])
    """
    kind, where = _target(str(out))
    if where.exists() and not (force and kind == "manifest"):
        remedy = "--force" if kind == "manifest" else "another folder"
        raise StorageError(expected(f"--out {out}", "new", "there already", remedy))
    _check_apart(source, kind, where)
    rule = Policy.parse(policy) if isinstance(policy, str) else policy
    planned = plan_corrections(source, decisions=decisions, policy=rule, pairs=pairs, copies=copies)
    if not len(planned.kept):
        raise SourceError(
            expected(
                "the corrected set", "one with a sample", "none left",
                "fewer decisions that leave samples out",
            )
        )  # fmt: skip
    check_writable(where.parent)
    settings = {"policy": None if rule is None else str(rule), "copies": copies}
    if kind == "folder":
        account = write_folder(planned, where, settings=settings, progress=progress)
        return Applied(where, account, where / "account.json")
    account, written = _write_beside(planned, where, settings=settings, progress=progress)
    return Applied(where, account, written)


def _target(text: str) -> tuple[Literal["folder", "manifest"], Path]:
    kind, colon, path = text.partition(":")
    if colon and kind == "folder" and path:
        return "folder", Path(path)
    if text.lower().endswith(".csv"):
        return "manifest", Path(text)
    raise SettingsError(
        expected("--out", "folder:DIR, or a manifest that ends in .csv", repr(text),
                 "--out folder:corrected")
    )  # fmt: skip


def _check_apart(source: Source, kind: str, where: Path) -> None:
    """Refuse to write among the files of the original."""
    if kind == "folder":
        apart = source.root.resolve() not in where.resolve().parents
    else:
        taken = {record.image.parent.resolve() for record in source.records}
        taken |= {mask.parent.resolve() for record in source.records for mask in record.masks}
        apart = where.parent.resolve() not in taken
    if not apart:
        raise StorageError(
            expected(f"--out {where}", "outside the data set", "a place within it",
                     "a folder of its own")
        )  # fmt: skip


def _write_beside(
    planned: Corrections, where: Path, *, settings: Mapping[str, str | None], progress: Progress
) -> tuple[Account, Path]:
    folder = where.with_name(f"{where.stem}_masks")
    kept, changes = planned.kept, [change_of(n, d) for n, d in planned.left_out.items()]
    masks, stems = dict[str, Path](), stems_of(kept.records)
    findings: list[Finding] = []
    for name in progress(planned.masks, total=len(planned.masks), what="writing masks"):
        try:
            before, after = corrected_mask(planned, name)
        except (ImageFileError, SourceError) as error:
            findings.append(Finding("unreadable", "error", (name,), str(error)))
            continue
        change = change_of(name, planned.masks[name], before, after)
        changes.append(change)
        if change.change == "mask":
            masks[name] = folder / f"{stems[name]}.{of_mask(after)[:12]}.png"
            if not masks[name].is_file():
                write_mask(masks[name], after, n_classes=kept.n_classes)
    account = account_of(planned, changes, findings, settings)
    document = where.with_name(f"{where.stem}_account.json")
    write_account(account, document)
    write_manifest(where, with_corrected_masks(kept, masks), _pinned(kept), unassigned=True)
    return account, document


def _pinned(kept: Source) -> Assignment:
    """Give the splits that the manifest pins: what a training on the source itself would take.

    Those are a manifest's own, and those that a data set ships where its layout is split as given;
    of any other layout the groups are split, and a shipped split may leak.
    """
    if not (kept.pinned or strategy_of(kept.layout) == "given"):
        return Assignment({})
    return Assignment({each.id: each.split for each in kept.records if each.split is not None})
