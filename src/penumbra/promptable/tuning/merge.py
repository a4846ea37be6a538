"""One whole model of a tuned run, for programs that know nothing of Penumbra."""

from __future__ import annotations

from pathlib import Path

from penumbra.errors import ModelError, RunError, StorageError, expected
from penumbra.promptable.tuning.stored import is_tuned_run, write_whole

_META = (".pth", ".pt")


def merge(run: Path | str, out: Path | str, *, offline: bool = False) -> Path:
    """Write the model that a run tuned as a whole, adapters merged into its weights.

    Args:
        run: the folder that `tune` wrote.
        out: a new or empty folder gets ``config.json``, ``model.safetensors`` and
            ``preprocessor_config.json``, which transformers loads by ``from_pretrained``. A file
            that ends in ``.pth`` gets the weights under the names that Meta publishes them by;
            it has no place for the family, so that one of MedSAM needs *medsam* in its name.
        offline: never reach for the network, should the base be a name on the hub.

    Returns:
        `out`. Loaded again it is of the family that was tuned. Filters that the run was tuned with
        are no part of a model: whoever uses it has to apply them to the images; and where other
        programs load a MedSAM, they have to stretch its images and scale each from 0 to 1.

    Raises:
        RunError: the folder is no tuned run, is damaged, or its base has other weights now.
        ModelError: the base is not there; or a ``.pth`` file is wanted of a model that Meta has no
            names for, such as the small one (`meta_weights.save_meta_file`).
        StorageError: `out` is there already, cannot be written, or would be taken for a SAM.
    """
    from penumbra.promptable.loading import load  # noqa: PLC0415 - it loads tuned runs through us

    folder, target = Path(run), Path(out)
    if not is_tuned_run(folder):
        raise RunError(
            expected(str(folder), "a run that tuned a promptable model", "none",
                     "the folder that `penumbra train … --model sam:NAME --out` wrote")
        )  # fmt: skip
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise StorageError(
            expected(str(target), "new or empty", "something that is there already", "another name")
        )
    loaded = load(folder, offline=offline)
    if target.suffix.lower() not in _META:
        write_whole(target, loaded.model, loaded.scaling, family=loaded.family.name)
        return target
    if loaded.family.architecture != "SamModel":
        raise ModelError(
            expected(f"the family of {folder}", "sam or medsam, whose names Meta has given",
                     loaded.family.name, "a folder as --out")
        )  # fmt: skip
    if loaded.family.name == "medsam" and "medsam" not in target.name.lower():
        raise StorageError(
            expected("the name of a .pth file of MedSAM", "one with medsam in it, which alone "
                     "tells it from a SAM", target.name, f"medsam_{target.name}, or a folder")
        )  # fmt: skip
    from penumbra.promptable.meta_weights import save_meta_file  # noqa: PLC0415 - an extra

    save_meta_file(target, loaded.model)
    return target
