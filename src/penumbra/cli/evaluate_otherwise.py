"""`penumbra evaluate` where a model has to be prompted, or boxes alone are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from penumbra.cli.evaluate import figure
from penumbra.cli.session import (
    Finished,
    command_line,
    counted,
    note_few_groups,
    now,
    say_findings,
    track,
)

_BY_BOXES = {
    "share_inside": "inside the boxes",
    "tight_iou": "IoU of tight boxes",
    "pointing": "pointing",
    "map": "mAP 0.40–0.75",
    "nothing_found": "nothing found where nothing is",
}
_BY_MASKS = {"dice": "Dice", "iou": "IoU", "union_dice": "Dice of all together"}


def needs_prompts(run: Path) -> bool:
    """Tell whether what stands for a run is a promptable model."""
    from penumbra.evaluation.of_prompts import is_promptable

    return is_promptable(run)


def needs_no_training(run: Path) -> bool:
    """Tell whether what stands for a run is a classical method."""
    from penumbra.inference.classical.catalogue import is_classical

    return is_classical(run)


def meets_boxes(run: Path, source: str, *, split: Any, target: str | None) -> bool:
    """Tell whether a run would be scored on samples that have boxes and no masks."""
    from penumbra.evaluation.of_boxes import meets_boxes_alone

    return meets_boxes_alone(run, source, split=split, target=target)


def refuse(options: Mapping[str, Any], whom: str) -> None:
    """Refuse options that would be without effect.

    Raises:
        SettingsError: one is given.
    """
    from penumbra.errors import SettingsError, expected

    for name, value in options.items():
        if value:
            raise SettingsError(expected(name, f"left out for {whom}", value, "leaving it out"))


def by_prompts(
    run: Path,
    source: str,
    out: Path,
    *,
    prompt: str | None,
    objects: str | None,
    json: bool,
    **options: Any,
) -> Finished:
    """Prompt for every object, or for every box where there are no masks."""
    from penumbra.evaluation.of_prompts import evaluate_promptable

    given: dict[str, Any] = {} if objects is None else {"objects": objects}
    kinds = [part.strip() for part in prompt.split(",")] if prompt else None
    found = evaluate_promptable(
        run, source, out, kinds=kinds, command=command_line(), created=now(), progress=track,
        **given, **options,
    )  # fmt: skip
    if found.prompted is None:
        measured: list[Any] = list(found.weak.values())
        rows = [(kind, scores.overall, _BY_BOXES) for kind, scores in found.weak.items()]
        groups = measured[0].n_groups
        images, findings = measured[0].n_images, measured[0].findings
    else:
        scores = found.prompted
        rows = [(kind, scores.overall[kind], _BY_MASKS) for kind in scores.kinds]
        images, groups = len(scores.of_kind(scores.kinds[0])), len(scores.groups)
        findings = scores.findings
    lines = [
        f"{counted(images, 'image')} of {counted(groups, 'group')}, prompted in "
        f"{counted(len(rows), 'way')}:"
    ]
    lines += [f"  {kind:<13} {_figures(overall, names)}" for kind, overall, names in rows]
    return _finished(found.document, findings, lines, groups=groups, out=out, json=json)


def by_boxes(run: Path, source: str, out: Path, *, json: bool, **options: Any) -> Finished:
    """Measure the masks of a run by boxes."""
    from penumbra.evaluation.of_boxes import evaluate_run_on_boxes

    scores, document = evaluate_run_on_boxes(
        run, source, out, command=command_line(), created=now(), progress=track, **options
    )
    known = sum(image.n_boxes > 0 for image in scores.images)
    lines = [
        f"{counted(scores.n_images, 'image')} of {counted(scores.n_groups, 'group')}, {known} of "
        "them with boxes and none with a mask:",
        f"  {_figures(scores.overall, _BY_BOXES)}.",
    ]
    return _finished(document, scores.findings, lines, groups=scores.n_groups, out=out, json=json)


def _finished(
    document: dict[str, Any],
    findings: Iterable[Any],
    lines: list[str],
    *,
    groups: int,
    out: Path,
    json: bool,
) -> Finished:
    found = list(findings)
    if not json:
        say_findings(found)
    note_few_groups(groups)
    failed = any(finding.severity == "error" for finding in found)
    return Finished(
        document | {"out": str(out), "report": str(out / "report.html")},
        [*lines, f"The report is {out / 'report.html'}, the numbers lie beside it."],
        code=1 if failed else 0,
    )


def _figures(overall: Mapping[str, Any], names: Mapping[str, str]) -> str:
    told = {label: figure(overall[key]) for key, label in names.items()}
    return ", ".join(f"{label} {text}" for label, text in told.items() if text != "–")
