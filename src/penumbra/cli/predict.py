"""`penumbra predict`: masks, probabilities and doubt for images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penumbra.cli.images import image_files, own_stems
from penumbra.cli.rectifying import (
    AllCards,
    AssumeSides,
    CropSize,
    Orient,
    QualityLimit,
    Rectify,
    further,
    refusals,
)
from penumbra.cli.session import (
    Finished,
    Json,
    Members,
    SamplerText,
    Seed,
    Symmetry,
    Uncalibrated,
    note_threshold,
    predictor_options,
    say,
    track,
    verb,
)

if TYPE_CHECKING:
    from penumbra.cli.rectifying import Cropper
    from penumbra.inference.contract import ImagePredictor


@verb
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or classical:NAME.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="Where the results go.")] = Path("predictions"),
    threshold: Annotated[
        float, typer.Option("--threshold", help="Least foreground probability of the mask.")
    ] = 0.5,
    precision: Annotated[
        str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")
    ] = "auto",
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    sampler: SamplerText = None,
    member: Members = None,
    symmetry: Symmetry = None,
    uncalibrated: Uncalibrated = False,
    keep: Annotated[
        int,
        typer.Option("--keep-samples", min=0, help="Passes to write whole, as a 16-bit TIFF."),
    ] = 0,
    rectify: Rectify = False,
    size: CropSize = None,
    all_cards: AllCards = False,
    assume_sides: AssumeSides = False,
    orient: Orient = None,
    quality: QualityLimit = None,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Segment images: STEM_mask, _probability, _uncertainty, _overlay, _heatmap and STEM.json.

    With --rectify also STEM_card.png and its uncertainty: the card's straight crop, or a finding
    that says why there is none.

    A file that cannot be read, or whose name is too long for its results, is a finding; the others
    complete, and the exit status is 1.
    """
    from penumbra.cli.rectifying import cropper
    from penumbra.documents.write import check_card_stems
    from penumbra.errors import (
        FileNameError,
        ImageFileError,
        NotFiniteError,
        SettingsError,
        expected,
    )
    from penumbra.inference.contract import load_predictor

    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise SettingsError(expected("--precision", "auto, fp32, bf16 or fp16", precision, "auto"))
    options = predictor_options(sampler, member, symmetry, uncalibrated)
    predictor = load_predictor(
        run, threshold=threshold, precision=precision, device=device, **options
    )
    crop = cropper(
        rectify, size=size, every=all_cards, assume=assume_sides, orient=orient, limit=quality,
        threshold=threshold, device=device,
    )  # fmt: skip
    files, findings = image_files(images, out)
    stems = own_stems(files)
    if crop is not None:
        check_card_stems(stems)
    results: list[dict[str, Any]] = []
    learned = predictor.calibration
    withheld = None if learned is None else learned.withheld(predictor.sampler)
    note_threshold(run, threshold, uncalibrated=uncalibrated)
    for note in _notes(predictor, withheld, keep):
        say(f"note: {note}")
    for finding in findings:
        say(f"error: {finding['message']}")
    for file, stem in track(list(zip(files, stems, strict=True)), total=len(files), what="predict"):
        try:
            results.append(_one(predictor, file, stem, out, crop, run=run, seed=seed, keep=keep))
            cards = results[-1]["details"].get("cards", [])
            if more := further(cards, file):
                say(f"note: {more}")
            refused = refusals(cards, file)
            findings += refused
            for finding in refused:
                say(f"refused: {finding['message']}")
        except (ImageFileError, FileNameError, NotFiniteError) as error:
            kinds = {ImageFileError: "unreadable", NotFiniteError: "not-finite"}
            kind = kinds.get(type(error), "unwritable")
            # What a network gives does not know of which file it is.
            message = f"{file}: {error}" if isinstance(error, NotFiniteError) else str(error)
            findings.append({"kind": kind, "image": str(file), "message": message})
            say(f"error: {message}")
    document: dict[str, Any] = {"run": str(run), "out": str(out), "predictions": results}
    document |= {"findings": findings, "withheld": withheld}
    return Finished(document, _lines(results, len(files), out), code=1 if findings else 0)


def _notes(predictor: ImagePredictor, withheld: str | None, keep: int) -> Iterator[str]:
    """Say what a user may expect and will not get."""
    if withheld is not None:
        yield withheld
    made = predictor.n_samples
    if keep > made or (keep and made == 1):
        kept = "all are kept" if made > 1 else "that is in STEM_probability already"
        yield f"{predictor.sampler} makes {made} pass{'es' if made > 1 else ''}; {kept}."


def _lines(results: list[dict[str, Any]], files: int, out: Path) -> list[str]:
    from penumbra.pages.words import count

    lines = [f"{len(results)} of {count(files, 'image')} segmented into {out}."]
    if any(result["flagged"] is not None for result in results):
        flagged = sum(bool(result["flagged"]) for result in results)
        lines[0] = f"{lines[0][:-1]}; {flagged} of them ask to be looked at."
    made = [_crops(result) for result in results if "cards" in result["details"]]
    if made:
        within = sum(map(bool, made))
        lines += [f"{count(sum(made), 'crop')} of cards in {within} of them."]
    if len(results) > 1:
        doubt = max(results, key=lambda result: result["mean_uncertainty"])
        lines += [f"Look first at {doubt['overlay']}: the mean doubt is highest there."]
    return lines


def _crops(result: dict[str, Any]) -> int:
    return sum(not card["refused"] for card in result["details"]["cards"])


def _one(
    predictor: ImagePredictor,
    file: Path,
    stem: str,
    out: Path,
    crop: Cropper | None,
    *,
    run: Path,
    seed: int,
    keep: int,
) -> dict[str, Any]:
    from penumbra.imaging.files import read_image
    from penumbra.inference.outputs import write_prediction

    image = read_image(file)
    prediction = predictor([image], seed=seed, keep_samples=keep)[0]
    facts: dict[str, Any] = {
        "image": str(file),
        "run": str(run),
        "precision": predictor.precision,
    }
    facts |= {"threshold": predictor.threshold, "platform": sys.platform}
    facts |= {"cost": str(predictor.cost)}
    if crop is not None:
        facts["cards"] = crop(image, prediction, out, stem)
    written = write_prediction(out, stem, image, prediction, extra=facts)
    return {
        "image": str(file),
        "json": str(out / f"{stem}.json"),
        "overlay": str(out / f"{stem}_overlay.png"),
        "mean_uncertainty": float(prediction.uncertainty["entropy"].mean()),
        "flagged": prediction.flagged,
        "details": written,
    }
