"""`penumbra evaluate`: metrics and a report for a run on a source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from penumbra.cli.session import (
    Finished,
    Json,
    Members,
    SamplerText,
    Seed,
    Symmetry,
    Target,
    Uncalibrated,
    command_line,
    counted,
    note_few_groups,
    note_threshold,
    now,
    predictor_options,
    say,
    say_findings,
    track,
    verb,
)


class SplitName(StrEnum):
    """Which samples."""

    train = "train"
    val = "val"
    test = "test"
    all = "all"


class Empty(StrEnum):
    """What a score of nothing over nothing is."""

    one = "one"
    nan = "nan"
    skip = "skip"


@verb
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, sam:NAME or classical:NAME.")],
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path or a manifest.")],
    out: Annotated[Path, typer.Option("--out", help="Where the results go.")],
    split: Annotated[SplitName, typer.Option("--split", help="Which samples.")] = SplitName.test,
    target: Target = None,
    empty: Annotated[
        Empty, typer.Option("--empty", help="Dice of an empty prediction of an empty mask.")
    ] = Empty.one,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Least foreground probability of the mask.")
    ] = 0.5,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    shift: Annotated[
        str | None,
        typer.Option(
            "--shift", help="Also under corruptions: all, or a list such as blur,contrast:3."
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            help="Promptable models: box, jittered-box, point1, point3 …, comma-separated.",
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option("--objects", help="Promptable models: components (default) or class."),
    ] = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", help="A PNG of good and missed frames to write."),
    ] = None,
    overlays: Annotated[
        Path | None, typer.Option("--overlays", help="A folder for the overlay of every image.")
    ] = None,
    sampler: SamplerText = None,
    member: Members = None,
    symmetry: Symmetry = None,
    uncalibrated: Uncalibrated = False,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Measure a run: metrics.json, per_image.csv and report.html, intervals over groups.

    For a manifest its own splits count; for any other source those of the run, so that what was
    trained on is never called a test. A promptable model (a tuned run, or sam:NAME) is prompted
    for every object. Where a source has boxes and no masks, masks are measured by the boxes.
    classical:otsu, adaptive, watershed, walker, chan-vese and grabcut need no training; whether
    their foreground is bright or dark comes from training samples, or from
    classical:otsu,foreground=dark.
    """
    from penumbra.cli import evaluate_otherwise
    from penumbra.evaluation.shift import parse_shifts

    shifts = () if shift is None else parse_shifts(shift)
    asked = {"--prompt": prompt, "--objects": objects}
    drawn = {"--contact-sheet": contact_sheet, "--overlays": overlays}
    passes = {
        "--shift": shift, "--sampler": sampler, "--member": member, "--symmetry": symmetry,
    }  # fmt: skip
    about: dict[str, Any] = {"split": split.value, "target": target, "seed": seed, "json": json}
    if evaluate_otherwise.needs_prompts(run):
        evaluate_otherwise.refuse(passes | drawn, "a promptable model")
        return evaluate_otherwise.by_prompts(
            run, source, out, prompt=prompt, objects=objects, device=device, **about
        )
    evaluate_otherwise.refuse(asked, "a run that needs no prompt")
    options = predictor_options(sampler, member, symmetry, uncalibrated)
    options |= {"threshold": threshold, "device": device}
    note_threshold(run, threshold, uncalibrated=uncalibrated)
    if evaluate_otherwise.needs_no_training(run):
        passes.pop("--shift")
        evaluate_otherwise.refuse(passes | {"--uncalibrated": uncalibrated}, "a classical method")
    elif evaluate_otherwise.meets_boxes(run, source, split=split.value, target=target):
        evaluate_otherwise.refuse({"--shift": shift, **drawn}, "a source with boxes and no masks")
        return evaluate_otherwise.by_boxes(run, source, out, **about, **options)
    from penumbra.evaluation.of_run import evaluate_run

    shared: dict[str, Any] = {
        "empty": empty.value,
        "seed": seed,
        "command": command_line(),
        "created": now(),
        "progress": track,
        **options,
    }
    scored = evaluate_run(
        run, source, out, split=split.value, target=target, contact_sheet=contact_sheet,
        overlays=overlays, **shared,
    )  # fmt: skip
    evaluation = scored.evaluation
    if not json:
        say_findings(evaluation.findings)
    fitted_on = (scored.document["calibrated_on"] or {}).get("split")
    if fitted_on is not None and (fitted_on == split.value or "all" in (fitted_on, split.value)):
        say("note: the calibration was fitted on some of these samples, so it looks too good here.")
    note_few_groups(evaluation.n_groups)
    overall = evaluation.overall
    figures = ", ".join(
        f"{label} {figure(overall.get(key))}"
        for key, label in (("dice", "Dice"), ("iou", "IoU"), ("boundary_f1", "boundary F1"),
                           ("ece", "ECE"))
    )  # fmt: skip
    document = scored.document | {"out": str(out), "report": str(out / "report.html")}
    unusable = sum(finding.severity == "error" for finding in evaluation.findings)
    lines = presence_lines(evaluation.sections.get("presence", {}))
    lines += [f"The contact sheet is {contact_sheet}."] if contact_sheet else []
    if shifts:
        from penumbra.evaluation.shift.cells import evaluate_shifts

        cells = evaluate_shifts(
            scored.document["run"],
            scored.source,
            shifts,
            out,
            split=split.value,
            clean=evaluation,
            **shared,
        )
        document["shift"] = [cell.to_json() for cell in cells]
        unusable += sum(cell.unusable for cell in cells[1:])
        lines += [*shift_lines(cells), f"Each shift has its report in {out / 'shift'}."]
    return Finished(
        document,
        (
            f"{counted(evaluation.n_images, 'image')} of "
            f"{counted(evaluation.n_groups, 'group')}: {figures}.",
            f"The report is {out / 'report.html'}, the numbers are {out / 'metrics.json'}.",
            *lines,
        ),
        code=1 if unusable else 0,
    )


def presence_lines(presence: Mapping[str, Any]) -> list[str]:
    """Say what became of images that show nothing, where there are some."""
    from penumbra.evaluation.report.presence import sentence

    counted = [found["table"]["truth_absent"] for found in presence.values()]
    if len(counted) != 1 or not sum(counted[0].values()):
        return []
    return [sentence(presence)]


def shift_lines(cells: Iterable[Any]) -> list[str]:
    """Write one line per cell of the table of shifts."""
    return [
        f"  {cell.name:<13} "
        + ", ".join(
            f"{label} {figure(cell.figures.get(key))}"
            for key, label in (("dice", "Dice"), ("nll", "NLL"), ("ece", "ECE"),
                               ("image_aurc", "image AURC"))
            if key in cell.figures
        )
        for cell in cells
    ]  # fmt: skip


def figure(interval: Any) -> str:
    """Write a figure with its interval: 0.912 (0.897–0.925)."""
    if interval is None or not _known(interval["mean"]):
        return "–"
    # Adding zero turns a −0.000 into 0.000.
    text = f"{round(interval['mean'], 3) + 0.0:.3f}"
    low, high = interval.get("low"), interval.get("high")
    return f"{text} ({low:.3f}–{high:.3f})" if _known(low) and _known(high) else text


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
