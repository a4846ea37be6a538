"""`penumbra segment`: masks of what boxes, points or a mask ask for, or of everything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penumbra.cli.images import image_files
from penumbra.cli.prompts import Asked, chain_of
from penumbra.cli.segmenting import EveryRegion, One, WhatIsAsked, each, why_nothing
from penumbra.cli.session import Finished, Json, Seed, command, counted, verb

if TYPE_CHECKING:
    from penumbra.imaging.filters import FilterChain
    from penumbra.promptable.ask import Asking

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="small, a name on the Hugging Face hub, a folder, a .pth file of Segment Anything, "
        "or a run that `penumbra train --model sam:…` tuned.",
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="clahe, or 'sobel: {mode: blend, weight: 0.3}'; several are applied in order.",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never reach for the network.")]
EncoderPrecision = Annotated[
    str, typer.Option("--precision", help="Of the encoder: auto, fp32 or bf16.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]


@verb
def segment(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    box: Annotated[
        list[str] | None,
        typer.Option("--box", help="x0,y0,x1,y1 in pixels; one object each, may be repeated."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            "--point", help="x,y,+ on the one object or x,y,- beside it; may be repeated."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="A rough mask of the object, as large as the image."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Ask at a grid of points and keep what is sure.")
    ] = False,
    model: ModelName = "small",
    out: Annotated[Path, typer.Option("--out", help="Where the results go.")] = Path("segments"),
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=0, help="Jittered versions of each prompt, to see the doubt."
        ),
    ] = 0,
    keep: Annotated[
        int,
        typer.Option("--keep-samples", min=0, help="Versions to write whole, as a 16-bit TIFF."),
    ] = 0,
    filters: Filters = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", min=16, help="Side in pixels of tiles, for small things in large images."
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option("--embeddings", help="A folder that keeps embeddings for the next call."),
    ] = None,
    points_per_side: Annotated[
        int, typer.Option("--points-per-side", min=1, help="Of the grid of --everything.")
    ] = 32,
    crop_layers: Annotated[
        int,
        typer.Option("--crop-layers", min=0, help="Closer looks of --everything, 4 times each."),
    ] = 0,
    least_iou: Annotated[
        float | None,
        typer.Option("--least-iou", help="Predicted IoU that --everything keeps: 0.88; small 0.5."),
    ] = None,
    least_stability: Annotated[
        float | None,
        typer.Option(
            "--least-stability", help="Stability that --everything keeps: 0.95; small 0.6."
        ),
    ] = None,
    least_area: Annotated[
        int, typer.Option("--least-area", min=0, help="Smaller holes and islands go, in pixels.")
    ] = 32,
    precision: EncoderPrecision = "auto",
    device: Device = "auto",
    offline: Offline = False,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Segment what is asked for: STEM_mask, _probability, _uncertainty, _overlay, _heatmap, .json.

    All points are about one object; each box is an object of its own. --everything writes
    STEM_mask, _labels, _overlay and STEM.json with every region. A file that cannot be read, or on
    which the prompts do not fit, is a finding; the others complete, and the exit status is 1.
    """
    asked = Asked.of(box, point, mask)
    chain = chain_of(filters)
    _check_asked(asked, chain, everything=everything, tile=tile, samples=samples)
    _check_kept(keep, samples)
    files, findings = image_files(images, out)
    asking = _asking(
        model, chain, precision=precision, device=device, offline=offline, embeddings=embeddings,
        tile=tile, samples=samples, seed=seed, keep=keep,
    )  # fmt: skip
    facts = {"model": model, "precision": asking.segmenter.precision, "platform": sys.platform}
    facts["weights"] = asking.segmenter.weights_digest
    one: One
    if everything:
        settings = _settings(
            points_per_side=points_per_side, crop_layers=crop_layers, least_iou=least_iou,
            least_stability=least_stability, least_area=least_area,
        )  # fmt: skip
        one = EveryRegion(
            asking, settings.suited_to(asking.segmenter.family), out, facts, alone=len(files) == 1
        )
    else:
        asking.check(asked.kinds)
        one = WhatIsAsked(asking, asked, out, facts)
    results = each(files, findings, one)
    document: dict[str, Any] = {"model": model, "out": str(out), "predictions": results}
    document |= {"findings": findings}
    lines = _lines(results, len(files), out, everything=everything, samples=samples)
    return Finished(document, lines, code=1 if findings else 0)


