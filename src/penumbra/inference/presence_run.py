"""Choose a run's presence rule: predict validation images, count, and keep what is better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from penumbra.data.source import Source
from penumbra.errors import ImageFileError, NotFiniteError, SourceError, expected
from penumbra.inference.predictor import Predictor
from penumbra.inference.presence import CHOSEN_AT, PresenceRule
from penumbra.inference.presence_fit import Outlined, fit_presence
from penumbra.models.storage import WEIGHTS_FILE
from penumbra.models.weights import digest_of
from penumbra.progress import Progress, silent


def outlined(
    predictor: Predictor, source: Source, *, seed: int = 0, progress: Progress = silent
) -> Iterator[Outlined]:
    """Predict the samples of a source one by one and count what `fit_presence` needs.

    Samples that cannot be read, have no mask, or for which the network gives NaN are left out.

    Args:
        predictor: without a presence rule.
        source: samples with masks.
        seed: of the passes.
        progress: wraps the samples.
    """
    for index in progress(range(len(source)), total=len(source), what="presence"):
        try:
            sample = source[index]
        except (ImageFileError, SourceError):
            continue
        if sample.mask is None:
            continue
        try:
            (found,) = predictor([sample.image], seed=seed)
        except NotFiniteError:
            continue
        yield Outlined.of(found.mask, sample.mask, group=sample.group, probability=found.presence)


def choose_presence(
    run: Path | str,
    source: Source,
    *,
    calibrated: bool = True,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> PresenceRule:
    """Choose the presence rule of a run on held-out samples; nothing is written.

    Args:
        run: the run folder, with a presence head or without.
        source: samples that the network was not trained on.
        calibrated: whether the run's calibration, where it has one, says which passes.
        seed: of the passes.
        device: where the network runs.
        progress: wraps the samples.

    Raises:
        RunError: the run cannot be loaded.
        SourceError: no sample has a mask that can be read.
    """
    folder = Path(run)
    predictor = Predictor.load(
        folder, presence=False, calibration=calibrated, threshold=CHOSEN_AT, device=device
    )
    images = list(outlined(predictor, source, seed=seed, progress=progress))
    if not images:
        raise SourceError(
            expected(f"the samples of {source.name}", "some with masks that can be read", "none",
                     "another split")
        )  # fmt: skip
    rule = fit_presence(images)
    record = rule.record | {"source": source.name, "seed": seed}
    weights = digest_of(folder / WEIGHTS_FILE)
    return rule.model_copy(update={"record": record, "weights": weights})
