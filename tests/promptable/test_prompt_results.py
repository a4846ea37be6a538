"""Prompts and objects in pictures and files."""

import numpy as np
import pytest

from penumbra.errors import SettingsError
from penumbra.imaging.palette import TEAL, class_colour
from penumbra.promptable import PromptedPrediction, Prompts
from penumbra.promptable.drawing import INK, PAPER, draw_labels, draw_prompts
from penumbra.promptable.results import least_sure, together


def answer(probability, *, iou=0.5):
    p = np.asarray(probability, np.float32)
    return PromptedPrediction(
        probabilities=np.stack([1 - p, p]),
        mask=(p >= 0.5).astype(np.uint8),
        uncertainty={"entropy": p * (1 - p)},
        timings={"decode": 1.0},
        predicted_iou=iou,
    )


def test_boxes_lie_on_their_border_pixels_and_points_show_their_sign():
    grey = np.full((40, 50, 3), 128, np.uint8)
    asked = Prompts.of(
        boxes=[5, 6, 45, 36], points=[[20, 20], [30, 20], [0, 0]], labels=[1, 0, -1], size=(40, 50)
    )
    drawn = draw_prompts(grey, asked)
    assert (grey == 128).all(), "the picture itself stays as it is"
    for x, y in ((5, 6), (44, 35), (20, 6), (5, 20)):
        assert tuple(drawn[y, x]) == PAPER
    assert tuple(drawn[20, 20]) == PAPER
    assert tuple(drawn[20, 30]) == INK
    assert (drawn[0, 0] == 128).all(), "padding is no point"
    # A prompt that touches the image's edge is no error.
    edge = Prompts.of(boxes=[0, 0, 50, 40], points=[[0, 0]], size=(40, 50))
    assert draw_prompts(grey, edge).shape == grey.shape


def test_each_object_has_its_colour_and_many_have_some():
    labels = np.zeros((12, 12), np.uint16)
    labels[1:5, 1:5], labels[7:11, 7:11] = 1, 2
    drawn = draw_labels(np.zeros((12, 12, 1), np.uint8), labels)
    assert tuple(drawn[1, 1]) == TEAL
    assert tuple(drawn[7, 7]) == class_colour(2)
    assert not drawn[6].any()
    many = np.arange(900, dtype=np.uint16).reshape(30, 30)
    assert draw_labels(np.zeros((30, 30, 1), np.uint8), many)[many > 0].any(axis=1).all()


def test_one_answer_stays_as_it_is():
    asked = Prompts.of(points=[[1, 1]], size=(2, 3))
    one = answer([[0.9, 0.2, 0.1], [0.6, 0.1, 0.0]])
    found = together(asked, [one])
    assert found.prediction is one
    assert (found.labels == one.mask).all()
    assert found.objects[0]["area"] == 2
    assert found.objects[0]["box"] == [0, 0, 1, 2]


def test_several_answers_join_at_the_surest():
    asked = Prompts.of(boxes=[[0, 0, 3, 2], [1, 0, 3, 2], [0, 0, 1, 1]], size=(2, 3))
    whole = answer([[0.9, 0.6, 0.7], [0.6, 0.6, 0.6]], iou=0.8)
    part = answer([[0.1, 0.8, 0.65], [0.2, 0.1, 0.3]], iou=0.3)
    nothing = answer(np.zeros((2, 3)), iou=0.9)
    found = together(asked, iter([whole, part, nothing]))
    assert np.allclose(found.prediction.foreground, [[0.9, 0.8, 0.7], [0.6, 0.6, 0.6]])
    assert found.prediction.uncertainty["entropy"][0, 1] == pytest.approx(0.16)
    assert found.prediction.mask.all()
    assert found.labels.tolist() == [[1, 2, 2], [1, 1, 1]]
    assert found.prediction.timings == {"decode": 3.0}
    assert [one["area"] for one in found.objects] == [6, 2, 0]
    assert found.objects[2]["segmentation"] is None
    assert least_sure(found.objects) == pytest.approx(0.3)
    assert least_sure([]) == 1.0


def test_no_answer_is_an_error():
    with pytest.raises(SettingsError, match="at least one"):
        together(Prompts.of(points=[[1, 1]], size=(2, 3)), [])
