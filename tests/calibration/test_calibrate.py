"""Calibrating runs: what is kept, what is written, and what bad input says."""

import numpy as np
import pytest
import torch

from penumbra.calibration.calibrate import calibrate
from penumbra.calibration.comparing import compare, group_folds, paired_gain
from penumbra.calibration.fit import calibrate_frozen, say_effect
from penumbra.calibration.options import CalibrationOptions
from penumbra.calibration.promises import mean_dice
from penumbra.calibration.scoring import TileScores
from penumbra.errors import RunError, SettingsError, SourceError
from penumbra.inference.calibration import Calibration
from penumbra.inference.predictor import Predictor
from penumbra.models.unet.unet import UNet
from penumbra.models.wrap import Wrapped

QUICK = CalibrationOptions(steps=4, pattern="lattice", length=16.0, gates="scalar",
                           temperature="global", logit_noise="off", most_tiles=10)  # fmt: skip


@pytest.fixture(scope="module")
def scores(frozen):
    rng = np.random.default_rng(0)
    n = len(frozen.held_out.tiles)
    pixels = rng.integers(50, 100, n).astype(float)

    def make(shift):
        nll = pixels * (0.5 + shift + 0.01 * rng.standard_normal(n))
        return TileScores(pixels, nll, nll, pixels, 0 * pixels, np.zeros((n, 3, 10)))

    return make


def test_a_gain_is_the_mean_over_groups_with_a_margin_for_so_few(frozen, scores):
    rich, simple = scores(-0.1), scores(0.0)
    gain, margin = paired_gain(frozen.held_out, rich, simple, "joint")
    each = []
    for group in frozen.held_out.groups:
        own = list(frozen.held_out.of_groups([group]))
        each.append((simple.joint[own].sum() - rich.joint[own].sum()) / rich.pixels[own].sum())
    assert gain == pytest.approx(np.mean(each))
    # Student's t for 7 degrees of freedom, 90 % one-sided: 1.415 in any table.
    assert len(each) == 8
    assert margin == pytest.approx(1.415 * np.std(each, ddof=1) / np.sqrt(8), rel=1e-3)
    names = {"what": "rich", "against": "simple", "metric": "nll"}
    assert compare(frozen.held_out, rich, simple, **names).kept
    assert not compare(frozen.held_out, simple, rich, **names).kept
    assert compare(frozen.held_out, simple, rich, forced=True, **names).kept
    row = compare(frozen.held_out, rich, simple, **names).to_json()
    assert row["low"] < row["gain"] < row["high"]


@pytest.mark.parametrize("count", [2, 3, 20])
def test_folds_keep_groups_whole_and_judge_every_tile_once(frozen, count):
    folds = group_folds(frozen.held_out, count=count, seed=1)
    assert len(folds) == min(count, 8)
    assert sorted(i for _, outside in folds for i in outside) == list(range(16))
    for inside, outside in folds:
        groups = [{frozen.held_out.tiles[i].group for i in part} for part in (inside, outside)]
        assert not groups[0] & groups[1]


@pytest.mark.slow
def test_everything_auto_keeps_only_what_pays(frozen):
    found = calibrate_frozen(frozen, CalibrationOptions(steps=4, pattern="lattice", length=16.0))
    record = found.record
    for row in record["comparisons"]:
        if row["metric"] == "joint tile NLL":
            assert row["kept"] == (row["gain"] > row["gain"] - row["low"])
    kept = {row["what"]: row["kept"] for row in record["comparisons"]}
    assert (found.noise is not None) == kept["feature noise, 8 passes"]
    assert (found.logit_noise is not None) == kept["noise in logit space, 64 samples"]
    assert found.sampler in ("deterministic", "noise:8", "logit-noise:64")
    assert record["n_groups"] == 8
    assert sum(record["reliability_before"]["share"]) == pytest.approx(1.0)
    assert record["joint_after"] <= record["joint_before"] + 1e-6


def test_a_run_from_elsewhere_is_calibrated_and_predicts(network, blob, make_run, make_folder):
    run = make_run(network)
    manifest = make_folder([blob(n) for n in range(10)])
    found = calibrate(run, manifest, options=QUICK)
    assert Calibration.read(run) == found
    assert found.area.n_groups == 10
    assert found.flag.score in ("soft_dice", *("sample_disagreement", "mean_entropy"))
    (prediction,) = Predictor.load(run)([blob(99)[0]])
    assert prediction.sampler == found.sampler
    assert set(prediction.area_intervals) == {"blob"}
    assert prediction.flagged in (True, False)


