"""The audit of a source, from the first file to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penumbra.audit.balance import Balance, balance_findings, measure_balance
from penumbra.audit.conflicts import Compared, compare_masks, conflict_findings, ranked
from penumbra.audit.duplicates import (
    DuplicateGroup,
    duplicate_findings,
    duplicate_groups,
)
from penumbra.audit.files_check import check_files
from penumbra.audit.folders import changed_folders, folders_of, listing
from penumbra.audit.leaks import Leak, find_leaks, leak_findings, splits_of, straddling_groups
from penumbra.audit.masks_check import check_masks
from penumbra.audit.pairs import Pairs, find_pairs
from penumbra.audit.samples_file import SAMPLES, write_samples
from penumbra.audit.scan import Scan, scan
from penumbra.audit.tables import findings_frame, pairs_frame, write_pairs
from penumbra.data.sample import Finding, Split
from penumbra.data.source import Source
from penumbra.errors import RunError, SettingsError, SourceError, StorageError, expected
from penumbra.pages.words import count
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable, write_json

if TYPE_CHECKING:
    import pandas as pd

    from penumbra.audit.judged import LabelNoise

_SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Audit:
    """All that an audit found.

    Attributes:
        scan: what is known of each sample.
        pairs: every pair of duplicates, with the histogram of all differences.
        compared: the masks of each pair, in the order of `pairs`.
        groups: the duplicates in groups, by level.
        leaks: the groups that stand on both sides of a split, or under two subjects.
        splits: one for each sample, ``None`` where it is in none.
        balance: how the set is made up.
        findings: everything that was noticed, errors first.
        settings: threshold, turns and shifts of the search.
        labels: what runs that never saw the labels say of them, where runs were given.
    """

    scan: Scan
    pairs: Pairs
    compared: tuple[Compared, ...]
    groups: tuple[DuplicateGroup, ...]
    leaks: tuple[Leak, ...]
    splits: tuple[Split | None, ...]
    balance: Balance
    findings: tuple[Finding, ...]
    settings: Mapping[str, Any]
    labels: LabelNoise | None = None

    @property
    def source_name(self) -> str:
        """The source as ``LAYOUT:PATH``."""
        return self.scan.source.name

    @property
    def conflicts(self) -> tuple[Compared, ...]:
        """The duplicates whose masks disagree, the highest score first."""
        return ranked(self.compared)

    @property
    def worst(self) -> tuple[Finding, ...]:
        """The errors."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def summary(self) -> dict[str, Any]:
        """Counts of what was found."""
        levels = Counter(str(level) for level in self.pairs.level)
        return {
            "images": len(self.scan),
            "unreadable": sum(not sample.readable for sample in self.scan.samples),
            "masks": self.balance.whole.masks,
            "empty_masks": self.balance.whole.empty,
            "pairs": {level: levels[level] for level in ("bytes", "pixels", "near")},
            "groups": _by(self.groups, lambda group: group.level),
            "conflicts": _by(self.conflicts, lambda pair: pair.kind),
            "leaks": _by(self.leaks, lambda leak: f"{leak.between}/{leak.level}"),
            "findings": dict(Counter(finding.severity for finding in self.findings)),
        }

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        images = count(len(self.scan), "image")
        pairs = count(len(self.pairs.a), "pair") + " of duplicates"
        differ = sum(pair.kind in ("differ", "one-empty") for pair in self.conflicts)
        leaks = sum(leak.between == "splits" for leak in self.leaks)
        unreadable = sum(not sample.readable for sample in self.scan.samples)
        parts = [f"{differ} with masks that disagree"]
        if any(self.splits):
            parts.append(f"{count(leaks, 'group')} of them across splits")
        if unreadable:
            parts.append(f"{count(unreadable, 'file')} unreadable")
        return f"{images}: {pairs}, {', '.join(parts)}."

    def to_frame(self) -> pd.DataFrame:
        """Give the findings, one a row: kind, severity, samples, message, details."""
        return findings_frame(self.findings)

    def pairs_frame(self) -> pd.DataFrame:
        """Give the pairs, one a row, as ``pairs.parquet`` holds them; see `pairs_frame`."""
        return pairs_frame(self.compared)

    def write(self, out: str | Path, *, command: str = "", created: str = "") -> Path:
        """Write ``findings.json``, ``pairs.parquet``, ``samples.parquet`` and ``report.html``.

        Where runs judged the labels, ``labels.json`` has their scores.

        Args:
            out: the folder; it is made.
            command: what to type to repeat the audit, for the report.
            created: when it was made, for the report.

        Returns:
            The path of the report.

        Raises:
            StorageError: a file cannot be written.
        """
        # Here, since it draws: who only wants the findings need not load it.
        from penumbra.audit.report import write_report  # noqa: PLC0415

        folder = Path(out)
        write_json(folder / "findings.json", [finding.to_json() for finding in self.findings])
        # The samples first: pairs beside those of an earlier audit would count as stale.
        write_samples(folder / SAMPLES, self.scan.samples)
        write_pairs(folder / "pairs.parquet", self.compared)
        if self.labels is not None:
            write_json(folder / "labels.json", self.labels.to_json())
        return write_report(folder / "report.html", self, command=command, created=created)


