"""Whose calibration is it: not that of training samples, of other weights or of other classes."""

import json

import numpy as np
import pytest
import torch

from penumbra.calibration.calibrate import calibrate
from penumbra.calibration.comparing import SURE, margin_of
from penumbra.calibration.options import CalibrationOptions
from penumbra.errors import RunError, SourceError
from penumbra.inference.calibration import AreaInterval, Calibration
from penumbra.inference.predictor import Predictor
from penumbra.models.storage import save_model

QUICK = CalibrationOptions(noise="off", logit_noise="off", temperature="global", most_tiles=10)


def with_manifest(run, manifest, trained):
    """Give a run the manifest that it was trained by."""
    lines = manifest.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    column = rows[0].index("split")
    for row in rows[1 : 1 + trained]:
        row[column] = "train"
    (run / "manifest.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")


def test_all_samples_are_all_but_those_of_the_training(network, blob, make_run, make_folder):
    run, manifest = make_run(network), make_folder([blob(n) for n in range(8)])
    with_manifest(run, manifest, trained=5)
    found = calibrate(run, manifest, options=QUICK, split="all")
    assert found.record["n_images"] == 3
    assert found.record["notes"][0].startswith("5 samples that the network was trained on")
    with_manifest(run, manifest, trained=8)
    with pytest.raises(SourceError, match="not trained on"):
        calibrate(run, manifest, options=QUICK, split="all")


def test_a_calibration_of_other_weights_is_refused(network, blob, make_run, make_folder):
    run = make_run(network)
    calibrate(run, make_folder([blob(n) for n in range(4)]), options=QUICK)
    assert Predictor.load(run).calibration is not None
    description = json.loads((run / "model.json").read_text())
    details = {key: description[key] for key in ("preprocess", "class_names")}
    with torch.no_grad():
        network.outc.bias.add_(0.1)
        save_model(run, network, details=details)
        network.outc.bias.sub_(0.1)
    with pytest.raises(RunError, match="present weights"):
        Predictor.load(run)
    assert Predictor.load(run, calibration=False).calibration is None


def test_a_calibration_of_other_classes_is_refused(network, make_run):
    area = AreaInterval(
        level=0.9, class_names=("lung",), quantile=(1.0,), group_quantile=(1.0,), n_groups=9
    )
    with pytest.raises(RunError, match="lung"):
        Predictor.load(make_run(network), calibration=Calibration(area=area))


@pytest.mark.parametrize("groups", [2, 3, 6, 20])
def test_chance_alone_is_kept_in_one_case_of_ten(groups):
    gains = np.random.default_rng(groups).standard_normal((4000, groups))
    kept = np.mean([row.mean() > margin_of(row) for row in gains])
    assert kept == pytest.approx(1 - SURE, abs=0.02)
