"""The running estimate of one image: what its passes so far make of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.inference.finish import Finish
from penumbra.inference.groups import with_presence
from penumbra.inference.jobs import TileRef, grouped
from penumbra.inference.passes import RunningGroup
from penumbra.inference.prediction import Prediction

if TYPE_CHECKING:
    from penumbra.inference.predictor import Predictor

_MOST_HELD = 32
"""Groups of tiles whose features are held from one estimate to the next; a large image has more,
and is encoded again."""


def running(
    predictor: Predictor,
    image: NDArray[np.generic],
    *,
    seed: int,
    every: int,
    keep_samples: int,
) -> Iterator[Prediction]:
    """Yield predictions of ever more passes; see `Predictor.running`."""
    if every < 1:
        raise SettingsError(expected("`every`", "at least 1", every, "2"))
    if predictor.sampler.head or len(predictor.passes) == 1:
        # Samples of a head cost no pass: there is nothing in between.
        yield predictor([image], seed=seed, keep_samples=keep_samples)[0]
        return
    started = time.perf_counter()
    keep = min(keep_samples, predictor.n_samples)
    job = predictor.prepare(image, seed=seed, keep=keep)
    prepared = time.perf_counter()
    size = predictor.engine.group
    refs = [TileRef(job, n) for n in range(job.n_tiles)]
    together = [refs[first : first + size] for first in range(0, len(refs), size)]
    predictor.take_presence()  # What a call that failed may have left.
    groups, presence = [], []
    for some in together:
        group = RunningGroup(
            grouped(some, size),
            passes=predictor.passes,
            hold=len(together) <= _MOST_HELD,
            **predictor.how(keep),
        )
        groups.append(group)
        presence.append(predictor.take_presence())
    for first in range(0, len(predictor.passes), every):
        some_passes = predictor.passes[first : first + every]
        for number, group in enumerate(groups):
            group.advance(some_passes)
            presence[number] = presence[number] or predictor.take_presence()
            predictor.take_presence()
        ran = time.perf_counter() - prepared
        count = first + len(some_passes)
        finish = Finish(predictor, kept=min(keep, count), seed=seed, count=count)
        results = (
            result
            for group, found in zip(groups, presence, strict=True)
            for result in with_presence(group.results(), found)
        )
        prediction = finish(job, results, prepare_seconds=prepared - started)
        yield replace(prediction, timings={**prediction.timings, "network": ran})
