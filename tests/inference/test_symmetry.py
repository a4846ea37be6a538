"""The symmetries of the square: a group, each undone exactly, tiles found again."""

import pytest
import torch

from penumbra.inference.symmetry import IDENTITY, symmetries_of


@pytest.mark.parametrize("kind", ["none", "horizontal", "dihedral"])
def test_each_is_undone_exactly_and_no_two_are_alike(kind):
    x = torch.rand(2, 3, 5, 7)
    turned = [symmetry.apply(x) for symmetry in symmetries_of(kind)]
    for symmetry, y in zip(symmetries_of(kind), turned, strict=True):
        assert torch.equal(symmetry.undo(y), x)
    assert symmetries_of(kind)[0] == IDENTITY
    for first in range(len(turned)):
        for second in range(first):
            same_shape = turned[first].shape == turned[second].shape
            assert not (same_shape and torch.equal(turned[first], turned[second]))


@pytest.mark.parametrize("symmetry", symmetries_of("dihedral"))
def test_a_tile_is_found_where_its_transform_lies(symmetry):
    image = torch.arange(9.0 * 13).view(1, 1, 9, 13)
    top, left, h, w = 2, 5, 4, 6
    tile = image[..., top : top + h, left : left + w]
    origins = symmetry.origins(
        torch.tensor([[top, left]]).float(), (h, w), torch.tensor([[9.0, 13.0]])
    )
    t, l = (int(v) for v in origins[0])  # noqa: E741
    turned = symmetry.apply(tile)
    whole = symmetry.apply(image)
    assert torch.equal(whole[..., t : t + turned.shape[-2], l : l + turned.shape[-1]], turned)
