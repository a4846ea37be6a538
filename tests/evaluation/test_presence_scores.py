"""The challenge's rule, and the confusion table per presence, against a plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.presence import PRESENCE, challenge_dice, presence_scores, tally
from penumbra.evaluation.report.presence import sentence, table
from penumbra.inference.prediction import Prediction


def case(name, truth, predicted, group="g"):
    mask = np.array(predicted, dtype=np.uint8)
    p = np.stack([1.0 - mask, mask]).astype(np.float32)
    return Case(name, group, np.array(truth, dtype=np.uint8), Prediction(p, mask, {}))


NOTHING, LEFT, RIGHT = [[0, 0, 0, 0]], [[1, 1, 0, 0]], [[0, 0, 1, 1]]
CASES = [
    case("hit", LEFT, [[1, 1, 1, 0]], "a"),
    case("elsewhere", LEFT, RIGHT, "b"),
    case("missed", RIGHT, NOTHING, "a"),
    case("alarm", NOTHING, [[0, 0, 0, 1]], "b"),
    case("empty", NOTHING, NOTHING, "a"),
    case("ignored", [[0, 0, 0, 255]], [[0, 0, 0, 1]], "b"),
]


@pytest.mark.parametrize("empty", ["one", "nan", "skip"])
def test_table_and_scores(empty):
    found = evaluate(CASES, class_names=["back", "nerve"], empty=empty, resamples=50)
    section = found.to_json()["presence"]["nerve"]
    assert section["n_images"] == 6
    assert section["table"] == {
        "truth_present": {"predicted_present": 2, "predicted_absent": 1},
        "truth_absent": {"predicted_present": 1, "predicted_absent": 2},
    }
    mean = {name: section[name]["mean"] for name in PRESENCE}
    assert mean == pytest.approx(
        {
            "dice": (0.8 + 0 + 0 + 0 + 1 + 1) / 6,
            "dice_present": 0.8 / 3,
            "dice_found": 0.4,
            "sensitivity": 2 / 3,
            "specificity": 2 / 3,
            "accuracy": 4 / 6,
        }
    )
    assert section["dice"]["low"] <= section["dice"]["mean"] <= section["dice"]["high"]
    if empty == "one":
        assert found.overall["dice"]["mean"] == pytest.approx(mean["dice"])


def test_without_absent_images_there_is_no_specificity():
    found = evaluate(CASES[:2], class_names=["back", "nerve"], resamples=20)
    section = found.sections["presence"]["nerve"]
    assert np.isnan(section["specificity"]["mean"])
    assert section["sensitivity"]["mean"] == 1.0
    assert "without" not in sentence(found.sections["presence"])
    rows = table(found.sections["presence"]).rows
    assert [[cell.text for cell in row][2:4] for row in rows] == [["2", "0"], ["0", "0"]]
    assert rows[1][4].text == "–"


areas = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1), st.integers(0, 2)),
    min_size=1,
    max_size=20,
)


@given(areas)
def test_sums_merge_and_agree_with_a_loop(images):
    truth, predicted, dice, group = (np.array(column) for column in zip(*images, strict=True))
    dice = challenge_dice(truth, predicted, dice)
    expected = []
    for t, p, (_, _, own, _) in zip(truth, predicted, images, strict=True):
        expected.append(1.0 if t == p == 0 else 0.0 if 0 in (t, p) else own)
    assert dice.tolist() == expected
    whole = tally(truth, predicted, dice, group, 3)
    half = len(images) // 2
    parts = [tally(*(column[part] for column in (truth, predicted, dice, group)), 3)
             for part in (slice(half), slice(half, None))]  # fmt: skip
    np.testing.assert_allclose(parts[0] + parts[1], whole)
    scores = dict(zip(PRESENCE, presence_scores(whole.sum(axis=0)), strict=True))
    assert scores["dice"] == pytest.approx(np.mean(expected))
    right = [(t > 0) == (p > 0) for t, p in zip(truth, predicted, strict=True)]
    assert scores["accuracy"] == pytest.approx(np.mean(right))
