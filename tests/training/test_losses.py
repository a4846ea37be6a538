from typing import get_args

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional

from penumbra.training.experiment import Loss
from penumbra.training.losses import boundary_cross_entropy, cross_entropy, focal, make_loss

NAMES = get_args(Loss)


def problem(k, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, k, 12, 10, generator=generator)
    mask = torch.randint(0, max(k, 2), (3, 12, 10), generator=generator)
    return logits, mask


def perfect(mask, k):
    if k == 1:
        return (mask.unsqueeze(1).float() * 2 - 1) * 40
    return functional.one_hot(mask, k).movedim(-1, 1).float() * 80


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_perfect_is_near_zero_and_wrong_is_not(name, k):
    _, mask = problem(k)
    loss = make_loss(name, n_logits=k)
    assert loss(perfect(mask, k), mask) < 0.01
    assert loss(perfect((mask + 1) % max(k, 2), k), mask) > 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 3])
def test_ignored_pixels_do_not_count(name, k):
    logits, mask = problem(k)
    mask[:, :4] = 255
    loss = make_loss(name, n_logits=k)
    changed = logits.clone()
    changed[:, :, :4] = 7.0
    torch.testing.assert_close(loss(changed, mask), loss(logits, mask))
    logits.requires_grad_()
    loss(logits, mask).backward()
    assert (logits.grad[:, :, :4] == 0).all()
    assert (logits.grad[:, :, 4:] != 0).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, 255])
def test_empty_and_ignored_masks_are_finite(name, value):
    logits, mask = problem(1)
    logits.requires_grad_()
    loss = make_loss(name)(logits, torch.full_like(mask, value))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["dice", "dice_ce", "tversky"])
def test_empty_masks_reward_predicting_nothing(name):
    mask = torch.zeros(2, 8, 8, dtype=torch.long)
    loss = make_loss(name)
    nothing, something = torch.full((2, 1, 8, 8), -9.0), torch.zeros(2, 1, 8, 8)
    assert loss(nothing, mask) < loss(something, mask)


def test_cross_entropy_is_torchs():
    logits, mask = problem(3)
    torch.testing.assert_close(cross_entropy(logits, mask), functional.cross_entropy(logits, mask))
    logits, mask = problem(1)
    reference = functional.binary_cross_entropy_with_logits(logits.squeeze(1), mask.float())
    torch.testing.assert_close(cross_entropy(logits, mask), reference)


def test_dice_is_monais():
    logits, mask = problem(1)
    reference = DiceLoss(sigmoid=True, batch=True)(logits, mask.unsqueeze(1).float())
    torch.testing.assert_close(make_loss("dice")(logits, mask), reference)


def test_focal_by_hand():
    logits = torch.tensor([[[[0.0]]]])
    half = torch.tensor(0.5)
    expected = -((1 - half) ** 2) * half.log()
    torch.testing.assert_close(focal(logits, torch.ones(1, 1, 1, dtype=torch.long)), expected)


def test_boundaries_weigh_more():
    mask = torch.zeros(1, 32, 32, dtype=torch.long)
    mask[:, :, 16:] = 1
    right = perfect(mask, 1)
    near, far = right.clone(), right.clone()
    near[..., 15] *= -1
    far[..., 2] *= -1
    ratio = boundary_cross_entropy(near, mask) / boundary_cross_entropy(far, mask)
    torch.testing.assert_close(ratio, torch.tensor(5.0), rtol=1e-3, atol=0)
