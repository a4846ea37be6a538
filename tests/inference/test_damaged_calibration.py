"""A calibration.json that is damaged, or of another network, is refused in one sentence."""

import copy
import json

import numpy as np
import pytest
import torch

from penumbra.errors import ModelError, RunError
from penumbra.inference.calibration import (
    AreaInterval,
    Calibration,
    FeatureNoise,
    Flag,
    LinearMap,
    LogitNoise,
    NoiseSite,
    Temperature,
)
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.unet.unet import UNet
from penumbra.noise.patterns import Pattern


def linear(rows, channels=4):
    return LinearMap(
        taps=("up.0",),
        mean=((0.0,) * channels,),
        std=((1.0,) * channels,),
        weight=(((0.1,) * channels,) * rows,),
        bias=(0.0,) * rows,
    )


WHOLE = Calibration(
    temperature=Temperature(kind="local", values=(1.2,), map=linear(1)),
    noise=FeatureNoise(sites={"skip1": NoiseSite(gate=0.2, std=(1.0,) * 4)}),
    logit_noise=LogitNoise(map=linear(2), log_scale=0.0, lengths=(0.0, 8.0)),
    sampler="noise:2",
    area=AreaInterval(
        level=0.9, class_names=("thing",), quantile=(1.0,), group_quantile=(2.0,), n_groups=9
    ),
    flag=Flag(score="soft_dice", threshold=0.0),
)

DAMAGE = {
    ("version",): [0, True, 1.5, "1"],
    ("sampler",): ["noise:", "nose:8", ""],
    ("temperature", "values"): [[0.0], [1.0, 2.0], []],
    ("temperature", "map"): [None],
    ("temperature", "map", "std"): [[[1.0, 1.0, 1.0, 0.0]], [[1.0]], []],
    ("temperature", "map", "taps"): [[], ["up.0", "up.1"]],
    ("temperature", "map", "bias"): [[], [0.0, 0.0]],
    ("temperature", "map", "weight"): [[[[1.0]]], [[]]],
    ("noise", "sites"): [{}],
    ("noise", "sites", "skip1", "std"): [[], [-1.0]],
    ("noise", "sites", "skip1", "mean"): [[0.0]],
    ("noise", "sites", "skip1", "gate_weight"): [[0.0], [0.0] * 4],
    ("noise", "sites", "skip1", "pattern", "length"): [float("inf")],
    ("logit_noise", "lengths"): [[], [0.0, -1.0], [0.0, 8.0, 16.0]],
    ("logit_noise", "log_scale"): [1e9],
    ("area", "quantile"): [[], [1.0, 2.0], [-1.0]],
    ("area", "coverage"): [[0.9, 0.9]],
    ("area", "sampler"): ["nothing"],
    ("flag", "score"): ["no_such_score"],
}
CASES = [(place, value) for place, values in DAMAGE.items() for value in values]


@pytest.mark.parametrize(("place", "value"), CASES)
def test_damage_is_said_in_one_sentence_that_names_the_file(tmp_path, place, value):
    WHOLE.write(tmp_path)
    assert Calibration.read(tmp_path) == WHOLE
    file = tmp_path / "calibration.json"
    document = json.loads(file.read_text())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"Expected .*calibration\.json") as raised:
        Calibration.read(tmp_path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("text", ["[" * 200_000, "", "[]", "null", '{"version": 99}', "\x00"])
def test_what_is_no_calibration_at_all_is_refused(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(RunError, match=r"calibration\.json"):
        Calibration.read(tmp_path)


def predictor(calibration, network=None, sampler=None):
    return Predictor(
        network or UNet(1, 1, width=4, depth=2).eval(),
        preprocess=Preprocess(size=16, fit="crop", channels=1),
        class_names=("background", "thing"),
        calibration=calibration,
        sampler=sampler,
        precision="fp32",
        device="cpu",
    )


IMAGE = np.zeros((16, 16, 1), np.uint8)


@pytest.mark.parametrize("pattern", ["lattice", "gaussian"])
def test_noise_of_another_network_is_refused(pattern):
    site = NoiseSite(gate=0.2, std=(1.0,) * 6, pattern=Pattern(name=pattern))
    other = Calibration(noise=FeatureNoise(sites={"skip1": site}))
    with pytest.raises(RunError, match=r"skip1.*6 channels.*4"):
        predictor(other, sampler="noise:2")([IMAGE])


def test_a_map_of_another_network_is_refused():
    other = Calibration(temperature=Temperature(kind="local", map=linear(1, channels=5)))
    with pytest.raises(RunError, match=r"5 channels"):
        predictor(other)([IMAGE])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value):
    network = UNet(1, 1, width=4, depth=2).eval()
    with torch.no_grad():
        network.outc.weight[0, 0] = value
    with pytest.raises((RunError, ModelError), match=r"outc\.weight.*finite"):
        predictor(None, network=network)


def test_promises_hold_for_the_sampler_that_they_were_fitted_for():
    network = UNet(1, 1, width=4, depth=2).eval()
    promises = copy.deepcopy(WHOLE).model_dump() | {"temperature": {}, "logit_noise": None}
    (own,) = predictor(Calibration.model_validate(promises), network)([IMAGE])
    assert set(own.area_intervals) == {"thing"}
    assert own.flagged is not None
    for sampler in ("deterministic", "noise:4", "dropout:2"):
        (other,) = predictor(Calibration.model_validate(promises), network, sampler)([IMAGE])
        assert other.area_intervals == {}
        assert other.flagged is None
    for part in ("area", "flag"):
        promises[part]["sampler"] = "deterministic"
    (other,) = predictor(Calibration.model_validate(promises), network, "deterministic")([IMAGE])
    assert set(other.area_intervals) == {"thing"}
    assert other.flagged is not None
