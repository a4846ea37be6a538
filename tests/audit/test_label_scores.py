"""The formulas of label noise against plain loops and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from penumbra.audit.label_scores import (
    LEAST,
    SHRINK,
    score_components,
    score_image,
    self_confidence,
)


def soft(mask, n_classes=2, sure=0.9):
    """Give probabilities that believe in `mask`."""
    p = np.full((n_classes, *mask.shape), (1 - sure) / (n_classes - 1), dtype=np.float32)
    for index in range(n_classes):
        p[index][mask == index] = sure
    return p


def drawn(seed, n_classes, size=12):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n_classes, size, size))
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    mask = rng.choice([*range(n_classes), 255], size=(size, size))
    return p.astype(np.float32), mask.astype(np.uint8)


@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_image_scores_are_what_a_loop_says(seed, n_classes, has_background):
    p, mask = drawn(seed, n_classes)
    own, spoken, wrong = [], [], 0
    for y, x in np.ndindex(mask.shape):
        label = int(mask[y, x])
        if label == 255:
            continue
        predicted = int(np.argmax(p[:, y, x]))
        own.append(float(p[label, y, x]))
        wrong += label != predicted
        if not has_background or label or predicted:
            spoken.append(1 - own[-1])
    found = score_image(p, mask, has_background=has_background)
    assert found.self_confidence == pytest.approx(np.mean(own), abs=1e-6)
    assert found.disagree == pytest.approx(wrong / len(own))
    assert found.score == pytest.approx(sum(spoken) / (len(spoken) + SHRINK * len(own)), abs=1e-6)
    weights = np.exp((1 - np.array(own)) / 0.1)
    assert found.softmin == pytest.approx((weights * own).sum() / weights.sum(), abs=1e-6)
    assert 0 <= found.softmin <= found.self_confidence + 1e-9


@given(st.integers(0, 10_000), st.integers(2, 3))
@settings(max_examples=30, deadline=None)
def test_components_are_those_of_scipy(seed, n_classes):
    p, mask = drawn(seed, n_classes)
    predicted = p.argmax(axis=0)
    wanted = []
    for labelled in range(n_classes):
        for other in set(range(n_classes)) - {labelled}:
            where = (mask == labelled) & (predicted == other)
            parts, count = ndimage.label(where, structure=np.ones((3, 3)))
            for index in range(1, count + 1):
                part = parts == index
                score = 1 - p[labelled][part].mean(dtype=np.float64)
                wanted.append((labelled, other, int(part.sum()), round(float(score), 5)))
    found = score_components(p, mask)
    assert sorted((c.labelled, c.predicted, c.pixels, round(c.score, 5)) for c in found) == sorted(
        wanted
    )
    sizes = [each.score * each.pixels for each in found]
    assert sizes == sorted(sizes, reverse=True)
    for each in found:
        left, top, right, bottom = each.box
        inside = (mask == each.labelled) & (predicted == each.predicted)
        assert inside[top:bottom, left:right].sum() >= each.pixels


def test_a_wrong_object_outranks_a_few_doubtful_pixels():
    object_, nothing = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    object_[20:44, 20:44] = 1
    erased = score_image(soft(object_), nothing)
    shifted = score_image(soft(object_), np.roll(object_, 12, axis=1))
    right = score_image(soft(object_), object_)
    speck = nothing.copy()
    speck[3, 3:5] = 1
    doubtful = score_image(soft(speck, sure=0.6), nothing)
    assert erased.score > shifted.score > doubtful.score > right.score
    assert score_image(soft(nothing), nothing).score == 0


def test_ignored_pixels_have_no_say():
    mask = np.zeros((8, 8), np.uint8)
    p = soft(np.ones((8, 8), np.uint8))
    mask[:, :7] = 255
    assert score_image(p, mask).disagree == 1
    assert (self_confidence(p, mask)[:, :7] == 1).all()
    (component,) = score_components(p, mask)
    assert component.pixels == 8
    assert component.box == (7, 0, 8, 8)
    everywhere = np.full((8, 8), 255, np.uint8)
    assert score_image(p, everywhere).score == 0
    assert score_components(p, everywhere) == ()


def test_specks_below_the_least_are_not_listed():
    mask = np.zeros((100, 100), np.uint8)
    other = mask.copy()
    other[0, 0] = 1
    other[50:52, 50:52] = 1
    (component,) = score_components(soft(other), mask)
    assert component.pixels == 4 >= LEAST * mask.size > 1
    assert component.score == pytest.approx(0.9)
