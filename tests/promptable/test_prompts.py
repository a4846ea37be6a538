"""Prompts: what is accepted, and what the refusal of the rest says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.promptable import Prompts

SIZE = (40, 60)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "at least one"),
        ({"boxes": []}, "at least one"),
        ({"points": []}, "at least one"),
        ({"boxes": [[30, 4, 20, 30]]}, "x0 < x1"),
        ({"boxes": [[4, 4, 4, 30]]}, "x0 < x1"),
        ({"boxes": [[4, 4, 9, 9], [60, 4, 90, 30]]}, "box 1 to be inside the image of 60×40"),
        ({"boxes": [[4, 4, np.nan, 30]]}, "NaN"),
        ({"boxes": [[4, 4, np.inf, 30]]}, "finite"),
        ({"boxes": [[4, 4, 30]]}, "(N, 4)"),
        ({"boxes": [["a", 4, 30, 30]]}, "numbers"),
        ({"points": [[np.nan, 4]]}, "NaN"),
        ({"points": [[60, 4]]}, "inside the image of 60×40"),
        ({"points": [[-1, 4]]}, "inside the image"),
        ({"points": [[4, 4, 4]]}, "(N, P, 2)"),
        ({"points": [[4, 4]], "labels": [1, 0]}, "one for each point"),
        ({"points": [[4, 4]], "labels": [2]}, "1 (object), 0 (background)"),
        ({"points": [[4, 4]], "labels": [-1]}, "padding"),
        ({"labels": [1]}, "given with `points`"),
        ({"boxes": [[4, 4, 9, 9]] * 2, "points": [[[4, 4]]]}, "of one number of prompts"),
        ({"mask": np.zeros((39, 60))}, "40×60"),
        ({"mask": np.full(SIZE, 3.0)}, "40×60"),
        ({"mask": np.full(SIZE, np.nan)}, "NaN"),
        ({"mask": np.zeros(60)}, "(H, W)"),
    ],
)
def test_a_bad_prompt_is_refused_with_what_to_do(asked, says):
    with pytest.raises(SettingsError, match=r"Expected .* to be .*, but got .*\. Try .*\.$") as met:
        Prompts.of(size=SIZE, **asked)
    assert says in str(met.value)


def test_a_box_that_leaves_the_image_is_cut_off():
    prompts = Prompts.of(boxes=[[-5, -5, 90, 20]], size=SIZE)
    assert prompts.boxes.tolist() == [[0, 0, 60, 20]]


@given(x0=st.floats(-100, 100), y0=st.floats(-100, 100), w=st.floats(0, 100), h=st.floats(0, 100))
def test_a_box_lies_in_the_image_with_an_area_or_is_refused(x0, y0, w, h):
    try:
        boxes = Prompts.of(boxes=[x0, y0, x0 + w, y0 + h], size=SIZE).boxes
    except SettingsError:
        return
    (left, top, right, bottom) = boxes[0].tolist()
    assert 0 <= left < right <= 60
    assert 0 <= top < bottom <= 40


def test_points_of_one_prompt_or_of_several():
    one = Prompts.of(points=[[1, 2], [3, 4]], labels=[1, 0], size=SIZE)
    several = Prompts.of(points=[[[1, 2]], [[3, 4]]], size=SIZE)
    assert one.points.shape == (1, 2, 2)
    assert one.labels.tolist() == [[1, 0]]
    assert several.points.shape == (2, 1, 2)
    assert several.labels.tolist() == [[1], [1]]


def test_prompts_with_different_numbers_of_points_are_filled_up():
    prompts = Prompts.of(points=[[[1, 2], [3, 4]], [[5, 6]]], labels=[[1, 0], [1]], size=SIZE)
    assert prompts.labels.tolist() == [[1, 0], [1, -1]]
    assert prompts.n_points.tolist() == [2, 1]


def test_padding_may_lie_anywhere():
    prompts = Prompts.of(points=[[[1, 2], [999, -4]]], labels=[[1, -1]], size=SIZE)
    assert prompts.n_points.tolist() == [1]


def test_a_mask_is_probabilities_at_the_images_size_or_logits_at_the_models():
    assert not Prompts.of(mask=np.eye(40, 60), size=SIZE, low=32).masks_are_logits
    assert Prompts.of(mask=np.full((32, 32), -4.0), size=SIZE, low=32).masks_are_logits
    assert Prompts.of(mask=np.full((2, 32, 32), 4.0), size=SIZE, low=32).masks_are_logits
    assert not Prompts.of(mask=np.eye(40, dtype=bool), size=(40, 40), low=40).masks_are_logits
    # An image as small as the logits: a mask has no values below nought.
    both = {"size": (32, 32), "low": 32}
    assert Prompts.of(mask=np.linspace(-4, 4, 1024).reshape(32, 32), **both).masks_are_logits
    assert not Prompts.of(mask=np.eye(32), **both).masks_are_logits


@pytest.mark.parametrize(
    ("mask", "size", "low"),
    [
        (np.eye(64) * 255, (64, 64), 32),
        (np.eye(32) * 255, (32, 32), 32),
        (np.eye(32, dtype=np.uint8) * 255, (128, 96), 32),
        (np.eye(64), (128, 96), 64),
        (np.eye(64), (128, 96), 32),
        (np.full((64, 64), -4.0), (128, 96), 32),
        (np.full((32, 32), -4.0), (128, 96), None),
    ],
    ids=["0 and 255", "0 and 255 at logits' size", "integers", "0 and 1", "square", "logits of "
         "another model", "logits of no model"],
)  # fmt: skip
def test_no_mask_passes_for_logits_in_silence(mask, size, low):
    with pytest.raises(SettingsError, match=r"with values from 0 to 1.* Try a mask of the image's"):
        Prompts.of(mask=mask, size=size, low=low)


def test_some_of_the_prompts():
    prompts = Prompts.of(
        boxes=[[1, 1, 5, 5], [2, 2, 6, 6], [3, 3, 7, 7]], mask=np.zeros((3, *SIZE)), size=SIZE
    )
    some = prompts[[2, 0]]
    assert some.boxes[:, 0].tolist() == [3, 1]
    assert some.kinds == {"box", "mask"}
    assert len(some) == len(some.masks) == 2
