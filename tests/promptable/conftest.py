"""A tiny promptable model tuned in each way, in seconds."""

import pytest

from penumbra.data.phantom import make_phantom
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.promptable.tuning.tune import tune


@pytest.fixture(scope="session")
def tuning(tiny_sam, tmp_path_factory):
    """An experiment of two short epochs that counts steps, not time."""
    folder = tmp_path_factory.mktemp("tuning") / "set"
    make_phantom(folder, count=10, size=40, seed=0, kinds=("ultrasound", "xray"))
    return TuningExperiment.parse(
        {
            "source": f"folder:{folder}",
            "model": {"name": f"sam:{tiny_sam}"},
            "tune": {"validation_images": 2, "least_area": 4, "clicks": 1},
            "training": {
                "epochs": 2, "learning_rate": 3e-3, "threads": 1, "deterministic": True,
                "precision": "fp32",
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def tuned_runs(tuning, tmp_path_factory):
    """A folder with one run of each mode: `decoder`, `lora` and `full`."""
    folder = tmp_path_factory.mktemp("tuned_runs")
    for mode in ("decoder", "lora", "full"):
        tune(tuning.with_settings([f"tune.mode={mode}"]), folder / mode)
    return folder