def _check_asked(
    asked: Asked, chain: FilterChain | None, *, everything: bool, tile: int | None, samples: int
) -> None:
    """Refuse what cannot be, before the seconds that a model takes to load."""
    from penumbra.errors import SettingsError, expected

    by_edges = chain is not None and chain.prompt is not None
    if everything and (asked or by_edges):
        raise SettingsError(
            expected("--everything", "alone", "prompts beside it", "either of them")
        )
    if everything and (tile is not None or samples):
        raise SettingsError(
            expected("--everything", "without --tile and --samples", "one of them",
                     "--crop-layers 1, which looks closer")
        )  # fmt: skip
    if not (everything or asked or by_edges):
        raise SettingsError(
            expected("a prompt", "given", "none",
                     "--box 40,30,200,180, --point 120,90,+, --mask FILE or --everything")
        )  # fmt: skip


def _check_kept(keep: int, samples: int) -> None:
    """Refuse to keep versions where none are made."""
    from penumbra.errors import SettingsError, expected

    if keep and samples < 2:
        raise SettingsError(
            expected("--keep-samples", "beside --samples of 2 or more, which makes the versions",
                     f"--samples {samples}", f"--samples {max(16, keep)}")
        )  # fmt: skip


def _settings(**chosen: Any) -> Any:
    from pydantic import ValidationError

    from penumbra.errors import SettingsError, expected
    from penumbra.promptable.everything import EverythingSettings

    try:
        return EverythingSettings(**chosen)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        raise SettingsError(
            expected(name, str(first["msg"])[len("Input should be ") :], first["input"],
                     "its default")
        ) from error  # fmt: skip


def _asking(
    model: str,
    chain: FilterChain | None,
    *,
    precision: str,
    device: str,
    offline: bool,
    embeddings: Path | None,
    **options: Any,
) -> Asking:
    """Load the model and say how it is asked."""
    from penumbra.promptable.ask import Asking
    from penumbra.promptable.cache import EmbeddingCache

    segmenter = load_segmenter(model, precision=precision, device=device, offline=offline)
    filters = segmenter.filters if chain is None else chain
    return Asking(segmenter, filters, cache=EmbeddingCache(embeddings), **options)


def load_segmenter(model: str, *, precision: str, device: str, offline: bool) -> Any:
    """Load a promptable model by the value of `--model`.

    Raises:
        SettingsError: the precision is none.
        MissingExtraError, ModelError: as `PromptableSegmenter.from_pretrained`.
    """
    from penumbra.errors import SettingsError, expected

    if precision not in ("auto", "fp32", "bf16"):
        raise SettingsError(expected("--precision", "auto, fp32 or bf16", precision, "auto"))
    from penumbra.promptable.segmenter import PromptableSegmenter

    _hush()
    spoken: Any = {"fp32": "float32", "bf16": "bfloat16"}.get(precision, "auto")
    # `train` calls the same model sam:NAME.
    return PromptableSegmenter.from_pretrained(
        model.removeprefix("sam:"), precision=spoken, device=device, offline=offline
    )


def _hush() -> None:
    """Keep the library's own progress bars out of what is said here."""
    from importlib.util import find_spec

    if find_spec("transformers") is not None:
        from transformers.utils import logging

        quiet: Callable[[], None] = logging.disable_progress_bar
        quiet()


def _lines(
    results: list[dict[str, Any]], files: int, out: Path, *, everything: bool, samples: int
) -> list[str]:
    count = sum(result["objects"] for result in results)
    what = ("region" if everything else "object") + ("" if count == 1 else "s")
    lines = [f"{len(results)} of {counted(files, 'image')} segmented into {out}: {count} {what}."]
    if not results:
        return lines
    if not count:
        return [*lines, why_nothing(results)]
    if samples > 1:
        look = max(results, key=lambda result: result["mean_uncertainty"])
        why = "the mean doubt is highest there"
    else:
        look = min(results, key=lambda result: result["predicted_iou"])
        why = f"the lowest predicted IoU, {look['predicted_iou']:.2f}, is there"
    lines.append(f"Look first at {look['overlay']}: {why}.")
    return [*lines, _next(look, everything=everything, samples=samples)]


def _next(look: dict[str, Any], *, everything: bool, samples: int) -> str:
    if everything:
        return "Next: " + command("segment", look["image"], "--point", "X,Y,+") + " for one thing."
    if samples <= 1:
        return "Next: the same with --samples 16, to see where the mask is in doubt."
    heat = look["overlay"].replace("_overlay.png", "_heatmap.png")
    return f"Next: {heat} shows where; a further --point there may settle it."
