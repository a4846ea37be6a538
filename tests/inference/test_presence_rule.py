"""The rule that validation images choose is the best there is, and is kept only where it helps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from penumbra.errors import NotFiniteError, SettingsError
from penumbra.inference.presence import PresenceRule, without_islands
from penumbra.inference.presence_fit import Outlined, fit_presence
from penumbra.inference.presence_run import outlined


def dice(mask, truth):
    """The challenge's, the slow way."""
    valid = truth != 255
    mask, there = (mask > 0) & valid, (truth > 0) & valid
    total = int(mask.sum()) + int(there.sum())
    return 2 * int((mask & there).sum()) / total if total else 1.0


def scene(seed, count=10, *, head, size=12):
    """Masks of a careless network: now and then too much, now and then something on nothing."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(count):
        truth = np.zeros((size, size), np.uint8)
        if rng.random() < 0.6:
            y, x = rng.integers(0, size - 5, 2)
            truth[y : y + 5, x : x + 5] = 1
        mask = np.where(rng.random(truth.shape) < 0.1, 1, truth).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.03] = 255
        sure = float(np.clip((mask.mean() + rng.normal(0, 0.1)), 0, 1)) if head else None
        images.append((mask, truth, f"g{index % 3}", sure))
    return images


def counted(images):
    return [Outlined.of(m, t, group=g, probability=p) for m, t, g, p in images]


def mean_dice(rule, images):
    return np.mean([dice(rule.apply(m, probability=p).mask, t) for m, t, _, p in images])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), head=st.booleans())
def test_no_rule_of_those_that_were_tried_is_better(seed, head):
    images = scene(seed, head=head)
    rule = fit_presence(counted(images))
    assert rule.record["dice_before"] == pytest.approx(mean_dice(PresenceRule(), images), abs=1e-6)
    assert rule.record["dice_after"] == pytest.approx(mean_dice(rule, images), abs=1e-6)
    if not rule.record["kept"]:
        assert rule.does_nothing
        return
    parts = {n / m.size for m, *_ in images for n in np.bincount(label(m, connectivity=2).flat)[1:]}
    for smallest in (0, *(share + 1e-9 for share in sorted(parts)[:-1])):
        for threshold in np.linspace(0, 1, 41):
            other = PresenceRule(score=rule.score, threshold=threshold, smallest=smallest)
            assert mean_dice(other, images) <= mean_dice(rule, images) + 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), smallest=st.floats(0, 0.3))
def test_islands_are_those_of_scikit_image(seed, smallest):
    mask = (np.random.default_rng(seed).random((9, 14)) < 0.3).astype(np.uint8) * 2
    numbers = label(mask, connectivity=2)
    sizes = np.bincount(numbers.ravel())
    wanted = np.where((numbers > 0) & (sizes[numbers] >= smallest * mask.size), mask, 0)
    np.testing.assert_array_equal(without_islands(mask, smallest), wanted)


def test_a_rule_that_helps_nobody_else_is_dropped():
    # Every image is right as it is: each change costs something.
    images = [(mask, mask.copy(), group, None) for mask, _, group, _ in scene(3, head=False)]
    rule = fit_presence(counted(images))
    assert rule.does_nothing
    assert rule.record["kept"] is False
    assert rule.record["dice_before"] == 1


def test_where_all_should_be_empty_all_are():
    images = [(m, np.zeros_like(t), g, 0.5) for m, t, g, _ in scene(4, head=True)]
    rule = fit_presence(counted(images))
    assert mean_dice(rule, images) == 1


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(SettingsError, match="at least one"):
        fit_presence([])


def test_images_that_cannot_be_counted_are_left_out():
    class Samples(list):
        name = "samples"

    class Sample:
        def __init__(self, value, mask):
            self.image = np.full((2, 2, 1), value, np.uint8)
            self.mask, self.group = mask, "g"

    class Found:
        mask, presence = np.ones((2, 2), np.uint8), 0.5

    def predict(images, *, seed):
        if images[0][0, 0, 0] > 200:
            raise NotFiniteError("Expected what the network gives to be finite.")
        return [Found()]

    truth = np.ones((2, 2), np.uint8)
    samples = Samples([Sample(9, truth), Sample(250, truth), Sample(9, None)])
    (found,) = outlined(predict, samples)
    assert found.dice(0) == 1
