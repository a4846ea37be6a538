"""A small phantom set that trains in seconds."""

import pytest

from penumbra.data.phantom import make_phantom
from penumbra.training.experiment import Experiment


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "set"
    make_phantom(folder, count=24, size=32, seed=0, kinds=("ultrasound", "xray"))
    return folder


@pytest.fixture
def tiny(phantom):
    """An experiment of two short epochs that counts steps, not time."""
    return Experiment.parse(
        {
            "source": f"folder:{phantom}",
            "image": {"size": 32},
            "model": {"arguments": {"width": 4, "depth": 2}},
            "training": {
                "epochs": 2,
                "samples_per_epoch": 16,
                "batch_size": 4,
                "deterministic": True,
                "threads": 1,
            },
        }
    )
