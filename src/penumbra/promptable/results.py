"""What prompts gave together, as files: those of `penumbra predict`, and who asked for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.errors import SettingsError, expected
from penumbra.imaging.write import write_mask
from penumbra.inference.outputs import write_prediction
from penumbra.inference.prediction import Prediction
from penumbra.promptable.drawing import draw_labels, draw_prompts
from penumbra.promptable.everything import Everything
from penumbra.promptable.prediction import CLASS_NAMES, PromptedPrediction
from penumbra.promptable.prompts import PADDING, Prompts
from penumbra.promptable.regions import label_map, region_of
from penumbra.storage import atomic_path, json_ready, write_json


@dataclass(frozen=True)
class Together:
    """What several prompts on one image gave.

    Attributes:
        prediction: that of a single prompt as it is. Of several: at each pixel the one that is
            surest of an object there; so the mask is the union of the masks.
        objects: facts per prompt as plain values, with the mask as COCO RLE.
        labels: (H, W) uint16: 0, or 1 + the number of the prompt whose mask is there, the smallest
            mask where several are.
    """

    prediction: Prediction
    objects: tuple[dict[str, Any], ...]
    labels: NDArray[np.uint16]


def together(prompts: Prompts, answers: Iterable[PromptedPrediction]) -> Together:
    """Join the answers to prompts, one per prompt in their order; held one at a time.

    Raises:
        SettingsError: there is no answer.
    """
    regions, objects = [], []
    joined: Prediction | None = None
    for number, answer in enumerate(answers):
        point = _some_point(prompts, number)
        region = region_of(
            answer.mask > 0,
            predicted_iou=answer.predicted_iou,
            stability=answer.stability,
            point=point,
        )
        objects.append(_facts(prompts, number, answer, region))
        if region is not None:
            regions.append((number, region))
        joined = answer if joined is None else _surer(joined, answer)
    if joined is None:
        raise SettingsError(expected("`answers`", "at least one", "none", "a prompt"))
    size = (int(joined.mask.shape[0]), int(joined.mask.shape[1]))
    drawn = label_map([region for _, region in regions], size)
    numbers = np.array([0, *(number + 1 for number, _ in regions)], dtype=np.uint16)
    return Together(joined, tuple(objects), numbers[drawn])


def _surer(one: Prediction, other: Prediction) -> Prediction:
    wins = other.foreground > one.foreground
    timings = {
        stage: one.timings.get(stage, 0.0) + other.timings.get(stage, 0.0)
        for stage in {*one.timings, *other.timings}
    }
    return Prediction(
        probabilities=np.where(wins, other.probabilities, one.probabilities),
        mask=np.maximum(one.mask, other.mask),
        uncertainty={
            name: np.where(wins, other.uncertainty[name], one.uncertainty[name])
            for name in one.uncertainty
            if name in other.uncertainty
        },
        seed=one.seed,
        timings=timings,
        class_names=CLASS_NAMES,
        sampler=one.sampler,
        passes=one.passes,
    )


def _some_point(prompts: Prompts, number: int) -> tuple[float, float]:
    if prompts.points is not None:
        x, y = prompts.points[number, 0].tolist()
        return float(x), float(y)
    if prompts.boxes is not None:
        x0, y0, x1, y1 = prompts.boxes[number].tolist()
        return (x0 + x1) / 2, (y0 + y1) / 2
    return prompts.size[1] / 2, prompts.size[0] / 2


def _facts(
    prompts: Prompts, number: int, answer: PromptedPrediction, region: Any
) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if prompts.boxes is not None:
        asked["box"] = prompts.boxes[number]
    if prompts.points is not None and prompts.labels is not None:
        kept = prompts.labels[number] != PADDING
        asked |= {"points": prompts.points[number][kept], "labels": prompts.labels[number][kept]}
    asked["mask"] = prompts.masks is not None
    found = {
        "prompt": asked,
        "predicted_iou": answer.predicted_iou,
        "stability": answer.stability,
        "candidate": answer.candidate,
        "area": int(np.count_nonzero(answer.mask)),
        "mean_uncertainty": float(answer.uncertainty["entropy"].mean()),
        "pairwise_iou": getattr(answer, "pairwise_iou", None),
        "box": None if region is None else region.box,
        "segmentation": None if region is None else region.to_json()["segmentation"],
    }
    return dict(json_ready(found))


def write_together(
    out: Path,
    stem: str,
    image: NDArray[np.generic],
    prompts: Prompts,
    found: Together,
    *,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Write what `penumbra predict` writes, and the prompts into overlay and JSON.

    ``STEM_overlay.png`` shows the prompts, and objects in colours of their own. With several
    prompts there is also ``STEM_labels.png``, 16-bit, 1 + the number of the prompt.
    ``STEM.json`` has an entry ``objects`` with one object per prompt.

    Raises:
        SettingsError, FileNameError, StorageError: as `inference.outputs.write_prediction`.
    """
    objects = list(found.objects)
    several = len(objects) > 1
    labels = {"labels": f"{stem}_labels.png"} if several else {}
    overlay = draw_prompts(draw_labels(image, found.labels), prompts)
    facts = {**extra, "objects": objects, **labels}
    written = write_prediction(out, stem, image, found.prediction, extra=facts)
    _write_png(out / f"{stem}_overlay.png", overlay)
    if several:
        _write_png(out / labels["labels"], found.labels)
    return written


def write_everything(
    out: Path,
    stem: str,
    image: NDArray[np.generic],
    found: Everything,
    *,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Write what everything-mode found.

    ==================  ==========================================================================
    ``STEM_mask.png``     8-bit palette PNG: 1 where any region is
    ``STEM_labels.png``   16-bit: 0, or 1 + the number of the region, smaller over larger ones
    ``STEM_overlay.png``  the regions over the image, for people
    ``STEM.json``         file names, size, regions with box, area, scores and COCO RLE, seconds
    ==================  ==========================================================================

    Returns:
        What ``STEM.json`` holds.

    Raises:
        FileNameError: the stem is too long for the names of the files.
        StorageError: a file cannot be written.
    """
    files = {key: f"{stem}_{key}.png" for key in ("overlay", "labels", "mask")}
    labels = found.labels
    _write_png(out / files["overlay"], draw_labels(image, labels))
    _write_png(out / files["labels"], labels)
    write_mask(out / files["mask"], (labels > 0).astype(np.uint8), n_classes=2)
    written: dict[str, Any] = json_ready({"files": files, **found.to_json(), **extra})
    write_json(out / f"{stem}.json", written)
    return written


def _write_png(path: Path, picture: NDArray[np.generic]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=4)


def least_sure(objects: Sequence[Mapping[str, Any]]) -> float:
    """Give the lowest predicted IoU of some objects; 1 where there are none."""
    return min((float(one["predicted_iou"]) for one in objects), default=1.0)
