"""The losses of promptable models against NumPy, MONAI and what must hold of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses.dice import DiceLoss

from penumbra.errors import SettingsError
from penumbra.promptable.losses import (
    bce_loss,
    dice_loss,
    focal_loss,
    iou_of_logits,
    prompt_loss,
)


def _drawn(seed, shape=(2, 3, 5, 6)):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator)
    target = (torch.rand(shape, generator=generator) > 0.6).float()
    valid = (torch.rand(shape, generator=generator) > 0.3).float()
    return logits, target, valid


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_focal_is_the_formula_of_the_paper(seed):
    logits, target, valid = (t.double().numpy() for t in _drawn(seed))
    p = 1 / (1 + np.exp(-logits))
    p_t = np.where(target == 1, p, 1 - p)
    alpha = np.where(target == 1, 0.25, 0.75)
    wanted = -alpha * (1 - p_t) ** 2 * np.log(p_t)
    found = focal_loss(*(torch.from_numpy(a) for a in (logits, target)))
    np.testing.assert_allclose(found, wanted.mean((-1, -2)), rtol=1e-4, atol=1e-6)
    found = focal_loss(*(torch.from_numpy(a) for a in (logits, target, valid)))
    counted = (wanted * valid).sum((-1, -2)) / np.maximum(valid.sum((-1, -2)), 1)
    np.testing.assert_allclose(found, counted, rtol=1e-4, atol=1e-6)


def test_dice_is_monais_with_one_added():
    logits, target, _ = _drawn(1)
    reference = DiceLoss(sigmoid=True, smooth_nr=1, smooth_dr=1, reduction="none")
    wanted = reference(logits.flatten(0, 1)[:, None], target.flatten(0, 1)[:, None]).flatten()
    torch.testing.assert_close(dice_loss(logits, target).flatten(), wanted)


def test_bce_is_torchs():
    logits, target, _ = _drawn(2)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(bce_loss(logits, target).mean(), wanted)


@pytest.mark.parametrize("loss", [focal_loss, dice_loss, bce_loss, iou_of_logits])
def test_pixels_that_do_not_count_change_nothing(loss):
    logits, target, valid = _drawn(3)
    elsewhere = torch.where(valid > 0, logits, -logits * 7)
    turned = torch.where(valid > 0, target, 1 - target)
    torch.testing.assert_close(loss(logits, target, valid), loss(elsewhere, turned, valid))


def test_nothing_that_counts_costs_nothing():
    logits, target, valid = _drawn(4)
    assert float(focal_loss(logits, target, torch.zeros_like(valid)).abs().max()) == 0


def test_iou_against_sets_of_pixels():
    logits, target, _ = _drawn(5)
    for a, b, found in zip(
        logits.flatten(0, 1), target.flatten(0, 1), iou_of_logits(logits, target).flatten(),
        strict=True,
    ):  # fmt: skip
        mine = set(map(tuple, (a > 0).nonzero().tolist()))
        true = set(map(tuple, (b > 0).nonzero().tolist()))
        assert float(found) == pytest.approx(len(mine & true) / len(mine | true))
    assert float(iou_of_logits(torch.full((2, 2), -1.0), torch.zeros(2, 2))) == 1


@pytest.mark.parametrize("name", ["sam", "dice_bce"])
def test_the_least_of_the_masks_is_learned_and_no_other(name):
    logits, target, _ = _drawn(6, (2, 3, 4, 5, 5))
    logits.requires_grad_()
    target = target[:, :, 0]
    loss = prompt_loss(logits, torch.zeros(2, 3, 4), target, name=name, iou_weight=0)
    pixel = (lambda x, y: 20 * focal_loss(x, y)) if name == "sam" else bce_loss
    every = torch.stack(
        [pixel(logits[:, :, m], target) + dice_loss(logits[:, :, m], target) for m in range(4)]
    )
    torch.testing.assert_close(loss.total, every.amin(0).mean())
    torch.testing.assert_close(loss.least, every.argmin(0))
    (gradient,) = torch.autograd.grad(loss.total, logits)
    touched = gradient.abs().sum((-1, -2)) > 0
    assert torch.equal(touched, torch.nn.functional.one_hot(loss.least, 4).bool())


def test_predicted_iou_learns_from_every_mask_and_moves_none():
    logits, target, _ = _drawn(7, (1, 2, 3, 6, 6))
    logits.requires_grad_()
    predicted = torch.rand(1, 2, 3, requires_grad=True)
    target = target[:, :, 0]
    both = prompt_loss(logits, predicted, target)
    alone = prompt_loss(logits, predicted, target, iou_weight=0)
    wanted = (predicted - both.true_iou).square().mean()
    torch.testing.assert_close(both.total - alone.total, wanted)
    torch.testing.assert_close(both.iou, wanted.detach())
    mine, other = (torch.autograd.grad(x.total, logits)[0] for x in (both, alone))
    torch.testing.assert_close(mine, other)


def test_prompts_of_weight_zero_count_nowhere():
    logits, target, _ = _drawn(8, (1, 2, 3, 6, 6))
    target = target[:, :, 0]
    weight = torch.tensor([[1.0, 0.0]])
    found = prompt_loss(logits, torch.zeros(1, 2, 3), target, weight=weight)
    wanted = prompt_loss(logits[:, :1], torch.zeros(1, 1, 3), target[:, :1])
    torch.testing.assert_close(found.total, wanted.total)


def test_shapes_and_names_are_checked():
    good = torch.zeros(1, 2, 3, 4, 4), torch.zeros(1, 2, 3), torch.zeros(1, 2, 4, 4)
    with pytest.raises(SettingsError, match="'sam' or 'dice_bce'"):
        prompt_loss(*good, name="other")
    with pytest.raises(SettingsError, match="resolution"):
        prompt_loss(good[0], good[1], torch.zeros(1, 2, 8, 8))
