"""`penumbra export`: one whole model of a run, for programs that know nothing of Penumbra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penumbra.cli.segment import Offline
from penumbra.cli.session import Finished, Json, Uncalibrated, command, verb


@verb
def export(
    run: Annotated[Path, typer.Argument(help="A run: a network, or a tuned promptable model.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Of a network a new FILE.pt2 or FILE.onnx; of a promptable model a new or empty "
            "folder for transformers, or a new FILE.pth.",
        ),
    ],
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=16,
            max=4096,
            help="Side of the images, for a network whose sizes cannot be free; by default that "
            "of the run's tiles.",
        ),
    ] = None,
    uncalibrated: Uncalibrated = False,
    offline: Offline = False,
    json: Json = False,
) -> Finished:
    """Write a run as one whole model, for programs that know nothing of Penumbra.

    Of a network: FILE.pt2 (torch.export) or FILE.onnx (extra [export]), from normalised images to
    calibrated probabilities, compared with the network before it is kept, and FILE.pt2.json or
    FILE.onnx.json, which says how images are prepared.

    Of a tuned promptable model: what was tuned merged into its weights. A folder is what
    transformers loads by from_pretrained; a .pth file has the names that Meta's own code loads.
    Filters of a run are no part of either.
    """
    del json
    from penumbra.promptable.tuning.stored import is_tuned_run

    if not is_tuned_run(run):
        return _network(run, out, size=size, calibrated=not uncalibrated)
    if size is not None or uncalibrated:
        from penumbra.errors import SettingsError, expected

        raise SettingsError(
            expected("--size and --uncalibrated", "for networks alone", "a promptable model",
                     "leaving them out")
        )  # fmt: skip
    return _promptable(run, out, offline=offline)


def _network(run: Path, out: Path, *, size: int | None, calibrated: bool) -> Finished:
    from penumbra.inference.exported.export import export_network

    record = export_network(run, out, calibrated=calibrated, size=size)
    sizes = record.sizes
    if sizes.fixed is not None:
        takes = f"{'one image' if sizes.batch else 'images'} of {sizes.fixed}×{sizes.fixed}"
    elif sizes.multiple > 1:
        takes = f"images whose sides are multiples of {sizes.multiple}, from {sizes.smallest}"
    else:
        takes = f"images of any size from {sizes.smallest}"
    return Finished(
        {"run": str(run), "out": str(out), "sidecar": str(record.sidecar), **record.to_json()},
        [
            f"{out} takes {takes}; its probabilities are at most {record.difference:.1g} off.",
            *(f"Not in it: {sentence[0].lower()}{sentence[1:]}" for sentence in record.left_out),
            f"Next: {record.sidecar} says how images are prepared; "
            f"{command('predict', run, 'IMAGE')} is what to compare with",
        ],
    )


def _promptable(run: Path, out: Path, *, offline: bool) -> Finished:
    from penumbra.imaging.filters import FilterChain
    from penumbra.models.storage import read_model_json
    from penumbra.promptable.tuning.merge import merge

    written = merge(run, out, offline=offline)
    document = read_model_json(run)
    filters = FilterChain.parse(document.get("filters", []))
    form = "file" if written.is_file() else "folder"
    small = document["base"]["family"] == "small"
    reader = "for Penumbra; transformers does not know it." if small else "for transformers."
    lines = [
        f"{run} is one whole model in {written}, "
        + ("under the names of Meta." if form == "file" else reader),
    ]
    if filters:
        lines.append(f"Apply its filters to the images yourself: {filters.label}.")
    lines.append(f"Next: {command('segment', 'IMAGE', '--model', written)} and a --box or --point")
    return Finished(
        {
            "run": str(run),
            "out": str(written),
            "form": "meta" if form == "file" else "transformers",
            "base": document["base"],
            "filters": filters.model_dump(mode="json"),
        },
        lines,
    )
