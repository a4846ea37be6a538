"""Paired differences against a loop that draws the groups by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from penumbra.data.sample import Sample
from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.scores import ScoreSettings, score_image, sums_of_image
from penumbra.evaluation.shift import Shift
from penumbra.evaluation.sums import GroupSums, coarser, merge, stack
from penumbra.inference.prediction import Prediction, entropy
from penumbra.inference.scores import aurc, image_scores
from penumbra.studies.cell import CellResult
from penumbra.studies.draws import METRICS, draw_metrics
from penumbra.studies.markdown import markdown
from penumbra.studies.packing import pack, pack_array, unpack, unpack_array
from penumbra.studies.places import Cell
from penumbra.studies.sets import WorkingSample
from penumbra.studies.tables import RowDraws, aligned, compare, summary, weights_of

NAMES = ("background", "cell")
SETTINGS = ScoreSettings(NAMES, scored=(1,), empty="one", tolerance=2.0, n_bins=15)
GROUPS = 5


def random_cases(seed, *, skill):
    """Images of groups that differ; a better skill is a sharper prediction."""
    rng = np.random.default_rng(7)
    noise = np.random.default_rng(seed)
    for index in range(12):
        size = (16, 16)
        truth = (rng.uniform(size=size) < 0.2 + 0.1 * (index % GROUPS)).astype(np.uint8)
        logit = skill * (2.0 * truth - 1) + noise.normal(size=size)
        p = (1 / (1 + np.exp(-logit))).astype(np.float32)
        planes = np.stack([1 - p, p])
        mask = (p >= 0.5).astype(np.uint8)
        maps = {"entropy": entropy(planes)}
        yield Case(
            f"i{index}", f"g{index % GROUPS}", truth,
            Prediction(planes, mask, maps, scores=image_scores(planes, mask, maps)),
        )  # fmt: skip


def cell_result(row, seed, cases):
    sums, images = {}, []
    for case in cases:
        scores = score_image(case, settings=SETTINGS)
        new = coarser(sums_of_image(scores), 512)
        sums[case.group] = merge(sums[case.group], new) if case.group in sums else new
        images.append(
            {"id": case.id, "group": list(sums).index(case.group),
             "dice": float(scores.table[0, 0]), "scores": dict(scores.scores)}
        )  # fmt: skip
    return CellResult(
        Cell("set", row, seed), tuple(sums), stack(list(sums.values())), tuple(images), SETTINGS,
        "soft_dice", {"cost": "1 forward pass", "predict": 0.0, "images": len(images)},
    )  # fmt: skip


def row_draws(row, skill, weights, seeds=(0, 1, 2)):
    results = [cell_result(row, seed, random_cases(seed, skill=skill)) for seed in seeds]
    values = np.stack([draw_metrics(result, weights) for result in results])
    return RowDraws(row, tuple(seeds), values, whole=False, cost={})


def by_hand(row_skill, weights, names, seed):
    """Metrics of one seed under one weighting: every image as often as its group was drawn."""
    drawn = [
        case._replace(id=f"{case.id}-{copy}")
        for case in random_cases(seed, skill=row_skill)
        for copy in range(int(weights[names.index(case.group)]))
    ]
    result = evaluate(drawn, class_names=NAMES, resamples=1)
    risk = [1 - image.dice for image in result.images]
    doubt = [case.prediction.scores["soft_dice"] for case in drawn]
    found = {name: result.overall[name]["mean"] for name in ("dice", "nll", "ece", "boundary_f1")}
    return found | {"image_aurc": aurc(doubt, risk)}


def test_paired_differences_are_those_of_a_loop():
    weights = weights_of(GROUPS, resamples=8, seed=3)
    names = list(cell_result("a", 0, random_cases(0, skill=1.0)).groups)
    one, other = (row_draws(row, skill, weights) for row, skill in (("a", 1.0), ("b", 1.4)))
    found = compare(one, other)
    expected = {name: [] for name in ("dice", "nll", "ece", "boundary_f1", "image_aurc")}
    for row in weights:
        a, b = ([by_hand(skill, row, names, seed) for seed in (0, 1, 2)] for skill in (1.0, 1.4))
        for name, values in expected.items():
            values.append(np.mean([x[name] - y[name] for x, y in zip(a, b, strict=True)]))
    for name, (value, *resampled) in expected.items():
        low, high = np.percentile(resampled, (2.5, 97.5))
        assert found[name]["mean"] == pytest.approx(value, abs=2e-6), name
        assert found[name]["low"] == pytest.approx(low, abs=2e-6), name
        assert found[name]["high"] == pytest.approx(high, abs=2e-6), name
    assert found["nll"]["mean"] > 0


def test_pairing_narrows_what_two_rows_share():
    weights = weights_of(GROUPS, resamples=400, seed=0)
    one, other = (row_draws(row, skill, weights) for row, skill in (("a", 1.0), ("b", 1.05)))
    both = compare(one, other)["nll"]
    alone = summary(one.values.mean(axis=0))["nll"]
    assert both["high"] - both["low"] < alone["high"] - alone["low"]


def test_rows_are_paired_over_the_seeds_they_share():
    weights = weights_of(GROUPS, resamples=5)
    one = row_draws("a", 1.0, weights, seeds=(1, 2))
    other = row_draws("b", 1.4, weights, seeds=(0, 1))
    at = METRICS.index("nll")
    value = one.values[0, 0, at] - other.values[1, 0, at]
    assert compare(one, other)["nll"]["mean"] == pytest.approx(value)
    whole = RowDraws("e", (0,), other.values[:1], whole=True, cost={})
    value = one.values[:, 0, at].mean() - other.values[0, 0, at]
    assert compare(one, whole)["nll"]["mean"] == pytest.approx(value)
    apart = row_draws("c", 1.0, weights, seeds=(7,))
    assert compare(one, apart) == {}


def test_relative_differences():
    weights = weights_of(GROUPS, resamples=30)
    one, other = (row_draws(row, skill, weights) for row, skill in (("a", 1.0), ("b", 1.4)))
    found = compare(one, other)["nll"]
    at = METRICS.index("nll")
    ratio = one.values[:, 0, at].mean() / other.values[:, 0, at].mean() - 1
    assert found["relative_mean"] == pytest.approx(ratio)
    assert found["relative_low"] <= ratio <= found["relative_high"]


def test_cells_with_other_groups_are_compared_on_what_they_share():
    cases = list(random_cases(0, skill=1.0))
    whole = cell_result("a", 0, cases)
    part = cell_result("b", 0, [case for case in reversed(cases) if case.group != "g1"])
    names, (first, second) = aligned([whole, part])
    assert names == ("g0", "g2", "g3", "g4")
    one = np.ones((1, 4))
    assert draw_metrics(first, one) == pytest.approx(draw_metrics(second, one), nan_ok=True)


def test_one_group_has_no_interval():
    weights = weights_of(1)
    assert weights.tolist() == [[1.0]]
    found = summary(np.ones((1, len(METRICS))))
    assert np.isnan(found["nll"]["low"])


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_arrays_survive_packing(array):
    assert np.array_equal(unpack_array(pack_array(array)), array)


def test_sums_survive_packing():
    result = cell_result("a", 0, random_cases(0, skill=1.0))
    again = unpack(GroupSums, pack(result.sums))
    for name in ("total", "n"):
        assert getattr(again, name) == pytest.approx(getattr(result.sums, name))
    assert again.risk.scores == pytest.approx(result.sums.risk.scores, rel=1e-6)
    with pytest.raises(ValueError, match=r"."):
        unpack_array({"shape": [2], "data": "0000"})


def test_tables_mark_what_excludes_zero():
    def place(low, high):
        against = {"nll": {"mean": -0.01, "low": low, "high": high}}
        metrics = {"nll": {"mean": 0.2, "low": 0.1, "high": 0.3}}
        row = {"seeds": [0], "cost": {"ms_per_image": 3.0}, "metrics": metrics}
        rows = {"base": row | {"against": {}}, "new": row | {"against": {"base": against}}}
        return {"groups": 2, "images": 4, "rows": rows}

    sets = {"one": {"clean": place(-0.02, -0.001)}, "two": {"clean": place(-0.02, 0.001)}}
    results = {"cells": 4, "done": 4, "resamples": 10, "sets": sets}
    text = markdown(results, ["nll", "ged"], ["base"])
    assert "| `new` | **−0.0100** (−0.0200 to −0.00100) | – |" in text
    assert "| `new` | −0.0100 (−0.0200 to 0.00100) | – |" in text
    assert "| `new` | 1 / 1 / 0 | – |" in text


def test_moved_pixels_leave_readers_and_truth_behind():
    sample = Sample("a", np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8), np.uint8), "g")
    readers, exact = np.zeros((2, 8, 8), np.uint8), np.zeros((8, 8), np.float32)
    whole = WorkingSample(sample, readers, exact)
    assert whole.shifted(None) is whole
    assert whole.shifted(Shift("blur", 1)).readers is readers
    turned = whole.shifted(Shift("rotation", 1))
    assert turned.readers is None
    assert turned.true_probability is None
