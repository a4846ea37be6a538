"""Image scores against loops, and the choice among them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from penumbra.errors import SettingsError
from penumbra.inference.prediction import entropy
from penumbra.inference.scores import (
    SCORES,
    aurc,
    boundary_length,
    choose_score,
    image_scores,
    soft_dice,
)


def make_probabilities(n_classes=2, size=(40, 33), seed=0):
    logits = np.random.default_rng(seed).normal(0, 2, (n_classes, *size))
    shares = np.exp(logits)
    return (shares / shares.sum(axis=0)).astype(np.float32)


def scores_of(p, mask=None, **more):
    mask = p.argmax(axis=0).astype(np.uint8) if mask is None else mask
    return image_scores(p, mask, {"entropy": entropy(p)}, **more)


def certain(mask, n_classes=2, eps=0.0):
    p = np.full((n_classes, *mask.shape), eps / (n_classes - 1), dtype=np.float32)
    for index in range(n_classes):
        p[index][mask == index] = 1 - eps
    return p


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_agree_with_loops(n_classes):
    p = make_probabilities(n_classes)
    mask, doubt = p.argmax(axis=0).astype(np.uint8), entropy(p)
    scores = scores_of(p, sample_dice=0.75)
    dice = [
        2 * p[c][mask == c].sum() / (p[c].sum() + (mask == c).sum()) for c in range(1, n_classes)
    ]
    assert scores["soft_dice"] == pytest.approx(1 - np.mean(dice), rel=1e-5)
    assert scores["sample_disagreement"] == 0.25
    assert scores["mean_entropy"] == pytest.approx(doubt.mean(), rel=1e-5)
    patches = [doubt[y : y + 16, x : x + 16].mean() for y in range(40 - 15) for x in range(33 - 15)]
    assert scores["patch_maximum"] == pytest.approx(max(patches), rel=1e-5)
    edges = sum(mask[y, x] != mask[y, x + 1] for y in range(40) for x in range(32))
    edges += sum(mask[y, x] != mask[y + 1, x] for y in range(39) for x in range(33))
    assert boundary_length(mask) == edges
    assert scores["boundary_entropy"] == pytest.approx(doubt.sum() / edges, rel=1e-5)
    assert "mean_mutual_information" not in scores


def test_the_patch_maximum_is_that_of_a_box_filter():
    p = make_probabilities(2, (96, 80))
    box = uniform_filter(entropy(p).astype(np.float64), 16)[8:-7, 8:-7]
    assert scores_of(p)["patch_maximum"] == pytest.approx(box.max(), rel=1e-6)


def test_mutual_information_is_averaged_where_there_are_passes():
    p = make_probabilities()
    maps = {"entropy": entropy(p), "mutual_information": np.full((40, 33), 0.125, np.float32)}
    scores = image_scores(p, p.argmax(axis=0).astype(np.uint8), maps, sample_dice=1.0)
    assert scores["mean_mutual_information"] == pytest.approx(0.125)
    assert set(scores) == set(SCORES)


@pytest.mark.parametrize("value", [0, 1])
def test_a_network_that_is_sure_has_no_doubt_whatever_the_mask(value):
    mask = np.full((20, 20), value, dtype=np.uint8)
    scores = scores_of(certain(mask), mask, sample_dice=1.0)
    assert scores == dict.fromkeys(scores, 0.0)


def test_an_empty_mask_is_doubted_as_much_as_its_likeliest_pixel_and_without_a_jump():
    empty = np.zeros((30, 30), dtype=np.uint8)
    doubts = []
    for likely in (0.0, 1e-4, 0.1, 0.49):
        p = certain(empty)
        p[1, 10:15, 10:15], p[0, 10:15, 10:15] = likely, 1 - likely
        scores = scores_of(p, empty)
        doubts.append(scores["soft_dice"])
        assert scores["boundary_entropy"] == pytest.approx(entropy(p).sum() / 64, rel=1e-5)
    assert doubts == pytest.approx([0.0, 1e-4, 0.1, 0.49], abs=1e-6)


def test_a_class_that_is_nowhere_does_not_make_an_image_doubtful():
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[5:25, 5:25] = 1
    assert soft_dice(certain(mask, n_classes=5), mask) == pytest.approx(1.0)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_scores_are_finite_and_not_negative_at_any_size(height, width, n_classes, seed):
    scores = scores_of(make_probabilities(n_classes, (height, width), seed), sample_dice=0.5)
    assert all(math.isfinite(value) and value >= 0 for value in scores.values())
    assert scores["soft_dice"] <= 1
    if max(height, width) <= 16:
        assert scores["patch_maximum"] == pytest.approx(scores["mean_entropy"])


def test_what_does_not_fit_is_refused():
    p = make_probabilities()
    with pytest.raises(SettingsError, match="those of one prediction"):
        image_scores(p, np.zeros((40, 32), np.uint8), {"entropy": entropy(p)})
    with pytest.raises(SettingsError, match="None"):
        image_scores(p, np.zeros((40, 33), np.uint8), {})


def brute_aurc(doubt, risk):
    """Average over every order that sorts the doubt."""
    areas = []
    for order in itertools.permutations(range(len(risk))):
        if all(doubt[a] <= doubt[b] for a, b in itertools.pairwise(order)):
            risks = [risk[i] for i in order]
            areas.append(np.mean([np.mean(risks[: n + 1]) for n in range(len(risks))]))
    return np.mean(areas)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.floats(0, 1)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_aurc_is_the_mean_over_the_orders_of_ties_and_ignores_the_order_given(pairs, random):
    doubt, risk = zip(*pairs, strict=True)
    found = aurc(doubt, risk)
    assert found == pytest.approx(brute_aurc(doubt, risk), abs=1e-12)
    random.shuffle(pairs)
    assert aurc(*zip(*pairs, strict=True)) == pytest.approx(found, abs=1e-12)


def test_aurc_is_the_mean_risk_without_information_and_least_in_the_right_order():
    risk = np.random.default_rng(0).random(200)
    assert aurc([1.0] * 200, risk) == pytest.approx(risk.mean())
    assert aurc(risk, risk) < aurc([1.0] * 200, risk) < aurc(-risk, risk)


def noisy_scores(dice, good, rng):
    """`good` follows the risk, the others are noise."""
    return [
        {name: (1 - d) if name == good else float(rng.random()) for name in SCORES} for d in dice
    ]


@pytest.mark.parametrize("good", SCORES)
def test_a_score_that_is_clearly_best_is_chosen(good):
    rng = np.random.default_rng(1)
    dice = rng.random(40).tolist()
    name, table = choose_score(noisy_scores(dice, good, rng), dice)
    assert name == good
    assert next(iter(table)) == good
    assert list(table.values()) == sorted(table.values())


def test_few_groups_or_a_lead_by_luck_leave_soft_dice():
    rng = np.random.default_rng(2)
    dice = rng.random(40).tolist()
    scores = noisy_scores(dice, "mean_entropy", rng)
    assert choose_score(scores, dice, ["a", "b", "c", "d"] * 10)[0] == "soft_dice"
    kept = 0
    for _ in range(40):
        luck = [{name: float(rng.random()) for name in SCORES} for _ in dice]
        kept += choose_score(luck, dice)[0] == "soft_dice"
    assert kept >= 20


def test_only_scores_that_every_image_has_can_be_chosen_and_images_without_dice_do_not_count():
    rng = np.random.default_rng(3)
    dice = rng.random(12).tolist()
    scores = noisy_scores(dice, "patch_maximum", rng)
    del scores[4]["patch_maximum"]
    scores[5]["soft_dice"] = math.nan
    name, table = choose_score(scores, dice)
    assert set(table) == set(SCORES) - {"patch_maximum", "soft_dice"}
    assert name in table
    extended = choose_score([*scores, {}], [*dice, math.nan])
    assert extended == (name, table)


def test_images_that_are_all_alike_leave_soft_dice():
    name, table = choose_score([dict.fromkeys(SCORES, 0.0)] * 6, [1.0] * 6)
    assert name == "soft_dice"
    assert set(table.values()) == {0.0}
    assert choose_score([{"mean_entropy": 1.0}], [0.5])[0] == "mean_entropy"


def test_no_image_with_dice_is_refused():
    with pytest.raises(SettingsError, match="at least 1 with a Dice"):
        choose_score([{"soft_dice": 0.1}], [math.nan])
    with pytest.raises(SettingsError, match="of one length"):
        choose_score([{"soft_dice": 0.1}], [0.5, 0.6])
    with pytest.raises(SettingsError, match="at least 1"):
        aurc([], [])
