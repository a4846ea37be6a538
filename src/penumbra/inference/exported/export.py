"""One file of a run's network, for programs that know nothing of Penumbra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from penumbra.errors import ModelError, SettingsError, StorageError, expected
from penumbra.inference.exported.forms import Form, form_of
from penumbra.inference.exported.mask_pass import MaskPass
from penumbra.inference.exported.parity import Compared, compare
from penumbra.inference.exported.record import ExportRecord, sidecar_of
from penumbra.inference.exported.tracing import Sizes, attempts, trace
from penumbra.inference.predictor import Predictor
from penumbra.models.presence import HEAD, head_of
from penumbra.models.storage import WEIGHTS_FILE, load_model
from penumbra.models.weights import digest_of
from penumbra.storage import atomic_path, check_writable, write_json


def export_network(
    run: Path | str, out: Path | str, *, calibrated: bool = True, size: int | None = None
) -> ExportRecord:
    """Write the network of a run as one file, and beside it a JSON that says how to use it.

    The file takes normalised images (N, C, H, W) float32 and gives the probabilities (N, C′, H, W)
    of the pass that makes masks: evaluation mode, no noise, scaled by the calibration's
    temperature. Number and size of the images are free where the network lets them be; sides
    divide by what the record says. The file is compared with the network before it is put in
    place, and is written whole or not at all.

    Args:
        run: the run folder.
        out: a new ``FILE.pt2`` (`torch.export`) or ``FILE.onnx`` (extra ``[export]``).
        calibrated: whether the calibration's temperature becomes part of the file.
        size: side of the images where the network's sizes cannot be free; by default that of the
            run's tiles.

    Returns:
        What ``FILE.json`` holds.

    Raises:
        SettingsError: the suffix is another, or `size` is below 16.
        StorageError: the file or its JSON exists, or the folder cannot be written.
        MissingExtraError: an ``.onnx`` file without the extra ``[export]``.
        RunError: the run is missing, incomplete, damaged, or one of a promptable model.
        ParityError: the file does not say what the network says; nothing was written.
        ModelError: the network cannot be traced, or not be written in this form.
    """
    run, out = Path(run), Path(out)
    form = form_of(out)
    _check(out, size)
    form.check()
    predictor = Predictor.load(
        run, calibration=calibrated, sampler="deterministic", device="cpu", precision="fp32"
    )
    network, document = load_model(run)
    if head_of(network) is not None:
        delattr(network, HEAD)
    network.requires_grad_(requires_grad=False)
    written = _write(form, out, network=network, predictor=predictor, size=size)
    record = ExportRecord(
        file=out,
        sha256=digest_of(out),
        weights=digest_of(run / WEIGHTS_FILE),
        architecture=str(document["architecture"]),
        class_names=predictor.class_names,
        preprocess=predictor.preprocess,
        sizes=written.sizes,
        threshold=predictor.threshold,
        temperature=predictor.calibration.temperature if predictor.calibration else None,
        left_out=tuple(_left_out(predictor, written)),
        compared=written.compared,
        written_by=written.notes,
    )
    write_json(record.sidecar, record.to_json())
    return record


@dataclass(frozen=True)
class _Written:
    sizes: Sizes
    compared: tuple[Compared, ...]
    notes: dict[str, Any]
    narrowed: str = ""


def _check(out: Path, size: int | None) -> None:
    if size is not None and not 16 <= size <= 4096:
        raise SettingsError(expected("`size`", "from 16 to 4096", size, "256"))
    for path in (out, sidecar_of(out)):
        if os.path.lexists(path):
            raise StorageError(
                expected(str(path), "a new file", "one that exists", "another --out, or removing "
                         "it yourself")
            )  # fmt: skip
    check_writable(out.parent)


def _write(
    form: Form, out: Path, *, network: nn.Module, predictor: Predictor, size: int | None
) -> _Written:
    """Write the freest file that says what the network says.

    Raises:
        ModelError: there is none; the last reason.
    """
    preprocess, learned = predictor.preprocess, predictor.calibration
    channels = preprocess.channels
    module = MaskPass(
        network, temperature=learned.temperature if learned else None, channels=channels
    ).eval()
    side = size or preprocess.size
    failure: ModelError | None = None
    for sizes in attempts(module.multiple, side):
        try:
            program = trace(module, channels=channels, sizes=sizes)
            with atomic_path(out) as temporary:
                notes = form.write(program, temporary)
                compared = compare(
                    form.open(temporary), predictor.members[0], channels=channels, sizes=sizes,
                    tile=side,
                )  # fmt: skip
            return _Written(sizes, compared, notes, str(failure or ""))
        except ModelError as error:
            # A network that was written for one size may still do at that size.
            failure = failure or error
            last = error
    raise last


def _left_out(predictor: Predictor, written: _Written) -> Iterator[str]:
    """Say what a prediction by this run has and the file has not."""
    sizes, learned = written.sizes, predictor.calibration
    if sizes.fixed is not None:
        many = "one image" if sizes.batch else "any number of images"
        yield (
            f"Free sizes: the file takes {many} of {sizes.fixed}×{sizes.fixed}, since with free "
            f"ones there was an error. {written.narrowed}"
        )
    if predictor.preprocess.filters:
        yield f"The filters of the images: {predictor.preprocess.filters.label}."
    if predictor.presence is not None and not predictor.presence.does_nothing:
        yield "The presence rule, which empties masks and takes islands off."
    if learned is not None and learned.sampler != "deterministic":
        yield f"The passes of {learned.sampler}: the probabilities are those of one without noise."
    if learned is not None and (learned.area is not None or learned.flag is not None):
        yield "Area intervals and flags."
