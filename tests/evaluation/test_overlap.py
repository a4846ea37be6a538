"""Overlap scores against scikit-learn, by hand, and over parts that merge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference

from penumbra.evaluation import overlap
from penumbra.evaluation.overlap import Counts, count, merge

N_CLASSES = 3
masks = arrays(np.uint8, (6, 8), elements=st.sampled_from([0, 1, 2, 255]))
predictions = arrays(np.uint8, (6, 8), elements=st.integers(0, 2))


def _same(a: Counts, b: Counts) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("tp", "fp", "fn", "tn"))


@given(masks, predictions)
def test_scores_agree_with_scikit_learn(truth, predicted):
    counts = count(truth, predicted, n_classes=N_CLASSES)
    scored = truth != 255
    y, z = truth[scored], predicted[scored]
    if y.size == 0:
        assert np.isnan(overlap.pixel_accuracy(counts))
        return
    for index in range(N_CLASSES):
        of_class, as_class = y == index, z == index
        if not of_class.any() or not as_class.any():
            continue
        for ours, theirs in (
            (overlap.dice, reference.f1_score),
            (overlap.iou, reference.jaccard_score),
            (overlap.precision, reference.precision_score),
            (overlap.recall, reference.recall_score),
        ):
            assert ours(counts)[index] == pytest.approx(theirs(of_class, as_class))
        if not of_class.all():
            expected = reference.recall_score(~of_class, ~as_class)
            assert overlap.specificity(counts)[index] == pytest.approx(expected)
    assert overlap.pixel_accuracy(counts) == pytest.approx(reference.accuracy_score(y, z))


@given(masks, predictions, st.integers(0, 6))
def test_counts_of_parts_add_up_to_the_whole(truth, predicted, cut):
    whole = count(truth, predicted, n_classes=N_CLASSES)
    top = count(truth[:cut], predicted[:cut], n_classes=N_CLASSES)
    bottom = count(truth[cut:], predicted[cut:], n_classes=N_CLASSES)
    assert _same(merge(top, bottom), whole)
    assert _same(merge(bottom, top), whole)


@given(masks, predictions, predictions)
def test_ignored_pixels_never_count(truth, predicted, other):
    changed = np.where(truth == 255, other, predicted)
    assert _same(
        count(truth, predicted, n_classes=N_CLASSES), count(truth, changed, n_classes=N_CLASSES)
    )


@given(masks, predictions)
def test_dice_and_iou_say_the_same_thing(truth, predicted):
    counts = count(truth, predicted, n_classes=N_CLASSES)
    d, j = overlap.dice(counts), overlap.iou(counts)
    np.testing.assert_allclose(d, 2 * j / (1 + j))


EMPTY, FULL = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
SCORES = ("dice", "iou", "precision", "recall")


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("truth", "predicted", "one"), [(EMPTY, EMPTY, 1.0), (EMPTY, FULL, 0.0), (FULL, EMPTY, 0.0)]
)
def test_the_default_policy_rewards_only_agreement_on_nothing(score, truth, predicted, one):
    counts = count(truth, predicted, n_classes=2)
    assert getattr(overlap, score)(counts)[1] == one


@pytest.mark.parametrize("empty", ["nan", "skip"])
def test_nothing_over_nothing_is_not_a_number_under_the_other_policies(empty):
    both = count(EMPTY, EMPTY, n_classes=2)
    for score in SCORES:
        assert np.isnan(getattr(overlap, score)(both, empty=empty)[1])
    assert overlap.dice(count(EMPTY, FULL, n_classes=2), empty=empty)[1] == 0.0
    assert np.isnan(overlap.recall(count(EMPTY, FULL, n_classes=2), empty=empty)[1])
    assert np.isnan(overlap.specificity(count(FULL, FULL, n_classes=2), empty=empty)[1])


def test_specificity_where_the_class_fills_the_image():
    assert overlap.specificity(count(FULL, FULL, n_classes=2))[1] == 1.0
    assert overlap.specificity(count(FULL, EMPTY, n_classes=2))[1] == 0.0


def test_large_images_do_not_overflow():
    counts = count(np.ones((1, 1), np.uint8), np.ones((1, 1), np.uint8), n_classes=2)
    many = Counts(*(getattr(counts, n) * 2**40 for n in ("tp", "fp", "fn", "tn")))
    assert overlap.dice(merge(many, many))[1] == 1.0
