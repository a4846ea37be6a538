"""What a report takes from an evaluation and from a plan of passes."""

import math

import numpy as np
import pytest

from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.report_of_doubt import (
    area_coverage,
    area_rows,
    flags_of,
    image_aurc,
    image_doubt,
    pixel_aurc,
    reliability_rows,
    sampler_sentence,
)
from penumbra.inference.calibration import Calibration, Flag
from penumbra.inference.prediction import Prediction
from penumbra.inference.samplers import Cost, Sampler


def case(index, *, scores=None, flagged=None, interval=True):
    rng = np.random.default_rng(index)
    truth = np.zeros((16, 16), np.uint8)
    truth[4:12, 4 : 8 + index] = 1
    p = np.clip(truth * 0.6 + rng.uniform(0.05, 0.35, truth.shape), 0, 1).astype(np.float32)
    areas = {"cell": (10.0, 40.0, 50.0)} if interval else {}
    return Case(
        f"image {index}",
        f"group {index // 2}",
        truth,
        Prediction(
            np.stack([1 - p, p]),
            (p >= 0.5).astype(np.uint8),
            {},
            scores=scores or {},
            area_intervals=areas,
            flagged=flagged,
        ),
    )


def evaluated(**how):
    cases = [
        case(k, **{name: value[k] for name, value in how.items()}) for k in range(4)
    ]  # fmt: skip
    return evaluate(cases, class_names=("background", "cell"), resamples=10)


def test_images_are_ranked_by_the_calibrations_score_if_every_image_has_it():
    scores = [{"soft_dice": k / 10, "patch_maximum": 1 - k / 10} for k in range(4)]
    found = evaluated(scores=scores)
    calibration = Calibration(flag=Flag(score="patch_maximum", threshold=0.5))
    name, values = image_doubt(found, calibration)
    assert name == "patch_maximum"
    assert values["image 3"] == pytest.approx(0.7)
    assert image_doubt(found, None)[0] == "soft_dice"
    assert image_aurc(found, "soft_dice")["mean"] >= 0
    assert image_aurc(found, "another") is None


def test_without_scores_of_every_image_the_mean_entropy_ranks_them():
    found = evaluated(scores=[{"soft_dice": 0.1}, {}, {"soft_dice": math.nan}, {"soft_dice": 0.3}])
    name, values = image_doubt(found, None)
    assert name == "mean_entropy"
    assert values == {image.id: image.mean_entropy for image in found.images}
    assert pixel_aurc(found)["mean"] == pytest.approx(found.overall["aurc"]["mean"])


def test_areas_with_an_interval_and_flags_are_taken_image_by_image():
    found = evaluated(interval=[True, True, False, True], flagged=[True, False, None, False])
    rows = area_rows(found)
    assert [row.id for row in rows] == ["image 0", "image 1", "image 3"]
    assert [row.truth for row in rows] == [32, 40, 56]
    assert {(row.class_name, row.low, row.estimate, row.high) for row in rows} == {
        ("cell", 10.0, 40.0, 50.0)
    }
    assert area_coverage(found)["cell"]["mean"] == pytest.approx(2 / 3)
    assert flags_of(found) == {"image 0": True, "image 1": False, "image 3": False}


def test_a_run_that_was_never_calibrated_has_no_areas_and_no_flags():
    found = evaluated(interval=[False] * 4)
    assert area_rows(found) == []
    assert area_coverage(found) == {}
    assert flags_of(found) == {}
    assert sum(row["count"] for row in reliability_rows(found.reliability)) == 4 * 16 * 16


@pytest.mark.parametrize(
    ("text", "cost", "passes", "words"),
    [
        ("dropout:4", Cost(5, 5), 4, ("4 passes of dropout: 5 forward passes", "disturbance")),
        ("augmentation", Cost(8, 8), 8, ("8 passes of symmetries", "from their mean")),
        ("noise*augmentation:8", Cost(9, 9), 8, ("noise × symmetries", "without noise")),
        ("logit-noise:64", Cost(1, 1, 64), 64,
         ("64 samples of noise in logit space behind 1 forward pass for", "without samples")),
    ],
)  # fmt: skip
def test_the_sampler_its_cost_and_the_origin_of_the_mask_are_said(text, cost, passes, words):
    says = sampler_sentence(Sampler.parse(text), cost, passes=passes)
    for part in words:
        assert part in says
