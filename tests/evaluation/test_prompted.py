"""Prompts derived from masks: every object is prompted for, answered and scored on its own."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from penumbra.data.layouts import open_source
from penumbra.data.phantom.write import make_phantom
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.errors import SettingsError, SourceError
from penumbra.evaluation.prompt_baselines import (
    BASELINES,
    filled_box,
    grabcut,
    inscribed_ellipse,
)
from penumbra.evaluation.prompted import check_kinds, evaluate_prompts
from penumbra.evaluation.prompted_objects import objects_of
from penumbra.evaluation.prompted_scores import prompted_difference
from penumbra.inference.prediction import Prediction
from penumbra.promptable.prompt_sampling import tight_boxes

FILLED, ELLIPSE, GRABCUT = BASELINES


def certain(mask):
    inside = mask.astype(np.float32)
    return Prediction(np.stack([1 - inside, inside]), mask.astype(np.uint8), {})


class Oracle:
    """Answers a point with the true object under it, and remembers what it was asked."""

    name = "oracle"
    accepts = frozenset({"box", "point"})

    def __init__(self, truths, *, wrong=0):
        self.truths, self.asked, self.wrong = truths, [], wrong

    def embed(self, image, *, filters=None):
        return int(image[0, 0, 0])

    def predict(self, embedding, *, boxes=None, points=None, labels=None):
        truth = self.truths[embedding]
        parts, _ = ndimage.label(truth == 1, structure=np.ones((3, 3)))
        if points is None:
            self.asked.append(boxes)
            corners = [[(x0 + x1) / 2, (y0 + y1) / 2] for x0, y0, x1, y1 in boxes]
            points = np.array(corners)[:, None]
        else:
            self.asked.append((points.copy(), labels.copy()))
        answers = []
        for prompt in points:
            column, row = prompt[0].astype(int)
            mask = (parts == parts[row, column]) & (parts > 0)
            if len(prompt) <= self.wrong:
                mask = ndimage.binary_dilation(mask, iterations=4)
            answers.append(certain(mask))
        return answers


def source_of(masks, groups=None, class_names=("background", "cell")):
    """Make a source in memory; the first pixel of an image says which one it is."""
    records = tuple(
        Record(f"i{n}", (groups or [f"g{n}" for n in range(len(masks))])[n], image=str(n))
        for n in range(len(masks))
    )
    images = [np.full((*m.shape, 1), n, np.uint8) for n, m in enumerate(masks)]
    return Source(
        layout="folder",
        root="memory",
        records=records,
        class_names=class_names,
        read_image=lambda path: images[int(path)],
        read_mask=lambda record, size: masks[int(record.image)],
    )


def squares(*places, size=(40, 60), side=8):
    mask = np.zeros(size, np.uint8)
    for row, column in places:
        mask[row : row + side, column : column + side] = 1
    return mask


@pytest.fixture(autouse=True)
def records_without_files(monkeypatch):
    monkeypatch.setattr("penumbra.data.source.read_spacing", lambda path: None)


def test_an_oracle_scores_one_everywhere():
    masks = [squares((2, 3), (20, 40)), squares((10, 10))]
    scores = evaluate_prompts(Oracle(masks), source_of(masks))
    assert scores.kinds == ("box", "point1", "point3", "point5", "jittered-box")
    for kind in scores.kinds:
        assert scores.overall[kind]["dice"]["mean"] == 1
        assert scores.overall[kind]["union_iou"]["mean"] == 1
    assert len(scores.objects) == 5 * 3
    assert [image.n_objects for image in scores.of_kind("box")] == [2, 1]
    assert np.isnan(scores.overall["box"]["predicted_iou_error"]["mean"])


def test_a_filled_box_scores_what_geometry_says():
    rows, columns = np.mgrid[:64, :64]
    disc = ((rows - 31.5) ** 2 + (columns - 31.5) ** 2 <= 20**2).astype(np.uint8)
    source = source_of([disc])
    by_name = {rule.name: evaluate_prompts(rule, source, kinds=["box"]) for rule in BASELINES}
    area = disc.sum()
    assert by_name["filled box"].objects[0].iou == pytest.approx(area / 40**2)
    assert by_name["filled box"].objects[0].dice == pytest.approx(2 * area / (area + 1600))
    assert by_name["inscribed ellipse"].objects[0].iou > 0.98


def test_the_first_point_is_deepest_and_the_next_corrects():
    mask = squares((10, 20), side=9)
    oracle = Oracle([mask], wrong=2)
    scores = evaluate_prompts(oracle, source_of([mask]), kinds=["point1", "point3"])
    (first, _), (second, signs), (third, last) = oracle.asked
    assert first.tolist() == [[[24, 14]]]
    assert signs.tolist() == [[1, 0]], "too large a mask asks for a point beside the object"
    x, y = second[0, 1].astype(int)
    assert ndimage.binary_dilation(mask, iterations=4)[y, x]
    assert mask[y, x] == 0
    assert third[0, :2].tolist() == second[0].tolist()
    assert last[0, :2].tolist() == [1, 0]
    assert scores.overall["point1"]["dice"]["mean"] < 0.75
    assert scores.overall["point3"]["dice"]["mean"] == 1


def test_what_covers_a_neighbour_is_wrong():
    mask = squares((2, 2), (2, 20))

    class Greedy(Oracle):
        def predict(self, embedding, **prompts):
            whole = certain(self.truths[embedding] > 0)
            return [whole] * len(next(iter(prompts.values())))

    scores = evaluate_prompts(Greedy([mask]), source_of([mask]), kinds=["box"])
    assert [row.iou for row in scores.objects] == [0.5, 0.5]
    assert scores.images[0].union_iou == 1


def test_ignored_pixels_and_specks_count_neither_way():
    mask = squares((2, 2))
    mask[30, 30] = 1
    mask[2:10, 10:14] = 255
    found = objects_of(mask, n_classes=2)
    assert len(found) == 1
    assert found.ignored.sum() == 33

    class Wide(Oracle):
        def predict(self, embedding, **prompts):
            wide = self.truths[embedding] > 0
            return [certain(wide)]

    scores = evaluate_prompts(Wide([mask]), source_of([mask]), kinds=["point1", "box"])
    assert {row.dice for row in scores.objects} == {1.0}
    assert {image.union_dice for image in scores.images} == {1.0}


def test_objects_by_class_are_one_each():
    mask = squares((2, 2), (20, 20))
    mask[30:38, 50:58] = 2
    found = objects_of(mask, n_classes=3, objects="class")
    assert found.classes == (1, 2)
    assert np.array_equal(found.masks([1, 2])[1], mask == 2)
    scores = evaluate_prompts(
        FILLED, source_of([mask], class_names=("none", "a", "b")), objects="class", kinds=["box"]
    )
    assert [row.class_name for row in scores.objects] == ["a", "b"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_objects_partition_the_foreground(seed, most):
    rng = np.random.default_rng(seed)
    mask = rng.choice([0, 1, 2, 255], p=[0.6, 0.2, 0.15, 0.05], size=(24, 30)).astype(np.uint8)
    found = objects_of(mask, n_classes=3, least_area=3, most=most, seed=seed)
    assert len(found) <= most
    whole = found.masks(range(1, len(found) + 1))
    assert (whole.sum(axis=0) <= 1).all()
    assert np.array_equal(whole.any(axis=0), found.union)
    assert ((mask == 0) == (found.labels == 0)).all()
    for number, one in enumerate(whole):
        assert ndimage.label(one, structure=np.ones((3, 3)))[1] == 1
        assert set(mask[one]) == {found.classes[number]}
    again = objects_of(mask, n_classes=3, least_area=3, most=most, seed=seed)
    assert np.array_equal(found.labels, again.labels)


def test_a_jittered_box_does_not_depend_on_its_neighbours():
    mask = squares((2, 3), (20, 40))
    alone, both = Oracle([mask]), Oracle([mask])
    evaluate_prompts(both, source_of([mask]), kinds=["jittered-box"])
    evaluate_prompts(alone, source_of([mask]), kinds=["jittered-box"], most_objects=1)
    assert alone.asked[0][0].tolist() in both.asked[0].tolist()
    assert (both.asked[0][0] != [3, 2, 11, 10]).all()
    other = Oracle([mask])
    evaluate_prompts(other, source_of([mask]), kinds=["jittered-box"], seed=1)
    assert (other.asked[0] != both.asked[0]).all()


def test_the_jitter_of_large_boxes_is_not_cut_off():
    masks = [np.zeros((256, 256), np.uint8) for _ in range(60)]
    for number, mask in enumerate(masks):
        mask[64 + number % 8 : 192 + number % 8, 60 + number // 8 : 188 + number // 8] = 1
    oracle = Oracle(masks)
    evaluate_prompts(oracle, source_of(masks), kinds=["jittered-box"], resamples=50)
    shifts = np.concatenate(oracle.asked) - np.concatenate([tight_boxes(m[None]) for m in masks])
    assert shifts.std() == pytest.approx(12.8, rel=0.15)


def test_batches_change_nothing(monkeypatch):
    mask = squares(*itertools.product((2, 14, 26), (2, 14, 26, 38)), side=6)
    whole = evaluate_prompts(ELLIPSE, source_of([mask]))
    monkeypatch.setattr("penumbra.evaluation.prompted_answers._BATCH", 5)
    batches = evaluate_prompts(ELLIPSE, source_of([mask]))
    assert batches.to_frame().equals(whole.to_frame())
    assert batches.to_frame(of="images").equals(whole.to_frame(of="images"))


def test_intervals_are_over_groups():
    masks = [squares((2, 2), side=side) for side in (5, 9, 9, 9)]
    one = evaluate_prompts(ELLIPSE, source_of(masks, groups=["a"] * 4), kinds=["box"])
    assert np.isnan(one.overall["box"]["dice"]["low"])
    many = evaluate_prompts(ELLIPSE, source_of(masks), kinds=["box"])
    low, mean, high = (many.overall["box"]["dice"][key] for key in ("low", "mean", "high"))
    assert low < mean < high
    assert mean == pytest.approx(np.mean([image.dice for image in many.images]))


def test_differences_are_paired():
    masks = [squares((2, 2), side=side) for side in (5, 6, 9, 12)]
    source = source_of(masks)
    ours = evaluate_prompts(FILLED, source, kinds=["box"])
    theirs = evaluate_prompts(ELLIPSE, source, kinds=["box"])
    found = prompted_difference(ours, theirs, kind="box")
    each = [a.dice - b.dice for a, b in zip(ours.images, theirs.images, strict=True)]
    assert found["mean"] == pytest.approx(np.mean(each))
    assert min(each) <= found["low"] <= found["mean"] <= found["high"] <= max(each)
    nothing = prompted_difference(ours, ours, kind="box", metric="union_iou")
    assert nothing == {"mean": 0, "low": 0, "high": 0}
    with pytest.raises(SettingsError, match="image in common"):
        prompted_difference(ours, dataclasses.replace(theirs, images=()), kind="box")
    with pytest.raises(SettingsError, match="`metric`"):
        prompted_difference(ours, theirs, kind="box", metric="area")
    with pytest.raises(SettingsError, match="kind of prompt"):
        prompted_difference(ours, theirs, kind="point1")


def test_a_model_is_not_asked_what_it_does_not_take():
    mask = squares((2, 2))
    assert check_kinds(None, FILLED.accepts, name="x") == ["box", "jittered-box"]
    with pytest.raises(SettingsError, match="prompts of GrabCut"):
        evaluate_prompts(GRABCUT, source_of([mask]), kinds=["point1"])
    with pytest.raises(SettingsError, match="kind of prompt"):
        evaluate_prompts(FILLED, source_of([mask]), kinds=["boxes"])
    with pytest.raises(SettingsError, match="at least one"):
        check_kinds([], ["box"], name="x")
    with pytest.raises(SettingsError, match="prompts of filled box"):
        FILLED.predict(FILLED.embed(np.zeros((4, 4, 1), np.uint8)), points=np.zeros((1, 1, 2)))


def test_images_without_objects_are_noted_and_none_at_all_is_an_error():
    masks = [squares((2, 2)), np.zeros((40, 60), np.uint8), None]
    sizes = [np.zeros((40, 60), np.uint8)] * 3
    source = source_of(sizes)
    source = dataclasses.replace(source, read_mask=lambda record, size: masks[int(record.image)])
    scores = evaluate_prompts(FILLED, source)
    assert [finding.kind for finding in scores.findings] == ["nothing-to-prompt", "missing-mask"]
    assert len(scores.of_kind("box")) == 1
    with pytest.raises(SourceError, match="readable image with an object"):
        evaluate_prompts(FILLED, source.subset([1, 2]))


def test_grabcut_finds_a_bright_disc_in_its_box_twice_alike():
    rows, columns = np.mgrid[:90, :90]
    disc = (rows - 45) ** 2 + (columns - 45) ** 2 <= 18**2
    noise = np.random.default_rng(0).normal(0, 8, (90, 90, 3))
    image = np.clip(60 + 120 * disc[..., None] + noise, 0, 255).astype(np.uint8)
    box = np.array([24.0, 24.0, 66.0, 66.0])
    cut = grabcut(image, box)
    assert (cut & disc).sum() / (cut | disc).sum() > 0.95
    assert np.array_equal(cut, grabcut(image, box))
    assert not cut[~filled_box((90, 90), box)].any()
    whole = np.array([0.0, 0.0, 90.0, 90.0])
    assert grabcut(image, whole).all(), "nothing around the box: the box is the answer"


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), min_size=4, max_size=4))
def test_rules_stay_in_their_box(numbers):
    x0, y0 = numbers[:2]
    box = np.array([x0, y0, x0 + 1 + numbers[2], y0 + 1 + numbers[3]])
    filled, ellipse = filled_box((40, 50), box), inscribed_ellipse((40, 50), box)
    assert not (ellipse & ~filled).any()
    rows, columns = np.nonzero(filled)
    assert (columns + 0.5 >= box[0]).all()
    assert (columns + 0.5 <= box[2]).all()
    assert (rows + 0.5 >= box[1]).all()
    assert (rows + 0.5 <= box[3]).all()


def test_tables_and_documents_say_the_same(tmp_path):
    source = open_source(make_phantom(tmp_path, count=3, size=48))
    scores = evaluate_prompts(ELLIPSE, source)
    frame, document = scores.to_frame(), scores.to_json()
    assert len(frame) == len(scores.objects)
    assert document["n_objects"] * 2 == len(frame)
    assert document["overall"]["box"]["dice"] == dict(scores.overall["box"]["dice"])
    assert len(scores.to_frame(of="images")) == len(document["per_image"])


def test_a_model_of_transformers_and_a_cache_of_embeddings(tiny_sam):
    from penumbra.promptable.cache import EmbeddingCache
    from penumbra.promptable.segmenter import PromptableSegmenter

    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")
    masks = [squares((2, 3), (20, 40)), squares((10, 10))]
    source, cache = source_of(masks), EmbeddingCache()
    scores = evaluate_prompts(segmenter, source, cache=cache, resamples=50)
    assert scores.kinds == ("box", "point1", "point3", "point5", "jittered-box")
    assert all(0 <= row.predicted_iou <= 1 for row in scores.objects)
    assert 0 <= scores.overall["point3"]["predicted_iou_error"]["mean"] <= 1
    again = evaluate_prompts(segmenter, source, cache=cache, resamples=50)
    assert again == scores
    assert cache.counts.computed == 2


@pytest.mark.real_data
def test_rules_on_real_nerves_are_scored_per_subject(real_data, monkeypatch):
    monkeypatch.undo()
    source = open_source(f"nerve:{real_data / 'nerve'}").subset(range(0, 2000, 250))
    by_name = {rule.name: evaluate_prompts(rule, source, kinds=["box"]) for rule in BASELINES}
    means = {name: scores.overall["box"]["dice"]["mean"] for name, scores in by_name.items()}
    # Nerves are round: an ellipse in the true box is a hard rule to beat.
    assert means["inscribed ellipse"] > means["filled box"] > 0.7
    assert len(by_name["GrabCut"].groups) > 3
