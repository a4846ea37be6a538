"""Calibrate a run on samples that it was not trained on."""

from __future__ import annotations

import time
from pathlib import Path

from penumbra.calibration.fit import calibrate_frozen
from penumbra.calibration.frozen import Frozen
from penumbra.calibration.held_out import collect
from penumbra.calibration.options import CalibrationOptions
from penumbra.calibration.promises import with_promises
from penumbra.data.source import Source
from penumbra.errors import RunError, SettingsError, SourceError, expected
from penumbra.inference.calibration import Calibration
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import WEIGHTS_FILE, load_model
from penumbra.models.weights import check_weights, digest_of
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable
from penumbra.training.run import Run
from penumbra.training.samples import SplitChoice, open_for_run, trained_on

ONE_GROUP = (
    "Expected the held-out samples to be of at least 2 groups, but got 1. Nothing could be "
    "compared: only a global temperature was fitted with confidence, and one pass stays the "
    "default. Try a validation split of several groups."
)


def freeze_run(
    run: Path | str,
    source: Source,
    *,
    seed: int = 0,
    most_tiles: int = 64,
    device: str = "auto",
    progress: Progress = silent,
) -> Frozen:
    """Load a run's network and collect held-out tiles for it.

    Keep what comes for several `calibrate_frozen`: features are computed once.

    Args:
        run: the run folder.
        source: held-out samples of the run's classes, see `open_for_run`.
        seed: decides the tiles and the keys of their noise.
        most_tiles: at most so many.
        device: where the network runs.
        progress: wraps the images.

    Raises:
        RunError: the run cannot be loaded, says no preprocessing, or has weights that are not
            finite.
        SourceError: no sample can be used, or the source has other classes than the network.
    """
    network, document = load_model(Path(run))
    check_weights(network)
    try:
        preprocess = Preprocess.model_validate(document["preprocess"])
    except (KeyError, ValueError, SettingsError) as error:
        raise RunError(
            expected(f"model.json in {run}", "one with preprocess", f"a problem with {error}",
                     "the run folder itself")
        ) from error  # fmt: skip
    k = int(getattr(network, "n_classes", source.n_classes))
    if max(k, 2) != source.n_classes:
        raise SourceError(
            expected(f"the source {source.name}", f"of the network's {max(k, 2)} classes",
                     source.n_classes, "the source that the run was trained on")
        )  # fmt: skip
    held_out = collect(source, preprocess, seed=seed, most_tiles=most_tiles, progress=progress)
    return Frozen(network, held_out, device=device, progress=progress)


def calibrate(
    run: Path | str,
    source: str | Path,
    *,
    options: CalibrationOptions | None = None,
    split: SplitChoice = "val",
    target: str | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Calibration:
    """Learn what can be learned of a frozen network on held-out samples; write `calibration.json`.

    Temperatures and noise by `calibrate_frozen`, then area intervals and flags by `with_promises`
    with the sampler that was chosen. The same seed, machine and number of threads give the same
    file but for the seconds in it.

    Args:
        run: a run folder, also of a network that was trained elsewhere.
        source: ``LAYOUT:PATH``, a path or a manifest.
        options: what is wanted.
        split: which samples. Those that the network was trained on teach nothing: on them it
            seems surer than it is, and noise seems useless. ``"all"`` leaves out those that the
            run's manifest names as trained on.
        target: what the masks show; by default what the run was trained on.
        out: the folder to write; by default the run itself.
        device: where the network runs.
        progress: wraps the images.

    Raises:
        RunError, SourceError: the run or the source cannot be used.
        SettingsError: the samples are those of the training, or a site does not exist.
        StorageError: `out` cannot be written.
    """
    started = time.perf_counter()
    chosen = options or CalibrationOptions()
    if split == "train":
        raise SettingsError(
            expected("the split", "one that the network was not trained on", "train", "--split val")
        )
    folder = Run(Path(run))
    samples = open_for_run(folder, source, split=split, target=target)
    learned = trained_on(folder, samples) if split == "all" else ()
    if learned:
        samples = samples.subset([i for i, r in enumerate(samples.records) if r.id not in learned])
    where = folder.folder if out is None else Path(out)
    check_writable(where)
    frozen = freeze_run(
        folder.folder, samples, seed=chosen.seed, most_tiles=chosen.most_tiles, device=device,
        progress=progress,
    )  # fmt: skip
    found = calibrate_frozen(frozen, chosen)
    fitted = time.perf_counter() - started
    found = with_promises(
        folder.folder, samples, found, seed=chosen.seed, device=device, progress=progress
    )
    notes = [ONE_GROUP] if found.record["n_groups"] < 2 else []
    if learned:
        notes.append(f"{len(learned)} samples that the network was trained on were left out.")
    record = found.record | {
        "source": samples.name,
        "split": split,
        "notes": [*notes, *found.record["notes"]],
        "seconds": round(fitted, 1),
        "seconds_of_predictions": round(time.perf_counter() - started - fitted, 1),
    }
    weights = digest_of(folder.folder / WEIGHTS_FILE)
    found = found.model_copy(update={"record": record, "weights": weights})
    found.write(where)
    return found
