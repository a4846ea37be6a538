"""The joint NLL of tiles against a loop over tiles, pixels and passes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.evaluation import calibration
from penumbra.evaluation.joint import joint_nll, joint_of_one_pass, nothing_joint, tally_joint
from penumbra.evaluation.sums import combine


def _case(seed, *, k=3, n_classes=2, size=(21, 18)):
    rng = np.random.default_rng(seed)
    samples = rng.dirichlet(np.ones(n_classes), size=(k, *size)).transpose(0, 3, 1, 2)
    samples = (0.98 * samples + 0.02 / n_classes).astype(np.float32)
    truth = rng.integers(0, n_classes, size).astype(np.uint8)
    truth[rng.uniform(size=size) < 0.1] = 255
    return truth, samples


def _slow(truth, likelihoods, *, tile, n_eff):
    """Give tempered and untempered NLL from p(y) of every pass and pixel, (K, H, W)."""
    height, width = truth.shape
    tempered = whole = pixels = 0.0
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            per_pass, n = [], 0
            for p in likelihoods:
                total, n = 0.0, 0
                for i in range(top, min(top + tile, height)):
                    for j in range(left, min(left + tile, width)):
                        if truth[i, j] != 255:
                            total, n = total + math.log(p[i, j]), n + 1
                per_pass.append(total)
            if n:
                soft = [math.exp(n_eff * total / n) for total in per_pass]
                full = [math.exp(total) for total in per_pass]
                tempered += n * -math.log(sum(soft) / len(soft)) / n_eff
                whole += -math.log(sum(full) / len(full))
                pixels += n
    return tempered / pixels, whole / pixels


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.sampled_from([5, 16]))
def test_joint_nll_agrees_with_a_plain_loop(seed, n_classes, tile):
    truth, samples = _case(seed, n_classes=n_classes)
    sums = tally_joint(truth, samples, tile=tile, n_eff=7.0)
    soft, full = joint_nll(sums), joint_nll(sums, tempered=False)
    held = np.where(truth == 255, 0, truth)
    given_ = np.take_along_axis(samples, held[None, None].astype(int), axis=1)[:, 0].astype(float)
    expected = _slow(truth, given_, tile=tile, n_eff=7.0)
    assert (soft[0], full[0]) == pytest.approx(expected, rel=1e-5)
    for c in range(n_classes):
        against = np.where(truth == c, samples[:, c], 1.0 - samples[:, c]).astype(float)
        expected = _slow(truth, against, tile=tile, n_eff=7.0)
        assert (soft[1 + c], full[1 + c]) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 4]))
def test_a_single_pass_has_the_pixel_nll(seed, n_classes):
    truth, samples = _case(seed, k=1, n_classes=n_classes)
    cal = calibration.tally(truth, samples[0], samples[0].argmax(axis=0).astype(np.uint8))
    pixel = np.concatenate([[calibration.nll(cal)], calibration.class_nll(cal)])
    for sums in (tally_joint(truth, samples), joint_of_one_pass(cal)):
        for tempered in (True, False):
            np.testing.assert_allclose(joint_nll(sums, tempered=tempered), pixel, rtol=1e-5)


def test_equal_passes_are_as_good_as_one():
    truth, samples = _case(0, k=1)
    one, many = tally_joint(truth, samples), tally_joint(truth, np.repeat(samples, 5, axis=0))
    np.testing.assert_allclose(joint_nll(many), joint_nll(one), rtol=1e-9)


def test_passes_that_are_wrong_together_are_better_than_their_mean():
    """A tile is all 0 or all 1: samples that know so beat the pixelwise mean of ½."""
    truth = np.ones((16, 16), np.uint8)
    sure = np.stack([np.full((2, 16, 16), 0.1), np.full((2, 16, 16), 0.9)])
    sure[:, 0] = 1 - sure[:, 1]
    mean = sure.mean(axis=0, keepdims=True)
    assert joint_nll(tally_joint(truth, sure))[0] < 0.4 * joint_nll(tally_joint(truth, mean))[0]


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_parts_cut_between_tiles_add_up_to_the_whole(seed):
    truth, samples = _case(seed, size=(40, 20))
    whole = tally_joint(truth, samples)
    parts = combine(
        np.add,
        tally_joint(truth[:32], samples[:, :, :32]),
        tally_joint(truth[32:], samples[:, :, 32:]),
    )
    for name in ("n", "tempered", "whole"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)


def test_no_chance_for_what_is_true_is_finite():
    truth, samples = np.ones((4, 4), np.uint8), np.zeros((2, 2, 4, 4))
    samples[:, 0] = 1.0
    assert joint_nll(tally_joint(truth, samples))[0] == pytest.approx(-math.log(1e-7), rel=1e-6)


def test_passes_that_were_not_kept_are_not_a_number():
    assert np.isnan(joint_nll(nothing_joint(2))).all()
    with pytest.raises(ValueError, match="no pass"):
        tally_joint(np.zeros((4, 4), np.uint8), [])
