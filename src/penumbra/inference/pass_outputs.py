"""What several passes add to the files of a prediction: maps, samples, and entries of the JSON."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from penumbra.imaging.write import write_unit_map
from penumbra.inference.prediction import Prediction, Samples
from penumbra.storage import atomic_path

_STEPS = 65535


@dataclass(frozen=True)
class Output:
    """A file to be written.

    Attributes:
        key: what the JSON calls it.
        name: of the file.
        write: writes it to a path.
    """

    key: str
    name: str
    write: Callable[[Path], None]


def write_samples(path: Path, samples: Samples) -> None:
    """Write the foreground probability of each sample as one page of a 16-bit TIFF.

    Args:
        path: the TIFF file; its folder is made.
        samples: probabilities; a page holds round((1 − p_0) · 65535) at the image's size.

    Raises:
        StorageError: the file cannot be written.
    """
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary) as tiff:
        for probabilities in samples:
            foreground = np.clip(1.0 - probabilities[0].astype(np.float64), 0.0, 1.0)
            tiff.write(
                np.rint(foreground * _STEPS).astype(np.uint16),
                photometric="minisblack",
                compression="zlib",
                metadata=None,
                software="",
            )


def _scales(prediction: Prediction) -> dict[str, float]:
    """Give the value that is stored as 65535, of the maps that are there."""
    highest = math.log(prediction.n_classes)
    scales = {"mutual_information": highest, "expected_entropy": highest, "variance": 1.0}
    return {key: scale for key, scale in scales.items() if key in prediction.uncertainty}


def pass_outputs(stem: str, prediction: Prediction) -> list[Output]:
    """List the files that several passes add: 16-bit maps, and the samples that were kept.

    A single pass adds none. Entropies are scaled by ln C. The variance summed over classes, with
    K − 1, is at most 1, which is its scale.
    """
    found = []
    for key, scale in _scales(prediction).items():
        write = functools.partial(write_unit_map, array=prediction.uncertainty[key], scale=scale)
        found.append(Output(key, f"{stem}_{key}.png", write))
    # An empty stack of samples is no file.
    if samples := prediction.samples:
        write = functools.partial(write_samples, samples=samples)
        found.append(Output("samples", f"{stem}_samples.tif", write))
    return found


def pass_scales(prediction: Prediction) -> dict[str, dict[str, Any]]:
    """Say how the values of `pass_outputs` are stored: value = level / levels · maximum."""
    scales: dict[str, dict[str, Any]] = {}
    for key, scale in _scales(prediction).items():
        scales[key] = {"levels": _STEPS, "maximum": scale}
        if key != "variance":
            scales[key]["unit"] = "nat"
    if prediction.samples:
        scales["samples"] = {"levels": _STEPS, "maximum": 1.0}
    return scales


def pass_summary(prediction: Prediction) -> dict[str, Any]:
    """Sum up sampler, passes, scores, areas with intervals and the flag for the JSON.

    ``disagreement`` is there with two passes or more: mean mutual information in nats, its share
    of the mean entropy (0 where there is no entropy), and the mean Monte Carlo standard error.
    """
    document: dict[str, Any] = {
        "sampler": prediction.sampler,
        "passes": prediction.passes,
        "scores": dict(prediction.scores),
        "flagged": prediction.flagged,
        "presence": prediction.presence,
        "emptied": prediction.emptied,
        "area_intervals": {
            name: {
                "low": low,
                "estimate": estimate,
                "high": high,
                "unit": "pixel",
                "bounded": not (low <= 0 and high >= prediction.mask.size),
            }
            for name, (low, estimate, high) in prediction.area_intervals.items()
        },
    }
    if "mutual_information" in prediction.uncertainty:
        means = {
            name: float(plane.mean(dtype=np.float64))
            for name, plane in prediction.uncertainty.items()
        }
        total, apart = means.get("entropy", 0.0), means["mutual_information"]
        document["disagreement"] = {
            "mutual_information": apart,
            "share_of_entropy": apart / total if total > 0 else 0.0,
            "standard_error": means.get("standard_error"),
        }
    return document
