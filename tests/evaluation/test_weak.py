"""Masks scored where boxes alone are known."""

import dataclasses
import math

import numpy as np
import pytest

from penumbra.data.layouts import open_source
from penumbra.data.sample import Record, Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, SourceError
from penumbra.evaluation.prompt_baselines import BASELINES
from penumbra.evaluation.weak import evaluate_weak, score_weakly
from penumbra.evaluation.weak_answers import answers_of_prompts, answers_of_run
from penumbra.inference.prediction import Prediction

FILLED, ELLIPSE, _ = BASELINES
SIZE = (40, 50)


def predicted(p):
    p = np.asarray(p, np.float32)
    return Prediction(np.stack([1 - p, p]), (p >= 0.5).astype(np.uint8), {})


def sample_of(*boxes, name="a"):
    image = np.zeros((*SIZE, 1), np.uint8)
    return Sample(name, image, None, name, boxes=np.array(boxes, np.float32).reshape(-1, 4))


def plane(*boxes, p=0.9):
    out = np.zeros(SIZE, np.float32)
    for x0, y0, x1, y1 in boxes:
        out[y0:y1, x0:x1] = p
    return out


def scored(probability, *boxes):
    answer = answers_of_run(lambda images: [predicted(probability)], least_area=1)
    sample = sample_of(*boxes)
    return score_weakly(sample, answer(sample))


def source_of(samples):
    by_name = {sample.id: sample for sample in samples}
    return Source(
        layout="rsna",
        root="memory",
        records=tuple(Record(s.id, s.group, image=s.id) for s in samples),
        class_names=("background", "opacity"),
        read_image=lambda path: by_name[path].image,
        read_mask=lambda record, size: None,
        read_boxes=lambda record, size: by_name[record.id].boxes,
    )


@pytest.fixture(autouse=True)
def records_without_files(monkeypatch):
    monkeypatch.setattr("penumbra.data.source.read_spacing", lambda path: None)


def test_a_mask_that_fills_the_box_scores_one():
    found = scored(plane((10, 5, 30, 25)), (10, 5, 30, 25))
    assert (found.share_inside, found.tight_iou, found.pointing, found.map) == (1, 1, 1, 1)
    assert found.filled_dice == 1
    assert math.isnan(found.nothing_found)


def test_a_mask_half_outside():
    found = scored(plane((10, 5, 30, 25)), (20, 5, 40, 25))
    assert found.share_inside == 0.5
    assert found.tight_iou == pytest.approx(1 / 3)
    assert found.map == 0
    assert found.filled_dice == 0.5


def test_the_most_probable_pixel_points():
    p = plane((10, 5, 30, 25)) + 0.05 * plane((35, 30, 36, 31), p=1) * 19
    assert scored(p, (10, 5, 30, 25)).pointing == 0
    # Of equally probable pixels the deepest is taken, not the first.
    assert scored(plane((10, 5, 30, 25)), (18, 13, 22, 17)).pointing == 1
    assert scored(plane((10, 5, 30, 25)), (10, 5, 13, 8)).pointing == 0


def test_one_of_two_boxes_missed():
    found = scored(plane((2, 2, 12, 12)), (2, 2, 12, 12), (30, 20, 40, 30))
    assert found.tight_iou == 0.5
    assert found.map == 0.5
    assert found.share_inside == 1


def test_nothing_found_counts():
    found = scored(np.zeros(SIZE), (2, 2, 12, 12))
    assert (found.share_inside, found.tight_iou, found.map) == (0, 0, 0)
    quiet = scored(np.zeros(SIZE))
    assert quiet.nothing_found == 1
    assert math.isnan(quiet.map)
    loud = scored(plane((2, 2, 12, 12)))
    assert (loud.nothing_found, loud.map) == (0, 0)
    assert math.isnan(loud.share_inside)
    assert math.isnan(loud.pointing)


def test_means_leave_out_what_has_no_measure():
    samples = [
        sample_of((2, 2, 12, 12), name="a"),
        sample_of(name="b"),
        sample_of(name="c"),
        dataclasses.replace(sample_of(name="d"), boxes=None),
    ]
    planes = {"a": plane((2, 2, 12, 12)), "b": np.zeros(SIZE), "c": plane((0, 0, 9, 9))}

    def answer(sample):
        return answers_of_run(lambda images: [predicted(planes[sample.id])])(sample)

    scores = evaluate_weak(answer, source_of(samples), name="x")
    overall = {name: value["mean"] for name, value in scores.overall.items()}
    assert overall["share_inside"] == 1
    assert overall["nothing_found"] == 0.5
    assert overall["map"] == 0.5, "a counts 1, c counts 0, b does not count"
    assert [finding.kind for finding in scores.findings] == ["missing-boxes"]
    assert scores.to_json()["n_with_boxes"] == 1
    assert len(scores.to_frame()) == 3
    assert scores.n_groups == 3


