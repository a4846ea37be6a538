"""An answer as one file to keep: mask, maps with their scales, pictures, facts."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.imaging.overlay import heatmap, overlay_mask
from penumbra.imaging.palette import class_palette
from penumbra.serving.ui.backend import Outcome, Question
from penumbra.serving.ui.samples import png_of
from penumbra.storage import json_ready

_STEPS = 65535
# Entries carry a date; a fixed one makes the same answer the same file.
_DATE = (1980, 1, 1, 0, 0, 0)


def archive(outcome: Outcome, question: Question) -> bytes:
    """Pack an answer as a ZIP file.

    Maps are 16-bit PNGs; level v means lo + v / 65535 · (hi − lo), with the scale of each in
    `answer.json`. The mask is a palette PNG whose indices are the classes.

    Args:
        outcome: the answer.
        question: what was asked, so that it can be asked again.
    """
    files = {
        "mask.png": _mask(outcome),
        "overlay.png": png_of(overlay_mask(outcome.picture, outcome.mask)),
    }
    maps = {"probability": (outcome.foreground, (0.0, 1.0), ""),
            "confidence": (outcome.confidence, (0.0, 1.0), "")}  # fmt: skip
    if outcome.has_own_cut and outcome.cut is not None:
        maps["mask_probability"] = (outcome.cut, (0.0, 1.0), "")
    for name, doubt in outcome.doubt.items():
        maps[name] = (doubt.values, doubt.scale, doubt.unit)
    for name, (values, scale, _) in maps.items():
        files[f"{name}.png"] = deep_png(values, scale)
    if "entropy" in outcome.doubt:
        doubt = outcome.doubt["entropy"]
        files["heatmap.png"] = png_of(
            heatmap(outcome.picture, doubt.values, maximum=doubt.scale[1])
        )
    facts = _facts(outcome, question)
    facts["maps"] = {
        name: {"file": f"{name}.png", "bits": 16, "scale": list(scale), "unit": unit}
        for name, (_, scale, unit) in maps.items()
    }
    files["answer.json"] = (json.dumps(json_ready(facts), indent=2) + "\n").encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as packed:
        for name, data in files.items():
            # PNGs are compressed already.
            packed.writestr(zipfile.ZipInfo(name, _DATE), data)
    return held.getvalue()


def deep_png(values: NDArray[np.float32], scale: tuple[float, float]) -> bytes:
    """Write a map as a 16-bit grey PNG between the ends of its scale.

    Examples:
        >>> file = deep_png(np.array([[0.0, 0.5, 1.0]], np.float32), (0.0, 1.0))
        >>> np.asarray(Image.open(io.BytesIO(file))).tolist()
        [[0, 32768, 65535]]
    """
    low, high = scale
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    levels = np.rint(share * _STEPS).astype(np.uint16)
    held = io.BytesIO()
    Image.fromarray(levels).save(held, "PNG")
    return held.getvalue()


def _mask(outcome: Outcome) -> bytes:
    picture = Image.fromarray(outcome.mask, mode="P")
    picture.putpalette(class_palette(max(2, len(outcome.classes))).ravel().tolist())
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


def _threshold_map(outcome: Outcome) -> str | None:
    if outcome.cut is None:
        return None
    return "mask_probability" if outcome.has_own_cut else "probability"


def _facts(outcome: Outcome, question: Question) -> dict[str, Any]:
    pattern = question.pattern
    return {
        "model": question.model,
        "classes": list(outcome.classes),
        "size": {"height": outcome.mask.shape[0], "width": outcome.mask.shape[1]},
        "areas_px": {
            name: outcome.area_of(index) for index, name in enumerate(outcome.classes) if index
        },
        "area_intervals": outcome.areas,
        "flagged": outcome.flagged,
        "sampler": outcome.sampler,
        "passes": outcome.passes,
        "noise_mode": question.mode,
        "noise_strength": question.strength,
        "pattern": None if pattern is None else pattern.model_dump(),
        "seed": outcome.seed,
        "threshold": question.threshold,
        "threshold_map": _threshold_map(outcome),
        "timings": outcome.timings,
        "notes": list(outcome.notes),
    }
