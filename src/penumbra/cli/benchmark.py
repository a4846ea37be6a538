"""`penumbra benchmark`: several runs on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penumbra.cli.evaluate import SplitName, figure
from penumbra.cli.session import Finished, Json, Seed, Target, say, say_findings, track, verb

if TYPE_CHECKING:
    from penumbra.data.sample import Finding
    from penumbra.evaluation.benchmark import Comparison

_SHOWN = (
    ("dice", "Dice"),
    ("iou", "IoU"),
    ("boundary_f1", "boundary F1"),
    ("hd95", "HD95 (px)"),
    ("nll", "NLL"),
    ("ece", "ECE"),
)
_MOST = 10
_THRESHOLD = 0.9


@verb
def benchmark(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path or a manifest.")],
    run: Annotated[
        list[Path], typer.Option("--run", help="A run folder or classical:NAME; give several.")
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="List images whose IoU is below this (0.9 by default); where given, an average "
            "below it ends with status 1.",
        ),
    ] = None,
    split: Annotated[SplitName, typer.Option("--split", help="Which samples.")] = SplitName.test,
    target: Target = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write benchmark.json.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Compare runs: metrics side by side, the average IoU, and the images under a threshold.

    Differences are paired over groups, against the first run.
    """
    from penumbra.errors import SettingsError, expected
    from penumbra.evaluation.benchmark import check_threshold, compare
    from penumbra.evaluation.of_baseline import open_baseline
    from penumbra.evaluation.of_run import open_for_run, score_run
    from penumbra.inference.classical.catalogue import is_classical
    from penumbra.inference.contract import ImagePredictor, load_predictor
    from penumbra.storage import write_json
    from penumbra.training.run import Run

    check_threshold(_THRESHOLD if threshold is None else threshold)
    if len({folder.resolve() for folder in run}) < len(run):
        raise SettingsError(
            expected("every --run", "another folder", "one that is given twice", "each run once")
        )

    trained = [Run(folder) for folder in run if not is_classical(folder)]
    classes = {tuple(one.model_json()["class_names"]) for one in trained}
    if len(classes) > 1:
        got = "; ".join(", ".join(names) for names in sorted(classes))
        raise SettingsError(expected("the runs", "for the same classes", got, "runs of one kind"))
    evaluations = {}
    findings: list[Finding] = []
    for name, folder in zip(_names(run), run, strict=True):
        say(f"scoring {name}")
        predictor: ImagePredictor
        if is_classical(folder):
            # The samples of the first run with a network, so that the differences are paired.
            predictor, samples = open_baseline(
                folder, source, split=split.value, target=target, like=next(iter(trained), None)
            )
        else:
            predictor = load_predictor(folder)
            samples = open_for_run(Run(folder), source, split=split.value, target=target)
        scored = score_run(
            Run(folder),
            samples,
            split=split.value,
            predictor=predictor,
            seed=seed,
            progress=track,
        )
        evaluations[name] = scored.evaluation
        findings += scored.evaluation.findings
    comparison = compare(
        evaluations, threshold=_THRESHOLD if threshold is None else threshold, seed=seed
    )
    short = _short(comparison) if threshold is not None else []
    document = {"source": source, "split": split.value, **comparison.to_json()}
    document["average_falls_short"] = short
    # Runs share their samples, and so what was found about them.
    findings = list(dict.fromkeys([*findings, *comparison.findings]))
    document["findings"] = findings
    if not json:
        say_findings(findings)
    if out is not None:
        write_json(out / "benchmark.json", document)
    unusable = any(finding.severity == "error" for finding in findings)
    for name in short:
        say(f"the average IoU of {name} falls short of {comparison.threshold:g}")
    return Finished(document, _lines(comparison), code=1 if unusable or short else 0)


def _short(comparison: Comparison) -> list[str]:
    """Name the runs whose average IoU is under the threshold; one without an average is."""
    reached = (run for run in comparison.runs if run.average_iou >= comparison.threshold)
    names = {run.name for run in reached}
    return [run.name for run in comparison.runs if run.name not in names]


def _lines(comparison: Comparison) -> list[str]:
    """Lay the comparison out as a table of plain text, then the images under the threshold."""
    from penumbra.pages.words import count

    names = [result.name for result in comparison.runs]
    rows = [["", *names]]
    for metric, label in _SHOWN:
        rows.append([label, *(figure(result.overall.get(metric)) for result in comparison.runs)])
    rows.append(["average IoU", *(f"{result.average_iou:.3f}" for result in comparison.runs)])
    # The first run is what the others are compared with.
    for metric, label in _SHOWN[:2] if len(names) > 1 else ():
        differences = [figure(result.difference.get(metric)) for result in comparison.runs]
        rows.append([f"{label} − {names[0]}", *differences])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for result in comparison.runs:
        under = result.under_threshold
        lines.append("")
        lines.append(
            f"{result.name}: {len(under)} of {count(result.n_images, 'image')} under IoU "
            f"{comparison.threshold:g}" + (", worst first:" if under else ".")
        )
        lines += [f"  {image.iou:.3f}  {image.id}" for image in under[:_MOST]]
        if len(under) > _MOST:
            lines.append(f"  … and {len(under) - _MOST} more (--json lists all)")
    return lines


def _names(runs: list[Path]) -> list[str]:
    names = [folder.resolve().name for folder in runs]
    if len(set(names)) == len(names):
        return names
    return [str(folder) for folder in runs]
