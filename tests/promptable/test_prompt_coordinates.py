"""What the coordinates of points mean, wherever they come from."""

import numpy as np
import pytest
import torch

from penumbra.promptable import edge_prompts
from penumbra.promptable.grid import grid_points
from penumbra.promptable.prompt_sampling import centre_points, corrective_points
from penumbra.promptable.small import new_small_model, small_config


def test_every_maker_of_points_gives_the_centre_of_a_pixel_as_whole_numbers():
    mask = np.zeros((1, 9, 9), bool)
    mask[0, 3:6, 4:7] = True
    centre = [[5, 4]]
    assert centre_points(mask).tolist() == centre
    assert corrective_points(np.zeros_like(mask), mask)[0].tolist() == centre
    assert edge_prompts.points_inside(mask[0].astype(np.float32), 1)[0].tolist() == centre
    assert sorted(grid_points((2, 3), per_side=1).tolist()) == [[1, 0.5]]
    assert grid_points((3, 3), per_side=3).tolist() == [[x, y] for y in range(3) for x in range(3)]
    assert grid_points((2, 2), per_side=8).min() == 0


def test_the_network_adds_the_half_pixel_itself():
    pytest.importorskip("transformers")
    model = new_small_model(small_config(widths=(8, 8, 16), deepest=16, layers=1, heads=2,
                                         decoder_width=16, decoder_mlp=32))  # fmt: skip
    places = model.get_image_wide_positional_embeddings()[0]
    label = torch.full((1, 1, 1), 1)
    encoder = model.prompt_encoder
    # The place of column 2, row 1, of 8 pixels a side has its centre at (20, 12) from the corner.
    tokens, _ = encoder(torch.tensor([[[[19.5, 11.5]]]]), label, None, None)
    found = tokens[0, 0, 0] - encoder.point_embed[1].weight[0]
    torch.testing.assert_close(found, places[:, 1, 2], rtol=1e-4, atol=1e-4)
