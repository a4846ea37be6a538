"""Choose the presence rule of a run that is there already, on samples it was not trained on."""

from __future__ import annotations

from pathlib import Path

from penumbra.errors import SettingsError, expected
from penumbra.inference.presence import PresenceRule
from penumbra.inference.presence_run import choose_presence
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable
from penumbra.training.run import Run
from penumbra.training.samples import SplitChoice, open_for_run, trained_on


def calibrate_presence(
    run: Path | str,
    source: str | Path,
    *,
    split: SplitChoice = "val",
    target: str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> PresenceRule:
    """Choose what empties masks and takes islands off; write `presence.json`.

    With a presence head its probability is held against the threshold, else the area of the mask.

    Args:
        run: a run folder.
        source: ``LAYOUT:PATH``, a path or a manifest.
        split: which samples; ``"all"`` leaves out those that the run was trained on.
        target: what the masks show; by default what the run was trained on.
        out: the folder to write; by default the run itself.
        seed: of the passes.
        device: where the network runs.
        progress: wraps the images.

    Raises:
        RunError, SourceError: the run or the source cannot be used.
        SettingsError: the samples are those of the training.
        StorageError: `out` cannot be written.
    """
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
    rule = choose_presence(folder.folder, samples, seed=seed, device=device, progress=progress)
    rule = rule.model_copy(update={"record": rule.record | {"split": split}})
    rule.write(where)
    return rule
