"""Write a prediction as files that people can look at and programs can read back."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.errors import SettingsError, expected
from penumbra.imaging.overlay import heatmap, overlay_mask
from penumbra.imaging.write import write_mask, write_unit_map
from penumbra.inference.pass_outputs import Output, pass_outputs, pass_scales, pass_summary
from penumbra.inference.prediction import Prediction, entropy
from penumbra.storage import atomic_path, json_ready, write_json

DOUBT_SHARE = 0.5
"""A pixel counts as in doubt when its entropy is above this share of ln C.

With two classes, ½ · ln 2 is reached at probabilities of 0.11 and 0.89.
"""


def class_labels(names: Sequence[str], n_classes: int) -> tuple[str, ...]:
    """Give one name per class, made up where none is known.

    Examples:
        >>> class_labels((), 2), class_labels((), 3)
        (('background', 'foreground'), ('background', 'class_1', 'class_2'))
    """
    if len(names) == n_classes:
        return tuple(names)
    if names:
        raise SettingsError(
            expected("`class_names`", f"{n_classes} names", f"{len(names)}", "one name per class")
        )
    if n_classes == 2:
        return ("background", "foreground")
    return ("background", *(f"class_{index}" for index in range(1, n_classes)))


def file_parts(names: Sequence[str]) -> tuple[str, ...]:
    """Turn class names into parts of file names that every file system holds and keeps apart.

    Args:
        names: any text; what is neither letter, digit, ``-`` nor ``_`` becomes ``-``.

    Returns:
        As many parts; one that is empty or was seen before gets its class index.

    Examples:
        >>> file_parts(["road / lane", "Car", "car"])
        ('road-lane', 'Car', 'car-2')
    """
    parts: list[str] = []
    seen: set[str] = set()
    for index, name in enumerate(names):
        part = re.sub(r"[^\w-]+", "-", name).strip("-")[:60] or "class"
        # macOS and Windows hold two names that differ in case alone to be one file.
        while part == "class" or part.casefold() in seen:
            part = f"{part}-{index}"
        seen.add(part.casefold())
        parts.append(part)
    return tuple(parts)


def _write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=4)


def _check_stem(stem: str) -> None:
    if stem in {"", "..", "."} or Path(stem).name != stem or "\\" in stem:
        raise SettingsError(
            expected("`stem`", "a file name without folders", repr(stem), "a name such as scan_01")
        )


def _outputs(
    stem: str,
    image: NDArray[np.generic],
    prediction: Prediction,
    doubt: NDArray[np.float32],
    labels: Sequence[str],
) -> list[Output]:
    """List the files; everything that may be refused is made before the first is written."""
    maximum = math.log(prediction.n_classes)
    mask = functools.partial(write_mask, mask=prediction.mask, n_classes=prediction.n_classes)
    shown = {
        "overlay": overlay_mask(image, prediction.mask),
        "heatmap": heatmap(image, doubt, maximum=maximum),
    }
    pictures = [
        Output(key, f"{stem}_{key}.png", functools.partial(_write_picture, picture=picture))
        for key, picture in shown.items()
    ]
    unsure = functools.partial(write_unit_map, array=doubt, scale=maximum)
    return [
        Output("mask", f"{stem}_mask.png", mask),
        *_probability_outputs(stem, prediction, labels),
        Output("uncertainty", f"{stem}_uncertainty.png", unsure),
        *pictures,
        *pass_outputs(stem, prediction),
    ]


def _probability_outputs(stem: str, prediction: Prediction, labels: Sequence[str]) -> list[Output]:
    if prediction.n_classes == 2:
        write = functools.partial(write_unit_map, array=prediction.foreground)
        return [Output("probability", f"{stem}_probability.png", write)]
    return [
        Output(
            f"probability/{label}",
            f"{stem}_probability_{part}.png",
            functools.partial(write_unit_map, array=plane),
        )
        for label, part, plane in zip(
            labels, file_parts(labels), prediction.probabilities, strict=True
        )
    ]


def _names(outputs: Sequence[Output]) -> dict[str, Any]:
    """Give file names by key; those of classes together."""
    files: dict[str, Any] = {}
    for output in outputs:
        key, of_class, label = output.key.partition("/")
        if of_class:
            files.setdefault(key, {})[label] = output.name
        else:
            files[key] = output.name
    return files


def _summary(
    prediction: Prediction, doubt: NDArray[np.float32], maximum: float, labels: Sequence[str]
) -> dict[str, Any]:
    height, width = prediction.mask.shape
    counts = np.bincount(prediction.mask.ravel(), minlength=prediction.n_classes)
    return {
        "size": {"height": height, "width": width},
        "class_names": list(labels),
        "area_pixels": {label: int(counts[index]) for index, label in enumerate(labels)},
        "uncertainty": {
            "map": "entropy",
            "unit": "nat",
            "mean": float(doubt.mean(dtype=np.float64)),
            "max": float(doubt.max()),
            "doubt_above": DOUBT_SHARE * maximum,
            "doubt_share": float((doubt > DOUBT_SHARE * maximum).mean()),
        },
        "scale": {
            "probability": {"levels": 65535, "maximum": 1.0},
            "uncertainty": {"levels": 65535, "maximum": maximum, "unit": "nat"},
            **pass_scales(prediction),
        },
        "seed": prediction.seed,
        "timings": dict(prediction.timings),
        **pass_summary(prediction),
    }


def write_prediction(
    out: Path,
    stem: str,
    image: NDArray[np.generic],
    prediction: Prediction,
    *,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one prediction into a folder; every file is whole or absent, the JSON comes last.

    Several passes add maps, and samples where they were kept.

    ===============================  =============================================================
    ``STEM_mask.png``                8-bit palette PNG of class indices
    ``STEM_probability.png``         16-bit, 65535 = 1; the foreground of two classes. With more,
                                     one file per class, ``STEM_probability_CLASSNAME.png``
    ``STEM_uncertainty.png``         16-bit entropy, 65535 = ln C nats
    ``STEM_overlay.png``             the mask over the image, for people
    ``STEM_heatmap.png``             the doubt over the image, for people
    ``STEM_mutual_information.png``  16-bit, 65535 = ln C nats; of passes
    ``STEM_expected_entropy.png``    16-bit, 65535 = ln C nats; of passes
    ``STEM_variance.png``            16-bit, 65535 = 1; of passes, summed over classes
    ``STEM_samples.tif``             16-bit, 65535 = 1; one page per kept pass, its probability of
                                     anything but class 0
    ``STEM.json``                    file names, size, class names, scales, seed, seconds by
                                     stage, area by class in pixels, mean and largest entropy, the
                                     share of pixels in doubt (above ½ ln C), sampler, passes,
                                     scores, areas with intervals, flag
    ===============================  =============================================================

    Args:
        out: the folder; made if needed.
        stem: what the file names start with.
        image: (H, W, C) the image that was segmented, at the prediction's size.
        prediction: what the segmenter says about it.
        extra: more entries for the JSON, such as the image's path or the run.

    Returns:
        What ``STEM.json`` holds.

    Raises:
        SettingsError: the stem names a folder, sizes differ, class names do not fit, or `extra`
            repeats an entry.
        FileNameError: the stem is too long for the names of the files.
        StorageError: a file cannot be written.
    """
    out = Path(out)
    _check_stem(stem)
    labels = class_labels(prediction.class_names, prediction.n_classes)
    doubt = prediction.uncertainty.get("entropy")
    if doubt is None:
        doubt = entropy(prediction.probabilities)
    maximum = math.log(prediction.n_classes)
    document = _summary(prediction, doubt, maximum, labels)
    if clash := sorted({"files", *document} & set(extra or {})):
        raise SettingsError(
            expected("`extra`", "new entries", f"{clash}, which exist", "other names for them")
        )
    outputs = _outputs(stem, image, prediction, doubt, labels)
    # An old JSON beside new maps would describe files that are no longer there.
    with contextlib.suppress(OSError):
        (out / f"{stem}.json").unlink()
    # The longest names come first: where one is too long, no part of the result is left alone.
    for output in sorted(outputs, key=lambda output: -len(os.fsencode(output.name))):
        output.write(out / output.name)
    written: dict[str, Any] = json_ready({"files": _names(outputs), **document, **(extra or {})})
    write_json(out / f"{stem}.json", written)
    return written
