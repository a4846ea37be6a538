"""Doubt from jittered prompts, against what can be worked out by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.prompt_baselines import BASELINES, filled_box
from penumbra.inference.outputs import write_prediction
from penumbra.inference.prediction import Prediction
from penumbra.promptable.agreement import MaskAgreement
from penumbra.promptable.doubt import predict_with_doubt
from penumbra.promptable.sensitivity import SensitivityCurve, box_sensitivity, shifted_boxes

FILLED = BASELINES[0]
IMAGE = np.zeros((60, 80, 1), np.uint8)
BOX = [20, 10, 50, 40]


class Soft:
    """Answers a point with a blob around it, surer in its middle; two sizes of doubt."""

    name = "soft"
    accepts = frozenset({"box", "point"})

    def __init__(self, width=8.0):
        self.width, self.calls = width, []

    def embed(self, image, *, filters=None):
        return image

    def predict(self, embedding, *, boxes=None, points=None, labels=None):
        self.calls.append(len(boxes if points is None else points))
        if points is None:
            points = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
        rows, columns = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        answers = []
        for prompt in points:
            x, y = prompt[0]
            z = self.width - np.hypot(rows - y, columns - x)
            p = (1 / (1 + np.exp(-z))).astype(np.float32)
            answers.append(Prediction(np.stack([1 - p, p]), (p >= 0.5).astype(np.uint8), {}))
        return answers


@pytest.mark.parametrize("prompt", [{"boxes": BOX}, {"points": [[[30.0, 20.0]]]}])
def test_the_maps_are_those_of_the_versions(prompt):
    model = Soft()
    (found,) = predict_with_doubt(
        model, model.embed(IMAGE), **prompt, samples=9, keep_samples=9, seed=3
    )
    assert found.passes == len(found.samples) == 9
    p = np.stack(list(found.samples)).astype(np.float64)
    mean = p.mean(axis=0)
    assert np.allclose(found.probabilities, mean, atol=1e-6)
    assert np.array_equal(found.mask, mean[1] >= 0.5)

    def entropy(q):
        return -(q * np.log(np.maximum(q, 1e-30))).sum(axis=-3)

    assert np.allclose(found.uncertainty["entropy"], entropy(mean), atol=1e-5)
    information = entropy(mean) - entropy(p).mean(axis=0)
    assert np.allclose(found.uncertainty["mutual_information"], information, atol=1e-5)
    assert np.allclose(found.class_uncertainty["variance"], p.var(axis=0, ddof=1), atol=1e-6)
    masks = p[:, 1] >= 0.5
    ious = [(a & b).sum() / (a | b).sum() for a, b in itertools.combinations(masks, 2)]
    assert found.pairwise_iou == pytest.approx(np.mean(ious))
    assert found.scores["pairwise_disagreement"] == pytest.approx(1 - np.mean(ious))
    assert np.allclose(found.areas[:, 1], p[:, 1].sum(axis=(1, 2)), rtol=1e-5)


def test_the_first_version_is_the_prompt_itself():
    model = Soft()
    (found,) = predict_with_doubt(model, IMAGE, boxes=BOX, samples=6)
    assert found.asked["boxes"].shape == (6, 4)
    assert found.asked["boxes"][0].tolist() == BOX
    assert (found.asked["boxes"][1:] != BOX).any(axis=1).all()
    assert (np.abs(found.asked["boxes"] - BOX) <= 20 / 1024 * 80 + 1e-4).all()
    (wide,) = predict_with_doubt(model, IMAGE, boxes=BOX, samples=64, limit=1.0)
    spread = (wide.asked["boxes"][1:] - BOX).std(axis=0)
    assert ((spread > 2) & (spread < 4)).all(), "a tenth of sides of 30 pixels"


def test_a_single_version_is_the_plain_answer():
    model = Soft()
    (plain,) = model.predict(IMAGE, boxes=np.array([BOX]))
    (found,) = predict_with_doubt(model, IMAGE, boxes=BOX, samples=1)
    assert np.array_equal(found.probabilities, plain.probabilities)
    assert np.isnan(found.pairwise_iou)
    assert set(found.uncertainty) == {"entropy"}


def test_without_jitter_the_versions_agree():
    (found,) = predict_with_doubt(FILLED, FILLED.embed(IMAGE), boxes=BOX, samples=5, jitter=0)
    assert found.pairwise_iou == 1
    assert found.uncertainty["mutual_information"].max() == 0
    assert np.array_equal(found.mask, filled_box((60, 80), np.array(BOX, float)))


def test_prompts_do_not_depend_on_one_another():
    model = Soft()
    boxes = np.array([BOX, [5, 5, 15, 25]], np.float32)
    both = predict_with_doubt(model, IMAGE, boxes=boxes, samples=4, seed=1)
    (alone,) = predict_with_doubt(model, IMAGE, boxes=boxes[1], samples=4, seed=1)
    assert np.array_equal(both[1].probabilities, alone.probabilities)
    other = predict_with_doubt(model, IMAGE, boxes=boxes, samples=4, seed=2)
    assert not np.array_equal(both[1].asked["boxes"], other[1].asked["boxes"])


def test_points_move_with_the_size_of_the_object_and_padding_stays():
    points = np.array([[[40, 30], [79, 59], [0, 0]]], np.float32)
    labels = np.array([[1, 0, -1]], np.int8)
    spreads = []
    for width in (5.0, 15.0):
        (found,) = predict_with_doubt(
            Soft(width), IMAGE, points=points, labels=labels, samples=65, limit=1.0
        )
        asked = found.asked["points"]
        assert (asked[:, 2] == 0).all()
        assert (asked >= 0).all()
        assert (asked <= (79, 59)).all()
        spreads.append((asked[1:, 0] - points[0, 0]).std())
    assert 2 < spreads[1] / spreads[0] < 4


def test_prompts_may_have_different_numbers_of_points():
    points, labels = [[[40, 30], [70, 50]], [[9, 9]]], [[1, 0], [1]]
    both = predict_with_doubt(Soft(), IMAGE, points=points, labels=labels, samples=4, seed=1)
    assert [one.asked["labels"][0].tolist() for one in both] == [[1, 0], [1, -1]]
    assert both[1].asked["points"][0].tolist() == [[9, 9], [0, 0]]
    assert (both[1].asked["points"][:, 1] == 0).all()


def test_versions_are_asked_for_in_bounded_batches(monkeypatch):
    monkeypatch.setattr("penumbra.promptable.doubt._MOST_PIXELS", 3 * 60 * 80)
    model = Soft()
    (few,) = predict_with_doubt(model, IMAGE, boxes=BOX, samples=8)
    assert model.calls == [1, 3, 3, 1]
    monkeypatch.undo()
    (many,) = predict_with_doubt(model, IMAGE, boxes=BOX, samples=8)
    assert np.array_equal(few.probabilities, many.probabilities)


def test_every_metric_applies_and_files_are_written(tmp_path):
    model = Soft()
    truth = filled_box((60, 80), np.array(BOX, float)).astype(np.uint8)
    (found,) = predict_with_doubt(model, IMAGE, boxes=BOX, samples=8, keep_samples=8)
    result = evaluate([Case("a", "a", truth, found)], class_names=["background", "object"])
    assert 0 < result.overall["dice"]["mean"] < 1
    assert np.isfinite(result.overall["joint_nll"]["mean"])
    document = write_prediction(tmp_path, "a", IMAGE, found)
    assert document["sampler"] == "prompts:8"
    assert document["scores"]["pairwise_disagreement"] > 0
    assert "mutual_information" in document["files"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boxes": BOX, "samples": 0}, "`samples`"),
        ({"boxes": BOX, "jitter": -0.1}, "`jitter`"),
        ({"boxes": BOX, "limit": np.nan}, "`limit`"),
        ({"boxes": BOX, "keep_samples": -1}, "`keep_samples`"),
        ({}, "boxes or points"),
        ({"boxes": []}, "at least one"),
        ({"boxes": [[1, 2, 3]]}, r"\(N, 4\)"),
        ({"boxes": [1, 2, 3, 4, 5, 6, 7, 8]}, r"\(N, 4\)"),
        ({"boxes": [[30, 4, 20, 30]]}, "x0 < x1"),
        ({"boxes": [["a", 4, 20, 30]]}, "numbers"),
        ({"points": [[1, 2, 3]]}, r"\(N, P, 2\)"),
        ({"points": [[80, 2]]}, "inside the image of 80×60"),
        ({"points": [[[1, 2], [3, 4]], [[5, 6]]], "labels": [[1, 0]]}, "one for each point"),
        ({"boxes": BOX, "labels": [1]}, "given with `points`"),
    ],
)
def test_impossible_wishes_are_refused(options, says):
    with pytest.raises(SettingsError, match=says):
        predict_with_doubt(FILLED, FILLED.embed(IMAGE), **options)


def test_more_than_fits_is_not_kept(monkeypatch):
    monkeypatch.setattr("penumbra.promptable.doubt._MOST_KEPT", 5 * 2 * 4 * 60 * 80)
    assert len(predict_with_doubt(Soft(), IMAGE, boxes=BOX, samples=5, keep_samples=9)) == 1
    with pytest.raises(SettingsError, match="at most 5"):
        predict_with_doubt(Soft(), IMAGE, boxes=BOX, samples=6, keep_samples=9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([0.0, 0.1, 0.5]))
def test_agreement_is_that_of_the_pairs(seed, count, share):
    masks = np.random.default_rng(seed).random((count, 13, 11)) < share
    found = MaskAgreement()
    for mask in masks:
        found.add(mask)
    pairs = itertools.combinations(masks, 2)
    ious = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs]
    assert found.pairwise_iou() == pytest.approx(np.mean(ious))
    last = masks[-1]
    dice = [2 * (m & last).sum() / (m.sum() + last.sum()) if (m | last).any() else 1 for m in masks]
    assert np.allclose(found.dice(last), dice)


def test_a_filled_box_is_as_sensitive_as_geometry_says():
    box = [20, 10, 40, 30]
    curve = box_sensitivity(FILLED, FILLED.embed(IMAGE), box, shifts=(0.1, 0.5), directions=4)
    # Shifted by s of its side along one axis: (1 − s) / (1 + s).
    assert curve.iou == pytest.approx((0.9 / 1.1, 0.5 / 1.5))
    assert curve.area == pytest.approx(
        (0.1 * (1 + 0.9 / 1.1) / 2 + 0.4 * (0.9 / 1.1 + 1 / 3) / 2) / 0.5
    )
    assert curve.to_json()["area"] == curve.area


def test_shifts_must_rise():
    for shifts in ((), (0.0, 0.1), (0.2, 0.1)):
        with pytest.raises(SettingsError, match="that rise"):
            box_sensitivity(FILLED, FILLED.embed(IMAGE), BOX, shifts=shifts)
    with pytest.raises(SettingsError, match="directions"):
        box_sensitivity(FILLED, FILLED.embed(IMAGE), BOX, directions=0)
    assert SensitivityCurve((0.3,), (1.0,), (1.0,)).area == 1


@settings(deadline=None)
@given(st.floats(0, 70), st.floats(0, 50), st.floats(0.01, 2))
def test_shifted_boxes_stay_in_the_image(x, y, shift):
    boxes = shifted_boxes([x, y, x + 9, y + 9], (60, 80), shift)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (80, 60)).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 0.999).all()


def test_a_real_decoder_is_asked_again_on_one_embedding(tiny_sam):
    from penumbra.promptable.segmenter import PromptableSegmenter

    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 1), dtype=np.uint8)
    embedding = segmenter.embed(image)
    (plain,) = segmenter.predict(embedding, boxes=[BOX])
    (single,) = predict_with_doubt(segmenter, embedding, boxes=[BOX], samples=1)
    assert np.allclose(single.probabilities, plain.probabilities, atol=1e-6)
    assert single.predicted_iou == pytest.approx(plain.predicted_iou)
    (found,) = predict_with_doubt(segmenter, embedding, boxes=BOX, samples=6, limit=1.0)
    assert 0 <= found.predicted_iou <= 1
    assert 0 <= found.pairwise_iou <= 1
    assert found.uncertainty["mutual_information"].max() > 0
    (again,) = predict_with_doubt(
        segmenter, segmenter.embed(image), boxes=BOX, samples=6, limit=1.0
    )
    assert np.array_equal(found.probabilities, again.probabilities)
    (points,) = predict_with_doubt(
        segmenter, embedding, points=[[30, 20], [5, 5]], labels=[1, 0], samples=4
    )
    assert points.asked["points"].shape == (4, 2, 2)
    with pytest.raises(SettingsError):
        predict_with_doubt(segmenter, embedding, boxes=[[9, 9, 2, 2]])
    curve = box_sensitivity(segmenter, embedding, BOX, shifts=(0.1, 0.3))
    assert all(0 <= low <= mean <= 1 for low, mean in zip(curve.lowest, curve.iou, strict=True))
