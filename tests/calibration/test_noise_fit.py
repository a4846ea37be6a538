"""Fitted noise: it moves what it should, says the same twice, and is what predictions draw."""

import numpy as np
import pytest
import torch

from penumbra.calibration.gates import NoisyPass, start_gates
from penumbra.calibration.noise import FitSettings, fit_noise
from penumbra.calibration.options import CalibrationOptions
from penumbra.calibration.scoring import noisy_passes, one_pass, score
from penumbra.calibration.search import search_patterns
from penumbra.calibration.temperatures import fit_temperature
from penumbra.errors import SettingsError
from penumbra.inference.calibration import Calibration, Temperature
from penumbra.inference.predictor import Predictor
from penumbra.noise.patterns import Pattern

LONG = Pattern(length=32)


@pytest.fixture(scope="module")
def reached(frozen):
    return frozen.at(frozen.site_names("skips"))


def fitted(frozen, reached, *, pattern=LONG, start=None, **settings):
    return fit_noise(
        frozen, reached, range(len(frozen.held_out.tiles)),
        patterns=dict.fromkeys(reached.names, pattern), temperature=Temperature(), start=start,
        settings=FitSettings(**({"steps": 12, "marginal": 0.0} | settings)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fit(frozen, reached):
    return fitted(frozen, reached, steps=25)


def judged(frozen, passes):
    return score(frozen, range(len(frozen.held_out.tiles)), passes)


def test_noise_finds_outlines_that_are_wrong_all_around(frozen, reached, fit):
    one = judged(frozen, one_pass(frozen, fit_temperature(frozen, range(16), "global")))
    many = judged(frozen, noisy_passes(frozen, reached, fit, 8))
    assert many.mean(many.joint) < 0.97 * one.mean(one.joint)
    assert many.mi_over_h > 0.01
    assert one.mi_over_h == 0.0
    assert one.joint == pytest.approx(one.nll, rel=1e-4)


def test_white_noise_has_no_effect_beside_it(frozen, reached, fit):
    white = fitted(frozen, reached, pattern=Pattern(name="gaussian"))
    many = judged(frozen, noisy_passes(frozen, reached, white, 8))
    assert many.mi_over_h < judged(frozen, noisy_passes(frozen, reached, fit, 8)).mi_over_h


def test_the_same_seed_gives_the_same_fit_and_another_seed_another(frozen, reached):
    first, again, other = (fitted(frozen, reached, steps=3, seed=s) for s in (1, 1, 2))
    assert first.noise == again.noise
    assert first.temperature == again.temperature
    assert first.noise != other.noise


def test_pairs_are_antithetic_and_passes_independent_of_their_batch(frozen, reached, fit):
    tiles = frozen.held_out.tiles
    h = torch.zeros(4, 4, 32, 32)
    numbers = [0, 1, 2, 0]
    noisy = NoisyPass(fit.gates, [tiles[0]] * 3 + [tiles[1]], numbers)(h, "skip1", 1.0)
    torch.testing.assert_close(noisy[0], -noisy[1])
    assert (noisy[0] - noisy[2]).abs().max() > 1e-4
    assert (noisy[0] - noisy[3]).abs().max() > 1e-4
    alone = NoisyPass(fit.gates, [tiles[1]], [0])(h[:1], "skip1", 1.0)
    torch.testing.assert_close(alone[0], noisy[3])


def test_input_dependent_gates_start_as_scalar_ones_and_learn(frozen, reached, fit):
    gates = start_gates(
        reached.statistics, dict.fromkeys(reached.names, LONG), by_input=True, start=fit.gates
    )
    h = reached.statistics["skip1"].mean[None, :, None, None].expand(1, -1, 8, 8)
    torch.testing.assert_close(
        gates["skip1"].amplitude(h)[0, :, 0, 0], fit.gates["skip1"].amplitude(h)
    )
    richer = fitted(frozen, reached, start=fit, by_input=True, steps=4)
    site = richer.noise.sites["skip1"]
    assert len(site.gate_weight) == len(site.mean) == 4
    assert max(map(abs, site.gate_weight)) > 0


@pytest.mark.parametrize("by_input", [False, True])
def test_predictions_draw_the_noise_that_was_fitted(
    network, frozen, reached, fit, by_input, blob, preprocess
):
    if by_input:
        fit = fitted(frozen, reached, start=fit, by_input=True, steps=2)
    learned = Calibration(noise=fit.noise, noise_temperature=fit.temperature)
    predictor = Predictor(
        network, preprocess=preprocess, class_names=("background", "blob"), calibration=learned,
        sampler="noise:64", precision="fp32", device="cpu",
    )  # fmt: skip
    ours, theirs = [], []
    passes = noisy_passes(frozen, reached, fit, 64)
    for number in range(3):
        (found,) = predictor([blob(1000 + number)[0]])
        theirs.append(found.class_uncertainty["variance"][1].mean())
        with torch.no_grad():
            drawn, _ = passes(number)
        ours.append(float(drawn[:, 1].var(dim=0).mean()))
    # The same distribution by two implementations: draws differ, their spread does not.
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.25)


def test_a_search_never_ends_above_where_it_began(frozen, reached, fit):
    options = CalibrationOptions(marginal=0.0)
    found = search_patterns(frozen, reached, fit, options)
    lengths = {gate.pattern.length for gate in found.gates.values()}
    assert lengths <= {8.0, 16.0, 32.0, 64.0}
    tiles = range(len(frozen.held_out.tiles))
    before, after = (
        score(frozen, tiles, noisy_passes(frozen, reached, one, 4, draw=-2)) for one in (fit, found)
    )
    assert after.joint.sum() <= before.joint.sum() + 1e-6


def test_a_search_changes_nothing_that_was_asked_for(frozen, reached, fit):
    options = CalibrationOptions(pattern="lattice", length=32.0)
    assert search_patterns(frozen, reached, fit, options).gates == fit.gates


@pytest.mark.parametrize(
    "wrong",
    [{"n_eff": 0}, {"passes": 1}, {"length": -1.0}, {"pattern": "brick"}, {"gates": "open"},
     {"marginal": 2.0}, {"temperature": "cold"}, {"n_eff": float("nan")}],
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match="Expected"):
        CalibrationOptions(**wrong)
