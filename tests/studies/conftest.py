"""A study small enough to run in seconds, and one run of it that tests share."""

import copy

import pytest

from penumbra.studies.experiment import StudyExperiment
from penumbra.studies.places import Study
from penumbra.studies.run import run_study

DOCUMENT = {
    "sets": [
        {
            "name": "phantom",
            "source": "phantom:48",
            "image": {"size": 32, "fit": "resize"},
            "split": {"fractions": [0.4, 0.3, 0.3]},
            "limits": {"test": 9},
            "model": {"width": 4, "depth": 2},
        }
    ],
    "experiment": {
        "training": {"epochs": 2, "samples_per_epoch": 16, "validate_every": 2, "threads": 1}
    },
    "seeds": [0, 1],
    "kinds": {"plain": {}},
    "rows": [
        {"name": "plain", "calibration": None},
        {"name": "augmentation", "sampler": "augmentation:2", "calibration": None},
        {"name": "dropout", "sampler": "dropout:2@0.2", "calibration": None},
        {"name": "ensemble", "sampler": "ensemble", "members": 2, "calibration": None},
    ],
    "baselines": ["plain"],
    "shifts": {"cells": ["rotation:3"], "rows": ["plain"]},
}  # fmt: skip


@pytest.fixture
def document():
    """The study as plain values, to be changed."""
    return copy.deepcopy(DOCUMENT)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A study that ran from start to end, and what it said."""
    out = tmp_path_factory.mktemp("study")
    study = Study(StudyExperiment.parse(copy.deepcopy(DOCUMENT)), out, out)
    return study, run_study(study)
