"""Straight crops of cards inside of a worker."""

from __future__ import annotations

import time
from typing import Any

from pydantic import ValidationError

from penumbra.documents.rectify import Rectified, rectify_all
from penumbra.documents.settings import RectifySettings
from penumbra.documents.write import MOST_CARDS, png_of
from penumbra.errors import SettingsError, expected
from penumbra.serving.answers import result_href
from penumbra.serving.encode import map_png
from penumbra.serving.messages import Answer, Job
from penumbra.serving.prompting import Look
from penumbra.serving.requests import SegmentRequest
from penumbra.serving.uploads import UploadLimits, decode
from penumbra.serving.variants import ServedSegmenter
from penumbra.storage import json_ready

_MOST_SIDE = 4096


def rectified(job: Job, model: ServedSegmenter, limits: UploadLimits, *, look: Look) -> Answer:
    """Crop the cards in a photograph: ``card.png``, ``card-2.png`` …, each with its uncertainty.

    Args:
        job: whose upload is the photograph.
        model: segments cards.
        limits: of the upload.
        look: called from stage to stage and between cards; what it raises is let through.

    Raises:
        SettingsError: an option is not possible.
        UploadError: the upload is refused.
    """
    settings = _settings(job)
    started = time.perf_counter()
    image = decode(job.upload or b"", limits)
    timings = {"decode": time.perf_counter() - started}
    look()
    request = SegmentRequest(threshold=job.options.get("threshold"))
    prediction = model.predictor(model.plan(request))([image])[0]
    timings |= dict(prediction.timings)
    look()
    started = time.perf_counter()
    most = MOST_CARDS if job.options.get("all_cards") else 1
    cards = rectify_all(image, prediction, settings=settings, most=most)
    timings["finish"] = timings.get("finish", 0.0) + time.perf_counter() - started
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for index, card in enumerate(cards):
        look()
        row = card.to_json()
        if isinstance(card, Rectified):
            stem = "card" if index == 0 else f"card-{index + 1}"
            scale = (0.0, card.most_uncertainty)
            files[f"{stem}.png"] = png_of(card.image)
            files[f"{stem}_uncertainty.png"] = map_png(card.uncertainty, scale, 16)
            uncertainty = {"bits": 16, "scale": list(scale), "unit": "nat"}
            uncertainty["href"] = result_href(job.id, f"{stem}_uncertainty.png")
            row |= {"href": result_href(job.id, f"{stem}.png"), "uncertainty": uncertainty}
        rows.append(row)
    timings["encode"] = time.perf_counter() - started
    size = {"height": int(image.shape[0]), "width": int(image.shape[1])}
    document = {"id": job.id, "model": job.model, "size": size, "cards": rows, "timings": timings}
    return Answer(id=job.id, document=json_ready(document), files=files, timings=timings)


def _settings(job: Job) -> RectifySettings:
    names = ("threshold", "ratio", "limit", "assume_sides")
    given = {name: job.options[name] for name in names if job.options.get(name) is not None}
    size = (job.options.get("width"), job.options.get("height"))
    if size != (None, None):
        if not all(isinstance(side, int) and 16 <= side <= _MOST_SIDE for side in size):
            raise SettingsError(
                expected("`width` and `height`", f"both given, 16 to {_MOST_SIDE}", size,
                         "width=856 and height=540")
            )  # fmt: skip
        given["size"] = size
    try:
        return RectifySettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise SettingsError(
            expected(f"`{name}`", "one that can be", first.get("input"), "leaving it out")
        ) from None
