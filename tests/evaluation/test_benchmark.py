"""Comparisons: paired differences, images under a threshold, runs that do not match."""

import json

import numpy as np
import pytest

from penumbra.errors import SettingsError
from penumbra.evaluation.benchmark import compare
from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.summary import METRICS
from penumbra.inference.prediction import Prediction
from penumbra.storage import json_ready

NAMES = ("background", "cell")


def _cases(*, noise, n=40, groups=20, seed=0):
    """Discs of very different difficulty; `noise` blurs the prediction further."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24]
    for i in range(n):
        radius = 3 + 7 * (i % groups) / groups
        distance = radius - np.hypot(y - 12, x - 12)
        truth = (distance > 0).astype(np.uint8)
        field = rng.normal(size=truth.shape)
        p = 1 / (1 + np.exp(-(distance + noise * field)))
        probabilities = np.stack([1 - p, p]).astype(np.float32)
        mask = (p > 0.5).astype(np.uint8)
        yield Case(f"s{i}", f"g{i % groups}", truth, Prediction(probabilities, mask, {}))


def _evaluation(noise, **options):
    return evaluate(_cases(noise=noise, **options), class_names=NAMES)


def test_a_better_run_is_seen_to_be_better():
    result = compare({"plain": _evaluation(2.0), "better": _evaluation(1.0)}, threshold=0.9)
    plain, better = result.runs
    assert plain.difference == {}
    assert set(better.difference) == {*METRICS, "image_aurc"}
    gain = better.difference["iou"]
    assert gain["mean"] == pytest.approx(better.average_iou - plain.average_iou)
    assert 0 < gain["low"] < gain["mean"] < gain["high"]
    assert better.n_paired_images == 40
    assert result.findings == ()


def test_pairing_is_sharper_than_two_separate_intervals():
    """Groups differ in difficulty for both runs alike; their difference knows that."""
    result = compare({"a": _evaluation(2.0), "b": _evaluation(1.5)}, threshold=0.9)
    separate = result.runs[0].overall["dice"]
    paired = result.runs[1].difference["dice"]
    assert paired["high"] - paired["low"] < 0.7 * (separate["high"] - separate["low"])


def test_a_run_does_not_differ_from_itself():
    first, same = _evaluation(1.0), _evaluation(1.0)
    difference = compare({"a": first, "b": same}).runs[1].difference
    for name in METRICS:
        if name != "hd95_mm":
            assert difference[name] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_images_under_the_threshold_come_worst_first():
    evaluation = _evaluation(2.0)
    (run,) = compare({"only": evaluation}, threshold=0.8).runs
    values = [image.iou for image in run.under_threshold]
    assert values == sorted(values)
    assert values
    assert max(values) < 0.8
    assert len(values) == sum(image.iou < 0.8 for image in evaluation.images)
    assert run.average_iou == pytest.approx(np.mean([image.iou for image in evaluation.images]))


def test_only_groups_with_the_same_images_are_paired():
    whole = _evaluation(1.0)
    part = evaluate(
        [case for case in _cases(noise=1.5) if case.id not in ("s3", "s7")], class_names=NAMES
    )
    result = compare({"whole": whole, "part": part})
    assert [f.kind for f in result.findings] == ["different-images"]
    assert result.runs[1].n_paired_images == 36
    same = evaluate(
        [c for c in _cases(noise=1.0) if c.group not in ("g3", "g7")], class_names=NAMES
    )
    rest = evaluate(
        [c for c in _cases(noise=1.5) if c.group not in ("g3", "g7")], class_names=NAMES
    )
    expected = rest.overall["ece"]["mean"] - same.overall["ece"]["mean"]
    assert result.runs[1].difference["ece"]["mean"] == pytest.approx(expected)


def test_runs_on_other_images_have_no_difference():
    other = evaluate(
        [case._replace(id=f"x{case.id}") for case in _cases(noise=1.0)], class_names=NAMES
    )
    result = compare({"a": _evaluation(1.0), "b": other})
    assert result.runs[1].difference == {}
    assert len(result.findings) == 1


def test_the_result_goes_to_json_and_to_a_table():
    result = compare({"a": _evaluation(1.0), "b": _evaluation(2.0)}, threshold=0.95)
    document = json.loads(json.dumps(json_ready(result), allow_nan=False))
    assert document["reference"] == "a"
    assert document["runs"][1]["under_threshold"][0]["iou"] < 0.95
    frame = result.to_frame()
    assert len(frame) == 2 * (len(METRICS) + 1)  # and image_aurc
    row = frame[(frame["run"] == "b") & (frame["metric"] == "dice")].iloc[0]
    assert row["difference_mean"] == document["runs"][1]["difference"]["dice"]["mean"]


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(SettingsError, match="at least one"):
        compare({})
    with pytest.raises(SettingsError, match="between 0 and 1"):
        compare({"a": _evaluation(1.0)}, threshold=90)
    others = evaluate(_cases(noise=1.0), class_names=NAMES, empty="skip")
    with pytest.raises(SettingsError, match="same classes"):
        compare({"a": _evaluation(1.0), "b": others})
