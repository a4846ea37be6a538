"""Conformal intervals: coverage on exchangeable groups, limits at few groups, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.inference.areas import AreaCase, AreaEstimate, area_case, area_estimate
from penumbra.inference.calibration import AreaInterval
from penumbra.inference.flags import fit_flag, is_flagged
from penumbra.inference.intervals import (
    area_intervals,
    fit_area,
    group_interval,
    group_quantile,
    interval_notes,
)

NAMES = ("background", "nerve")
PIXELS = 10_000


def make_group(rng, name, *, classes=1):
    """Images of one group share an error and vary in number and in scale."""
    n = int(rng.integers(1, 9))
    shared = rng.standard_t(3, classes)
    cases = []
    for _ in range(n):
        scale = rng.uniform(5, 50, classes)
        area = rng.uniform(2000, 5000, classes)
        error = scale * (shared + 0.5 * rng.standard_normal(classes))
        estimate = AreaEstimate(area, scale, PIXELS)
        cases.append(AreaCase(name, estimate, area + error))
    return cases


def make_cases(rng, n_groups, **options):
    return [case for g in range(n_groups) for case in make_group(rng, f"g{g:03d}", **options)]


def inside(interval, value):
    low, _, high = interval
    return low <= value <= high


@pytest.mark.parametrize(("level", "n_groups"), [(0.9, 9), (0.9, 24), (0.8, 12), (0.5, 3)])
def test_coverage_over_new_groups_is_at_least_nominal(level, n_groups):
    rng = np.random.default_rng(n_groups)
    runs = 600
    images, volumes = [], []
    for _ in range(runs):
        area = fit_area(make_cases(rng, n_groups), level=level, class_names=NAMES)
        new = make_group(rng, "new")
        hits = [inside(area_intervals(area, c.estimate)["nerve"], c.truth[0]) for c in new]
        images.append(np.mean(hits))
        total = sum(c.truth[0] for c in new)
        volumes.append(inside(group_interval(area, [c.estimate for c in new])["nerve"], total))
    for found in (images, volumes):
        # Three standard errors of the mean of `runs` independent repetitions.
        assert np.mean(found) >= level - 3 * math.sqrt(level * (1 - level) / runs)
    assert np.mean(volumes) <= level + 1 / (n_groups + 1) + 3 * math.sqrt(0.25 / runs)


def test_images_taken_as_independent_would_cover_less_than_they_say():
    """One large group must not drown the others: the reason for the weights."""
    rng = np.random.default_rng(0)
    missed = naively_missed = 0
    for _ in range(300):
        shared = np.abs(rng.standard_normal(21))
        sizes = [200] + [1] * 19
        groups = np.repeat(np.arange(20).astype(str), sizes).tolist()
        values = np.repeat(shared[:20], sizes)
        missed += shared[20] > group_quantile(values, groups, 0.9)
        each = [str(index) for index in range(len(values))]
        naively_missed += shared[20] > group_quantile(values, each, 0.9)
    assert naively_missed / 300 > 0.3
    assert missed / 300 <= 0.1 + 3 * math.sqrt(0.09 / 300)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8, 0.9, 0.95, 2 / 3]),
)
@settings(max_examples=80, deadline=None)
def test_groups_of_one_give_ordinary_split_conformal(values, level):
    n = len(values)
    rank = math.ceil((n + 1) * level - 1e-9)
    expected = sorted(values)[rank - 1] if rank <= n else math.inf
    found = group_quantile(np.array(values), [str(i) for i in range(n)], level)
    assert found == expected


def brute_quantile(values, groups, level):
    distinct = sorted(set(groups))
    for candidate in sorted(values):
        mass = sum(
            np.mean([v <= candidate for v, g in zip(values, groups, strict=True) if g == group])
            for group in distinct
        ) / (len(distinct) + 1)
        if mass >= level - 1e-9:
            return candidate
    return math.inf


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from("abcdefg")), min_size=1, max_size=30),
    st.sampled_from([0.3, 0.5, 0.7, 0.85]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=80, deadline=None)
def test_the_quantile_agrees_with_a_loop_and_ignores_order(pairs, level, random):
    values, groups = zip(*pairs, strict=True)
    expected = brute_quantile(values, groups, level)
    assert group_quantile(np.array(values, float), groups, level) == expected
    random.shuffle(pairs)
    values, groups = zip(*pairs, strict=True)
    assert group_quantile(np.array(values, float), groups, level) == expected


@given(seed=st.integers(0, 10**6), n_groups=st.integers(1, 14))
@settings(max_examples=20, deadline=None)
def test_the_order_of_cases_does_not_matter(seed, n_groups):
    rng = np.random.default_rng(seed)
    cases = make_cases(rng, n_groups, classes=2)
    names = ("background", "one", "two")
    shuffled = [cases[i] for i in rng.permutation(len(cases))]
    assert fit_area(shuffled, level=0.8, class_names=names) == fit_area(
        cases, level=0.8, class_names=names
    )


def test_eight_groups_are_too_few_for_ninety_percent_and_nine_are_enough():
    rng = np.random.default_rng(0)
    few = fit_area(make_cases(rng, 8), class_names=NAMES)
    assert few.quantile == few.group_quantile == few.coverage == (None,)
    assert area_intervals(few, AreaEstimate(np.array([30.0]), np.array([5.0]), 100)) == {
        "nerve": (0.0, 30.0, 100.0)
    }
    assert "at least 9 for intervals at 90 %, but got 8" in interval_notes(few)[0]
    nine = fit_area(make_cases(rng, 9), class_names=NAMES)
    assert nine.quantile[0] is not None
    assert nine.group_quantile[0] is not None
    assert nine.coverage == (None,), "leaving one out leaves eight"
    assert interval_notes(nine) == ()


def test_left_out_groups_are_covered_about_as_often_as_nominal():
    found = fit_area(make_cases(np.random.default_rng(1), 200), class_names=NAMES)
    assert found.coverage[0] == pytest.approx(0.9, abs=0.05)
    assert found.n_groups == 200


def test_a_class_that_validation_never_shows_has_no_interval():
    rng = np.random.default_rng(0)
    cases = make_cases(rng, 12, classes=2)
    cases = [AreaCase(c.group, c.estimate, c.truth * np.array([1, 0])) for c in cases]
    found = fit_area(cases, class_names=("background", "nerve", "cyst"))
    assert found.quantile[0] is not None
    assert found.quantile[1] is found.group_quantile[1] is found.coverage[1] is None
    assert interval_notes(found)[0].startswith("Expected class cyst to be shown")


def test_intervals_survive_the_calibration_file():
    found = fit_area(make_cases(np.random.default_rng(0), 12), class_names=NAMES)
    assert AreaInterval.model_validate_json(found.model_dump_json()) == found


def test_intervals_stay_within_the_image_and_around_the_estimate():
    area = fit_area(make_cases(np.random.default_rng(4), 30), class_names=NAMES)
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        p = np.empty((2, 50, 40), dtype=np.float32)
        p[1], p[0] = share, 1 - share
        low, centre, high = area_intervals(area, p)["nerve"]
        assert 0 <= low <= centre <= high <= 2000
        assert centre == pytest.approx(2000 * share, rel=1e-5)
    one, two = area_estimate(p), area_estimate(1 - p)
    low, centre, high = group_interval(area, [one, two])["nerve"]
    assert high <= 4000
    assert centre == pytest.approx(2000, rel=1e-5)


def test_cases_count_what_is_not_ignored():
    rng = np.random.default_rng(0)
    p = rng.dirichlet((1, 1, 1), (12, 9)).transpose(2, 0, 1).astype(np.float32)
    truth = rng.integers(0, 3, (12, 9)).astype(np.uint8)
    truth[:4] = 255
    case = area_case(p, truth, group="a")
    inner = p[1:, 4:].astype(np.float64)
    np.testing.assert_allclose(case.estimate.area, inner.sum(axis=(1, 2)), rtol=1e-12)
    expected = (inner * (1 - inner)).sum(axis=(1, 2)) + 0.001 * 8 * 9
    np.testing.assert_allclose(case.estimate.scale, expected, rtol=1e-12)
    assert case.estimate.pixels == 72
    assert case.truth.tolist() == [(truth == 1).sum(), (truth == 2).sum()]
    nothing = area_case(p, np.full_like(truth, 255), group="a")
    assert (nothing.estimate.scale > 0).all()


def test_the_scale_is_the_same_share_of_the_image_at_any_resolution():
    p = np.random.default_rng(0).dirichlet((1, 1), (10, 10)).transpose(2, 0, 1).astype(np.float32)
    small, large = area_estimate(p), area_estimate(p.repeat(3, axis=1).repeat(3, axis=2))
    np.testing.assert_allclose(large.scale, 9 * small.scale, rtol=1e-6)


def test_what_cannot_be_fitted_is_refused():
    cases = make_cases(np.random.default_rng(0), 3)
    with pytest.raises(SettingsError, match="`level`"):
        fit_area(cases, level=1.0, class_names=NAMES)
    with pytest.raises(SettingsError, match="at least 1, of 1 foreground"):
        fit_area([], class_names=NAMES)
    with pytest.raises(SettingsError, match="of 2 foreground classes"):
        fit_area(cases, class_names=("a", "b", "c"))
    with pytest.raises(SettingsError, match="`level`"):
        fit_area(cases, level=math.nan, class_names=NAMES)
    with pytest.raises(SettingsError, match="the mask of the same image"):
        area_case(np.zeros((2, 4, 4), np.float32), np.zeros((4, 5), np.uint8), group="a")
    area = fit_area(cases, class_names=NAMES)
    with pytest.raises(SettingsError, match="whose calibration"):
        area_intervals(area, np.zeros((3, 4, 4), np.float32))
    with pytest.raises(SettingsError, match="at least 1 image"):
        group_interval(area, [])


def test_a_flag_asks_for_a_look_at_the_share_that_was_asked_for():
    rng = np.random.default_rng(0)
    dice = rng.random(50)
    scores = [{"soft_dice": float(1 - d)} for d in dice]
    for share, count in ((0.2, 10), (0.5, 25), (0.01, 0), (0.99, 49)):
        flag = fit_flag(scores, dice.tolist(), share=share)
        assert sum(is_flagged(one, flag) for one in scores) == count
    flagged = [d for d, one in zip(dice, scores, strict=True) if is_flagged(one, flag)]
    assert max(flagged) < max(dice)


def test_equal_doubt_is_never_parted_and_too_few_images_flag_only_what_is_worse_than_all():
    alike = [{"soft_dice": 0.5}] * 10
    flag = fit_flag(alike, [0.5] * 10)
    assert not any(is_flagged(one, flag) for one in alike)
    assert is_flagged({"soft_dice": 0.6}, flag)
    single = fit_flag([{"soft_dice": 0.1}], [0.9])
    assert is_flagged({"soft_dice": 0.2}, single)
    assert not is_flagged({"soft_dice": 0.1}, single)


def test_a_score_that_is_not_there_flags_nothing_and_says_so():
    flag = fit_flag([{"soft_dice": 0.1}], [0.9])
    assert is_flagged({}, flag) is None
    assert is_flagged({"soft_dice": math.nan}, flag) is None
    with pytest.raises(SettingsError, match="`share`"):
        fit_flag([{"soft_dice": 0.1}], [0.9], share=0.0)