def test_images_that_cannot_be_read_do_not_stop_the_rest():
    samples = [sample_of((2, 2, 12, 12), name=name) for name in "ab"]
    source = source_of(samples)

    def read(path):
        if path == "a":
            raise ImageFileError("broken")
        return samples[1].image

    source = dataclasses.replace(source, read_image=read)
    answer = answers_of_prompts(FILLED, kind="box")
    scores = evaluate_weak(answer, source)
    assert [finding.kind for finding in scores.findings] == ["unreadable"]
    assert [image.id for image in scores.images] == ["b"]
    with pytest.raises(SourceError, match="boxes are known"):
        evaluate_weak(answer, source.subset([0]))


class Records:
    """Fills a 6×6 square around the last point, and remembers the points."""

    name = "records"
    accepts = frozenset({"point", "box"})

    def __init__(self):
        self.asked = []

    def embed(self, image, *, filters=None):
        return image

    def predict(self, embedding, *, boxes=None, points=None, labels=None):
        if points is None:
            points = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
        self.asked.extend(points)
        answers = []
        for x, y in points[:, -1].astype(int):
            answers.append(predicted(plane((x - 3, y - 3, x + 3, y + 3))))
        return answers


def test_every_box_is_prompted_for_and_answered_by_itself():
    boxes = [(2, 2, 12, 12), (30, 20, 40, 36)]
    model = Records()
    answer = answers_of_prompts(model, kind="point3")(sample_of(*boxes))
    assert answer.asked.tolist() == [0, 1]
    for (x0, y0, x1, y1), points in zip(boxes, model.asked, strict=True):
        assert points[0].tolist() == [(x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5]
        assert (points >= [(3 * x0 + x1) / 4 - 0.5, (3 * y0 + y1) / 4 - 0.5]).all()
        assert (points <= [(x0 + 3 * x1) / 4 - 0.5, (y0 + 3 * y1) / 4 - 0.5]).all()
    found = score_weakly(sample_of(*boxes), answer)
    assert found.pointing == 1
    assert found.n_found == 2
    assert 0 < found.tight_iou < 1
    alone = Records()
    answers_of_prompts(alone, kind="point3")(sample_of(boxes[1]))
    assert np.array_equal(alone.asked[0], model.asked[1]), "draws depend on image and box alone"


def test_a_mask_that_answers_another_box_is_no_answer():
    class Swaps(Records):
        def predict(self, embedding, **prompts):
            return super().predict(embedding, **prompts)[::-1]

    boxes = [(2, 2, 12, 12), (30, 20, 40, 30)]
    answer = answers_of_prompts(Swaps(), kind="box")(sample_of(*boxes))
    found = score_weakly(sample_of(*boxes), answer)
    assert found.tight_iou == 0
    assert found.pointing == 0
    assert found.share_inside == 1


def test_boxes_answered_by_rules():
    boxes = [(2, 2, 12, 12), (30, 20, 40, 36)]
    sample = sample_of(*boxes)
    filled = score_weakly(sample, answers_of_prompts(FILLED, kind="box")(sample))
    assert (filled.share_inside, filled.tight_iou, filled.map, filled.filled_dice) == (1, 1, 1, 1)
    round_ = score_weakly(sample, answers_of_prompts(ELLIPSE, kind="box")(sample))
    assert round_.share_inside == 1
    assert round_.filled_dice < 0.95
    moved = score_weakly(sample, answers_of_prompts(FILLED, kind="jittered-box")(sample))
    assert moved.tight_iou < 1
    assert answers_of_prompts(FILLED, kind="box")(sample_of()) is None
    with pytest.raises(SettingsError, match="prompts of filled box"):
        answers_of_prompts(FILLED, kind="point1")


@pytest.mark.real_data
def test_the_real_image_of_the_challenge_has_no_known_boxes(real_data):
    source = open_source(f"rsna:{real_data / 'rsna'}")
    with pytest.raises(SourceError, match="boxes are known"):
        evaluate_weak(answers_of_prompts(FILLED, kind="box"), source)
