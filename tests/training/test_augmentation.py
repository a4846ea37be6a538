import numpy as np
import pytest
import torch

from penumbra.training.augmentation import Augmentation
from penumbra.training.experiment import AugmentationSettings

STILL = {
    "rotation": 0,
    "scale": 0,
    "shift": 0,
    "brightness": 0,
    "contrast": 0,
    "gamma": 1,
    "noise": 0,
}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=4, height=48, width=48):
    """Images that equal their masks, so that any difference in geometry shows."""
    rng = np.random.default_rng(0)
    masks = torch.from_numpy((rng.random((n, height, width)) > 0.7).astype(np.uint8))
    return masks.unsqueeze(1).float(), masks


def test_nothing_asked_nothing_changed():
    images, masks = batch()
    moved, moved_masks = Augmentation(AugmentationSettings(**STILL), "none")(images, masks, draw())
    torch.testing.assert_close(moved, images)
    assert torch.equal(moved_masks, masks)


@pytest.mark.parametrize("symmetry", ["horizontal", "dihedral"])
@pytest.mark.parametrize("size", [(48, 48), (40, 60)])
def test_symmetries_move_image_and_mask_alike(symmetry, size):
    images, masks = batch(16, *size)
    augmentation = Augmentation(AugmentationSettings(**STILL), symmetry)
    moved, moved_masks = augmentation(images, masks, draw())
    torch.testing.assert_close(moved.squeeze(1), moved_masks.float(), atol=1e-3, rtol=0)
    assert not torch.equal(moved_masks, masks)
    # Flips and turns only move pixels about: none is lost, none comes in.
    assert torch.equal(moved_masks.sum(dim=(1, 2)), masks.sum(dim=(1, 2)))


def test_horizontal_never_turns():
    images, masks = batch(32)
    _, moved = Augmentation(AugmentationSettings(**STILL), "horizontal")(images, masks, draw())
    flipped = masks.flip(-1)
    for one, was, mirror in zip(moved, masks, flipped, strict=True):
        assert torch.equal(one, was) or torch.equal(one, mirror)


def test_general_geometry_moves_image_and_mask_alike():
    ys, xs = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = (((ys - 30) ** 2 + (xs - 36) ** 2) < 15**2).to(torch.uint8).repeat(8, 1, 1)
    settings = AugmentationSettings(brightness=0, contrast=0, gamma=1, noise=0)
    moved, masks = Augmentation(settings, "dihedral")(disc.unsqueeze(1).float(), disc, draw())
    differs = ((moved.squeeze(1) > 0.5) != (masks > 0)).float().mean()
    assert differs < 0.01


def test_masks_keep_their_classes():
    masks = torch.tensor([0, 3, 255], dtype=torch.uint8)[torch.randint(0, 3, (4, 32, 32))]
    _, moved = Augmentation(AugmentationSettings(), "dihedral")(
        torch.rand(4, 1, 32, 32), masks, draw()
    )
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) <= {0, 3, 255}


def test_draws_come_from_the_generator_alone():
    images, masks = batch()
    augmentation = Augmentation(AugmentationSettings(blur=1.0), "dihedral")
    before = torch.random.get_rng_state()
    first = augmentation(images, masks, draw(3))
    again = augmentation(images, masks, draw(3))
    other = augmentation(images, masks, draw(4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_values_stay_finite():
    images, masks = batch()
    moved, _ = Augmentation(AugmentationSettings(gamma=2, blur=2), "none")(
        torch.zeros_like(images), masks, draw()
    )
    assert torch.isfinite(moved).all()