def _by(items: Sequence[Any], name: Any) -> dict[str, int]:
    return dict(Counter(map(name, items)))


def audit(
    source: Source,
    *,
    out: Path | None = None,
    threshold: float = 5.0,
    turns: bool = False,
    shifts: int = 0,
    manifest: Mapping[str, Split] | None = None,
    run: Path | Sequence[Path] | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Audit:
    """Find what is wrong with a source: files, duplicates, conflicting masks, leaks, imbalance.

    One pass decodes each file once; then every pair of images is compared, exactly. What cannot be
    read becomes a finding and stops nothing.

    Args:
        source: what to audit.
        out: where the state of the scan is kept, so that an audit that was stopped, or one of a
            set that grew, goes on where it stood; without it nothing is kept.
        threshold: pairs whose comparison images (256×256 greys) differ by a smaller root of the
            mean square, on the scale 0–255, are near duplicates.
        turns: also compare under the eight symmetries of the square.
        shifts: also compare moved by up to so many pixels of the comparison images.
        manifest: sample id → split, in place of the split that the source ships.
        run: a run whose predictions judge the labels that it was not trained on, or the runs of a
            cross-validation; see `penumbra.audit.label_noise.label_noise`.
        workers: threads that read; one per core where not given.
        progress: is wrapped around what takes long.

    Raises:
        SettingsError: the threshold or the shifts are negative.
        StorageError: `out` cannot be written, or lies among the images.
        RunError: a run cannot be loaded.
        SourceError: a run has other classes, or was trained on every sample; or `manifest` names
            none of the samples.
    """
    # Written so that a threshold that is no number is refused, too.
    if not threshold >= 0 or shifts < 0:
        raise SettingsError(
            expected(
                "threshold and shifts", "at least 0", f"{threshold:g} and {shifts}", "--threshold 5"
            )
        )
    runs = [] if run is None else [run] if isinstance(run, (str, Path)) else list(run)
    _check(source, out, manifest, runs)
    listed = listing(source.records)
    state = None if out is None else Path(out) / "state"
    scanned = scan(source, state=state, workers=workers, progress=progress)
    pairs = find_pairs(scanned, threshold=threshold, turns=turns, shifts=shifts, progress=progress)
    samples = scanned.samples
    splits = splits_of(samples, manifest)
    compared = compare_masks(
        source, samples, pairs, threshold=threshold, workers=workers, progress=progress
    )
    groups = duplicate_groups(len(samples), pairs)
    leaks = find_leaks(samples, pairs, groups, splits)
    balance = measure_balance(scanned, splits)
    found = Audit(
        scan=scanned,
        pairs=pairs,
        compared=compared,
        groups=groups,
        leaks=leaks,
        splits=splits,
        balance=balance,
        findings=(),
        settings={"threshold": threshold, "turns": turns, "shifts": shifts},
    )
    if runs:
        found = replace(found, labels=_judged(source, runs, compared, progress))
    return replace(found, findings=_findings(found, changed_folders(listed)))


def _check(
    source: Source,
    out: Path | None,
    manifest: Mapping[str, Split] | None,
    runs: Sequence[Path],
) -> None:
    """Find out now what would otherwise stop the audit at its end."""
    if out is not None:
        check_writable(out)
        _check_place(source, Path(out))
    if manifest is not None and not any(record.id in manifest for record in source.records):
        raise SourceError(
            expected("the manifest", f"of samples of {source.name}",
                     f"{len(manifest)} ids that it does not have", "the manifest of this source")
        )  # fmt: skip
    for run in runs:
        if not (Path(run) / "experiment.yaml").is_file():
            raise RunError(
                expected(f"--run {run}", "the folder that training wrote",
                         "one without experiment.yaml", "`penumbra train --help`")
            )  # fmt: skip


def _check_place(source: Source, out: Path) -> None:
    held = {folder.resolve() for folder in folders_of(source.records)}
    # The root of a layout may hold the images itself; a folder of its own below it is no harm.
    if out.resolve() in held:
        raise StorageError(
            expected(f"--out {out}", "a folder of its own", "one that holds the images",
                     f"--out {out / 'audit'}")
        )  # fmt: skip


def _judged(
    source: Source, runs: Sequence[Path], compared: Sequence[Compared], progress: Progress
) -> LabelNoise:
    # Here, since it loads torch, which an audit without runs does without.
    from penumbra.audit.label_noise import label_noise  # noqa: PLC0415

    together = [(pair.a, pair.b) for pair in compared]
    return label_noise(source, runs, together=together, progress=progress)


def _findings(found: Audit, of_folders: Sequence[Finding]) -> tuple[Finding, ...]:
    """Collect all findings: errors first, and of one severity in the order of the audit."""
    samples = found.scan.samples
    every = (
        *found.scan.source.findings,
        *of_folders,
        *check_files(samples),
        *check_masks(found.scan),
        *conflict_findings(found.conflicts),
        *leak_findings(found.leaks, samples),
        *straddling_groups(samples, found.splits),
        *duplicate_findings(found.groups, samples),
        *balance_findings(found.balance),
        *(found.labels.findings if found.labels is not None else ()),
    )
    return tuple(sorted(every, key=lambda finding: _SEVERITIES.index(finding.severity)))
