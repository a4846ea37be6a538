"""The running estimate of one image, until it has converged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.inference.contract import ImagePredictor
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.serving.answers import answer_of
from penumbra.serving.messages import Answer, Job
from penumbra.serving.requests import SegmentRequest

_QUANTILE = 0.99


def estimates(
    job: Job,
    request: SegmentRequest,
    image: NDArray[np.generic],
    predictor: ImagePredictor,
    *,
    decode_seconds: float,
) -> Iterator[Answer]:
    """Give an answer after every few passes, the last one when it has converged or all have run.

    It has converged when 99 pixels in 100 have a standard error of at most `request.tolerance`.
    Each document has ``converged``, and ``mean_standard_error`` over the pixels.

    Args:
        job: whose answers.
        request: what it asks for.
        image: (H, W, C).
        predictor: what segments; other than a network's it gives a single answer.
        decode_seconds: that the image took.
    """
    for prediction in _running(predictor, image, request):
        error = prediction.uncertainty.get("standard_error")
        converged, mean = error is None, 0.0
        if error is not None:
            converged = bool(np.quantile(error, _QUANTILE) <= request.tolerance)
            mean = float(error.mean(dtype=np.float64))
        # One pass of several says nothing of its own error yet.
        if error is None and prediction.passes < predictor.n_samples:
            converged = False
        last = converged or prediction.passes >= predictor.n_samples
        more: dict[str, Any] = {
            "converged": converged,
            "mean_standard_error": None if error is None else mean,
        }
        yield answer_of(
            job,
            request,
            image,
            prediction,
            threshold=predictor.threshold,
            decode_seconds=decode_seconds,
            last=last,
            more=more,
        )
        if last:
            return


def _running(
    predictor: ImagePredictor, image: NDArray[np.generic], request: SegmentRequest
) -> Iterator[Prediction]:
    if isinstance(predictor, Predictor):
        yield from predictor.running(image, seed=request.seed, every=request.every)
    else:
        yield from predictor([image], seed=request.seed)
