"""`penumbra submit`: a challenge's table of run lengths, and back to masks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penumbra.cli.evaluate import SplitName
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
    say_findings,
    track,
    verb,
)

if TYPE_CHECKING:
    from penumbra.data.source import Source
    from penumbra.inference.submit import NamedImage


@verb
def submit(
    run: Annotated[
        Path,
        typer.Argument(help="A run folder or classical:NAME; with --to-masks a submission.csv."),
    ],
    source: Annotated[
        str | None,
        typer.Argument(help="LAYOUT:PATH, a path, a manifest, or a bare folder of images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The table to write; submission.csv.")
    ] = None,
    to_masks: Annotated[
        Path | None, typer.Option("--to-masks", help="Draw a table's masks into this folder.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="--to-masks without SOURCE: WIDTHxHEIGHT; 580x420."),
    ] = None,
    split: Annotated[
        SplitName, typer.Option("--split", help="Which samples; a bare folder has no splits.")
    ] = SplitName.all,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Least foreground probability of the mask.")
    ] = 0.5,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    sampler: SamplerText = None,
    member: Members = None,
    symmetry: Symmetry = None,
    uncalibrated: Uncalibrated = False,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Segment images into img,pixels: run lengths down the columns, pixels numbered from 1.

    An image that cannot be read, or gives NaN, is a finding, its cell is empty, and the exit status
    is 1. A classical method is told what is foreground: classical:otsu,foreground=bright. With
    --to-masks a table becomes NAME_mask.png again; sizes are those of SOURCE's images, or --size.
    """
    from penumbra.errors import SettingsError, expected

    if to_masks is not None:
        if out is not None:
            raise SettingsError(expected("--out", "left out with --to-masks", out, "--to-masks"))
        _refuse_split(split, "--to-masks, since the table says which images")
        return _masks(run, source, to_masks, size)
    if source is None or size is not None:
        got = "none" if source is None else f"--size {size}"
        raise SettingsError(
            expected("`submit`", "given RUN SOURCE --out FILE, or FILE --to-masks FOLDER", got,
                     "`penumbra submit --help`")
        )  # fmt: skip
    options = predictor_options(sampler, member, symmetry, uncalibrated)
    options |= {"threshold": threshold, "device": device}
    table = Path("submission.csv") if out is None else out
    return _table(run, source, table, split, seed=seed, json=json, options=options)


def _table(
    run: Path,
    source: str,
    out: Path,
    split: SplitName,
    *,
    seed: int,
    json: bool,
    options: dict[str, Any],
) -> Finished:
    from penumbra.inference.contract import load_predictor
    from penumbra.inference.submit import submit as write

    predictor = load_predictor(run, **options)
    note_threshold(run, predictor.threshold, uncalibrated=not options["calibration"])
    images = _images(source, split, run=run)
    done = write(predictor, images, out, seed=seed, progress=track)
    if not json:
        say_findings(done.findings)
    lines = [f"{done.rows} rows in {out}, {done.empty} of them empty."]
    if len(done.sizes) > 1:
        lines.append(
            f"The images are of {len(done.sizes)} sizes; back to masks needs SOURCE again."
        )
    document: dict[str, Any] = {"run": str(run), "source": source, "out": str(out)}
    document["split"] = split.value
    document |= {"rows": done.rows, "empty": done.empty, "threshold": predictor.threshold}
    document["sizes"] = [list(size) for size in sorted(done.sizes)]
    document["findings"] = [finding.to_json() for finding in done.findings]
    return Finished(document, lines, code=1 if done.findings else 0)


def _refuse_split(split: SplitName, why: str) -> None:
    """Refuse a choice of samples that would be without effect."""
    from penumbra.errors import SettingsError, expected

    if split is not SplitName.all:
        raise SettingsError(
            expected("--split", f"left out with {why}", split.value, "leaving it out")
        )


def _masks(table: Path, source: str | None, out: Path, size: str | None) -> Finished:
    from penumbra.data.submission import KAGGLE_SIZE, read_submission
    from penumbra.data.submission_masks import parse_size, write_masks
    from penumbra.errors import SettingsError, SourceError, expected
    from penumbra.pages.words import count

    if source is not None and size is not None:
        raise SettingsError(expected("--size", "left out where SOURCE is given", size, "SOURCE"))
    submission = read_submission(table, size=parse_size(size) if size else KAGGLE_SIZE)
    size_of = None
    if source is not None:
        images = {image.name: image.read for image in _images(source, SplitName.all)}

        def size_of(name: str) -> tuple[int, int]:
            if name not in images:
                raise SourceError(
                    expected(f"the image of row {name}", f"in {source}", "none", "its own SOURCE")
                )
            height, width = images[name]().shape[:2]
            return height, width

    written, findings = write_masks(submission, out, size_of=size_of, progress=track)
    say_findings(findings)
    document: dict[str, Any] = {"table": str(table), "out": str(out), "masks": written}
    document["findings"] = [finding.to_json() for finding in findings]
    lines = [f"{written} of {count(len(submission), 'mask')} are in {out}, as NAME_mask.png."]
    if source is None:
        height, width = submission.size
        why = "of --size" if size else "the challenge's; --size or SOURCE says another"
        lines.append(f"They are {width}×{height} pixels, {why}.")
        document["size"] = [height, width]
    return Finished(document, lines, code=1 if findings else 0)


def _images(source: str, split: SplitName, *, run: Path | None = None) -> list[NamedImage]:
    """List the images of a source, or of a bare folder, whose files' stems are the names."""
    from penumbra.data.layouts.base import in_natural_order
    from penumbra.imaging.files import looks_like_image, read_image
    from penumbra.inference.submit import NamedImage

    if _is_bare(Path(source)):
        _refuse_split(split, f"{source}, a bare folder of images, which has no splits")
        files = in_natural_order(p for p in Path(source).iterdir() if looks_like_image(p))
        return [NamedImage(file.stem, functools.partial(read_image, file)) for file in files]
    opened = _opened(source, split, run)
    return [
        NamedImage(record.id, functools.partial(opened.read_image, record.image))
        for record in opened.records
    ]


def _opened(source: str, split: SplitName, run: Path | None) -> Source:
    """Open the samples of a split: that of the manifest, of the run, or `train`'s by default."""
    from penumbra.data.layouts import open_source
    from penumbra.data.split import select
    from penumbra.inference.classical.catalogue import is_classical

    if run is not None and not is_classical(run):
        from penumbra.training.run import Run
        from penumbra.training.samples import open_for_run

        return open_for_run(Run(run), source, split=split.value, with_masks=False)
    if run is None or split is SplitName.all:
        return open_source(source)
    from penumbra.training.experiment import SplitSettings
    from penumbra.training.plan import open_split_source

    return select(*open_split_source(source, split=SplitSettings()), split.value)


def _is_bare(folder: Path) -> bool:
    """Tell whether a folder holds images and is of no layout, as a challenge's test/ is."""
    from penumbra.data.layouts.catalogue import look_up
    from penumbra.errors import SourceError
    from penumbra.imaging.files import looks_like_image

    if not folder.is_dir() or not any(looks_like_image(path) for path in folder.iterdir()):
        return False
    try:
        look_up(folder)
    except SourceError:
        return True
    return False