def test_the_same_seed_writes_the_same_but_for_the_seconds(
    network, blob, make_run, make_folder, tmp_path
):
    run, manifest = make_run(network), make_folder([blob(n) for n in range(6)])
    found = [
        calibrate(run, manifest, options=QUICK, out=tmp_path / name).model_dump()
        for name in ("first", "again")
    ]
    assert not (run / "calibration.json").exists()
    for one in found:
        one["record"].pop("seconds")
        one["record"].pop("seconds_of_predictions")
    assert found[0] == found[1]


def test_a_wrapped_module_by_named_sites(blob, make_run, make_folder):
    torch.manual_seed(0)
    keywords = {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "padding": 1}
    net = Wrapped(1, 1, target="torch.nn.Conv2d", multiple=1, keywords=keywords)
    run, manifest = make_run(net), make_folder([blob(n) for n in range(4)])
    with pytest.raises(SettingsError, match="Try "):
        calibrate(run, manifest, options=QUICK)
    options = CalibrationOptions(**{**vars(QUICK), "sites": "module", "noise": "on"})
    found = calibrate(run, manifest, options=options)
    assert list(found.noise.sites) == ["module"]


def test_one_group_gets_one_pass_and_a_note(network, blob, make_run, make_folder):
    run = make_run(network)
    manifest = make_folder([blob(n) for n in range(3)], groups=["same"] * 3)
    found = calibrate(run, manifest, options=QUICK)
    assert found.record["n_groups"] == 1
    assert found.record["comparisons"] == []
    assert found.sampler == "deterministic"
    assert found.noise is not None
    assert found.area.quantile == (None,)
    assert "at least 2 groups" in found.record["notes"][0]


def test_one_image_is_enough(network, blob, make_run, make_folder):
    found = calibrate(make_run(network), make_folder([blob(1)]), options=QUICK)
    assert found.record["n_images"] == 1
    assert found.temperature.kind == "global"


@pytest.mark.parametrize("what", ["constant images", "empty masks", "full masks"])
def test_images_that_say_nothing_give_finite_numbers(network, blob, make_run, make_folder, what):
    pairs = [blob(n) for n in range(4)]
    if what == "constant images":
        pairs = [(np.full_like(image, 7), mask) for image, mask in pairs]
    else:
        pairs = [(image, np.full_like(mask, what == "full masks")) for image, mask in pairs]
    found = calibrate(make_run(network), make_folder(pairs), options=QUICK)
    assert np.isfinite(found.record["nll_after"])
    assert 0.04 < found.temperature.values[0] < 21
    (prediction,) = Predictor.load(make_run(network), calibration=found)([pairs[0][0]])
    assert np.isfinite(prediction.probabilities).all()


def test_a_network_that_ignores_its_features_is_told_that_noise_does_nothing(
    blob, make_run, make_folder
):
    net = UNet(1, 1, width=4, depth=2).eval()
    with torch.no_grad():
        net.outc.weight.zero_()
    options = CalibrationOptions(**{**vars(QUICK), "noise": "on"})
    found = calibrate(make_run(net), make_folder([blob(n) for n in range(4)]), options=options)
    assert found.record["mi_over_h"] < 1e-6
    assert say_effect(found.record).startswith("The noise has no effect")
    assert found.sampler == "deterministic"


def test_bad_input_says_what_to_do(network, blob, make_run, make_folder):
    manifest = make_folder([blob(n) for n in range(3)])
    with pytest.raises(SettingsError, match="not trained on"):
        calibrate(make_run(network), manifest, split="train")
    with pytest.raises(SettingsError, match="site"):
        calibrate(make_run(network), manifest,
                  options=CalibrationOptions(**{**vars(QUICK), "sites": "nowhere"}))  # fmt: skip
    details = {"preprocess": {"size": 32, "channels": 1}}
    with pytest.raises(RunError, match="class_names"):
        calibrate(make_run(network, details), manifest)
    details["class_names"] = ["background", "blob", "third"]
    run = make_run(network, details)
    for source in (manifest, f"folder:{manifest.parent / 'set'}"):
        with pytest.raises(SourceError, match="classes"):
            calibrate(run, source, split="all")
    details["class_names"] = ["background", "blob"]
    with torch.no_grad():
        broken = UNet(1, 1, width=4, depth=2)
        broken.outc.bias.fill_(float("inf"))
    with pytest.raises(RunError, match=r"outc\.bias"):
        calibrate(make_run(broken, details), manifest)


def test_dice_of_nothing_over_nothing_is_one():
    nothing = np.zeros((2, 2), np.uint8)
    assert mean_dice(nothing, nothing, first=1, n_classes=2) == 1.0
    assert mean_dice(nothing, nothing + 1, first=1, n_classes=2) == 0.0
