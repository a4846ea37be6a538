"""Prompts as maps: what each channel says of each place."""

import math

import torch

from penumbra.promptable.drawn_prompts import draw


def test_a_box_is_the_share_that_it_covers():
    drawn = draw(side=256, low=128, boxes=torch.tensor([[3.0, 10.0, 9.0, 12.5], [0, 0, 256, 256]]))
    assert drawn.shape == (2, 4, 128, 128)
    # Areas are kept: 6 × 2.5 pixels are 15 / 4 places.
    torch.testing.assert_close(drawn[:, 0].sum((1, 2)), torch.tensor([15 / 4, 128.0 * 128]))
    assert drawn[0, 0, 5, 1] == 0.5
    assert drawn[0, 0, 5, 2] == 1
    assert not drawn[:, 1:].any()


def test_without_a_box_the_object_may_be_anywhere():
    points, labels = torch.tensor([[[10.0, 20.0]]]), torch.tensor([[1]])
    none = torch.full((1, 4), math.nan)
    for drawn in (draw(side=64, low=32, points=points, labels=labels),
                  draw(side=64, low=32, points=points, labels=labels, boxes=none)):  # fmt: skip
        assert (drawn[0, 0] == 1).all()
        assert drawn.isfinite().all()


def test_points_are_drawn_where_they_are_and_by_their_sign():
    points = torch.tensor([[[10.5, 20.5], [40.5, 4.5], [0, 0]]])
    drawn = draw(side=64, low=32, points=points, labels=torch.tensor([[1, 0, -1]]))
    on, off = drawn[0, 1], drawn[0, 2]
    # Pixel 10.5 is 11 from the edge: the corner between places 4 and 5 is 11 / 2 = 5.5, place 5.
    assert divmod(int(on.argmax()), 32) == (10, 5)
    assert divmod(int(off.argmax()), 32) == (2, 20)
    assert on.max() == off.max() == 1
    assert on[0, 0] < 1e-3
    torch.testing.assert_close(on[10, 7], torch.tensor(math.exp(-0.5)))


def test_the_last_answer_is_bounded():
    masks = torch.tensor([-100.0, -4.0, 0.0, 100.0]).view(1, 1, 2, 2)
    drawn = draw(side=4, low=2, masks=masks)
    assert drawn[0, 3].flatten().tolist() == [-1, -0.5, 0, 1]
