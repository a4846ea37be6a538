"""From a prediction to the answer that is sent: a document, and the files it links to."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.overlay import to_display
from penumbra.inference.outputs import class_labels
from penumbra.inference.prediction import Prediction
from penumbra.serving.encode import (
    arrays_of,
    map_of,
    map_png,
    mask_png,
    mask_rows,
    npz,
    picture_of,
    png,
    scale_of,
    unit_of,
)
from penumbra.serving.messages import Answer, Job
from penumbra.serving.requests import MAPS, SegmentRequest
from penumbra.storage import json_ready

STAGES = ("decode", "prepare", "network", "finish", "encode")


def result_href(job_id: str, name: str) -> str:
    """Say where a file of an answer can be had.

    Examples:
        >>> result_href("a1", "entropy.png")
        '/v1/results/a1/entropy.png'
    """
    return f"/v1/results/{job_id}/{name}"


def answer_of(
    job: Job,
    request: SegmentRequest,
    image: NDArray[np.generic],
    prediction: Prediction,
    *,
    threshold: float,
    decode_seconds: float,
    last: bool = True,
    more: dict[str, Any] | None = None,
) -> Answer:
    """Encode what was asked for.

    Args:
        job: whose answer.
        request: what it asked for.
        image: (H, W, C) that was segmented.
        prediction: of it.
        threshold: that the mask was made with.
        decode_seconds: that the image took.
        last: whether nothing follows.
        more: entries that a stream adds.
    """
    started = time.perf_counter()
    document = _facts(job, request, prediction, threshold)
    files: dict[str, bytes] = {}
    for name in request.outputs if request.accept != "npz" else ():
        _encode(name, job, request, image, prediction, document, files)
    if request.accept == "npz":
        arrays = arrays_of(prediction)
        if "image" in request.outputs:
            arrays["image"] = to_display(image)
        if "mask_probability" in request.outputs:
            arrays["mask_probability"] = prediction.mask_probability
        files["arrays.npz"] = npz(arrays)
    timings = _timings(prediction, decode_seconds)
    timings["encode"] = time.perf_counter() - started
    document |= {"timings": timings, **(more or {})}
    return Answer(id=job.id, document=json_ready(document), files=files, timings=timings, last=last)


def _encode(
    name: str,
    job: Job,
    request: SegmentRequest,
    image: NDArray[np.generic],
    prediction: Prediction,
    document: dict[str, Any],
    files: dict[str, bytes],
) -> None:
    file = f"{name}.png"
    href = result_href(job.id, file)
    if name == "mask":
        as_picture = request.masks_as == "links" or request.accept == "png"
        if as_picture:
            files[file] = mask_png(prediction.mask, prediction.n_classes)
        document["masks"] = mask_rows(prediction, href=href if as_picture else None)
    elif name in MAPS:
        values = map_of(prediction, name)
        if values is None:
            document["notes"].append(f"{prediction.sampler} makes one pass, which has no {name}.")
            return
        scale = scale_of(name, values, prediction.n_classes)
        files[file] = map_png(values, scale, request.bits)
        described = {"href": href, "bits": request.bits, "scale": list(scale)}
        document["maps"][name] = described | {"unit": unit_of(name)}
    elif (picture := picture_of(name, image, prediction)) is not None:
        files[file] = png(picture)
        document["pictures"][name] = {"href": href}


def _facts(
    job: Job, request: SegmentRequest, prediction: Prediction, threshold: float
) -> dict[str, Any]:
    height, width = prediction.mask.shape
    return {
        "id": job.id,
        "model": job.model,
        "size": {"height": height, "width": width},
        "classes": list(class_labels(prediction.class_names, prediction.n_classes)),
        "masks": [],
        "maps": {},
        "pictures": {},
        "scores": dict(prediction.scores),
        "area_intervals": {name: list(v) for name, v in prediction.area_intervals.items()},
        "flagged": prediction.flagged,
        "presence": prediction.presence,
        "emptied": prediction.emptied,
        "sampler": prediction.sampler,
        "passes": prediction.passes,
        "noise_mode": request.noise_mode,
        "noise_strength": request.noise_strength,
        "pattern": request.pattern,
        "seed": prediction.seed,
        "threshold": threshold,
        "threshold_map": None if prediction.cut_at is None else "mask_probability",
        "notes": [],
    }


def _timings(prediction: Prediction, decode_seconds: float) -> dict[str, float]:
    """Give seconds by stage; a classical method is its own network."""
    found = dict(prediction.timings)
    network = found.get("network", found.get("method", 0.0))
    return {
        "decode": decode_seconds,
        "prepare": found.get("prepare", 0.0),
        "network": network,
        "finish": found.get("finish", 0.0),
    }
