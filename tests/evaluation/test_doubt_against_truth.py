"""Phantoms know their true probability: a trained network's doubt must lie where it is."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from penumbra.data.phantom import make_phantom
from penumbra.evaluation.of_run import open_for_run
from penumbra.imaging.write import read_unit_map
from penumbra.inference.predictor import Predictor
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run


@pytest.mark.slow
def test_doubt_lies_where_the_boundary_is_ambiguous(tmp_path):
    folder = tmp_path / "set"
    make_phantom(folder, count=80, size=64, seed=2, kinds=("ultrasound",))
    experiment = Experiment.parse(
        {
            "source": f"folder:{folder}",
            "image": {"size": 64},
            "model": {"arguments": {"width": 8, "depth": 3}},
            "training": {"epochs": 12, "deterministic": True, "threads": 1, "batch_size": 8},
        }
    )
    train(experiment, tmp_path / "run")
    run = Run(tmp_path / "run")
    predictor = Predictor.load(run.folder)
    samples = open_for_run(run, str(run.manifest), split="test")
    found, ambiguous, baseline = [], [], []
    for sample in samples:
        truth = read_unit_map(folder / "truth" / f"{sample.id}.png", scale=1.0)
        found.append(predictor([sample.image])[0].uncertainty["entropy"].ravel())
        ambiguous.append(((truth > 0.1) & (truth < 0.9)).ravel())
        # What a sceptic would try first: doubt where the image is bright, or where it is dark.
        baseline.append(sample.image.mean(axis=2).ravel())
    where = np.concatenate(ambiguous)
    ours = roc_auc_score(where, np.concatenate(found))
    bright = roc_auc_score(where, np.concatenate(baseline))
    assert ours > max(bright, 1 - bright) + 0.05
    assert ours > 0.75
