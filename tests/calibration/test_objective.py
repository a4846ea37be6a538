"""Objectives: against plain loops, and against the measure that finished predictions get."""

import math

import numpy as np
import pytest
import torch

from penumbra.calibration.objective import (
    log_likelihoods,
    pixel_nll,
    tile_joint_nll,
    tile_sums,
)
from penumbra.evaluation.joint import joint_nll, tally_joint


@pytest.mark.parametrize("k", [1, 2, 4])
def test_log_likelihoods_are_those_of_the_probabilities(k):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 2, k, 6, 7, generator=generator) * 3
    truth = torch.randint(0, max(k, 2), (2, 6, 7), generator=generator)
    truth[0, 0, :3] = 255
    p = (
        torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=2)
        if k == 1
        else torch.softmax(logits, dim=2)
    )
    got = log_likelihoods(logits, truth)
    for n, i, j in np.ndindex(2, 6, 7):
        label = int(truth[n, i, j])
        want = torch.zeros(5) if label == 255 else torch.log(p[:, n, label, i, j])
        torch.testing.assert_close(got[:, n, i, j], want, atol=1e-5, rtol=1e-4)
    mean = -got.sum(dim=(1, 2, 3)) / (2 * 6 * 7 - 3)
    torch.testing.assert_close(pixel_nll(got, truth), mean)


@pytest.mark.parametrize("k", [1, 3])
def test_the_tile_likelihood_is_the_one_of_the_evaluation(k):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 1, k, 40, 37, generator=generator) * 2
    truth = torch.randint(0, max(k, 2), (1, 40, 37), generator=generator)
    truth[0, :5, 20:] = 255
    got = float(tile_joint_nll(log_likelihoods(logits, truth), truth, n_eff=9.0))
    p = (
        torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=2)
        if k == 1
        else torch.softmax(logits, dim=2)
    )
    sums = tally_joint(truth[0].numpy().astype(np.uint8), list(p[:, 0].numpy()), n_eff=9.0)
    assert got == pytest.approx(float(joint_nll(sums)[0]), rel=1e-5)


def test_tile_sums_keep_the_total_whatever_the_border():
    values = torch.rand(3, 33, 18)
    torch.testing.assert_close(tile_sums(values).sum(dim=(1, 2)), values.sum(dim=(1, 2)))
    torch.testing.assert_close(tile_sums(values)[1, 2, 0], values[1, 32:, :16].sum())


def test_one_pass_is_the_pixel_nll_and_whole_ignored_images_are_zero():
    logs = torch.log(torch.rand(1, 2, 32, 32))
    truth = torch.ones(2, 32, 32, dtype=torch.int64)
    torch.testing.assert_close(tile_joint_nll(logs, truth), pixel_nll(logs, truth)[0])
    nothing = torch.full_like(truth, 255)
    assert float(tile_joint_nll(torch.zeros_like(logs), nothing)) == 0.0


def test_gradients_stay_finite_for_sure_and_wrong_passes():
    logits = torch.full((2, 1, 1, 16, 16), 80.0, requires_grad=True)
    truth = torch.zeros(1, 16, 16, dtype=torch.int64)
    loss = tile_joint_nll(log_likelihoods(logits, truth), truth)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(80.0, rel=1e-4)
    assert math.isfinite(float(logits.grad.abs().sum()))
    assert float(logits.grad.abs().sum()) > 0
