"""What an evaluation says beside its metrics, and what it takes."""

import json
import math

import numpy as np
import pytest

from penumbra.data.phantom import phantom_sample
from penumbra.evaluation import evaluate as evaluate_module
from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.histogram import FINE_BINS
from penumbra.evaluation.image_risk import image_risks
from penumbra.evaluation.joint import joint_nll, tally_joint
from penumbra.evaluation.scores import ScoreSettings, score_image, sums_of_image
from penumbra.evaluation.sums import coarser, merge
from penumbra.inference.prediction import Prediction, Samples, entropy
from penumbra.storage import json_ready

NAMES = ("background", "object")


def _cases(n=10, *, passes=3, keep=True, readers=True, calibrated=True, groups=5, seed=0):
    """Phantoms, guessed at by a few readers of their own."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        sample = phantom_sample("ultrasound", size=32, index=i, seed=seed)
        q = sample.truth.astype(np.float64)
        logit = np.log((q + 0.02) / (1.02 - q)) + rng.normal(size=(passes, 1, 1))
        p = 1 / (1 + np.exp(-logit))
        planes = np.stack([1 - p, p], axis=1).astype(np.float32)
        mean = planes.mean(axis=0)
        within = np.mean([entropy(plane) for plane in planes], axis=0)
        maps = {"entropy": entropy(mean)}
        if passes > 1:
            maps["mutual_information"] = np.maximum(maps["entropy"] - within, 0)
            maps["variance"] = planes.var(axis=0).sum(axis=0)
        area = float(mean[1].sum())
        prediction = Prediction(
            mean,
            mean.argmax(axis=0).astype(np.uint8),
            maps,
            passes=passes,
            samples=Samples(planes, (32, 32)) if keep and passes > 1 else None,
            scores={"soft_dice": float(rng.uniform()), "sample_disagreement": float(i)},
            area_intervals={"object": (area - 40, area, area + 40)} if calibrated else {},
            flagged=i % 3 == 0 if calibrated else None,
        )
        yield Case(
            f"s{i}",
            f"g{i % groups}",
            sample.mask,
            prediction,
            readers=sample.readers if readers else None,
            true_probability=sample.truth if readers else None,
        )


def _intervals(section):
    for value in section.values():
        if isinstance(value, dict) and {"mean", "low", "high"} <= set(value):
            yield value
        elif isinstance(value, dict):
            yield from _intervals(value)


def test_every_section_is_there_where_it_applies():
    result = evaluate(_cases(), class_names=NAMES, resamples=300)
    document = json_ready(result.to_json())
    json.dumps(document, allow_nan=False)
    assert {"risk", "samples", "areas", "readers", "truth"} <= set(document)
    assert set(document["risk"]) == {"pixels", "images", "flags"}
    assert set(document["risk"]["pixels"]) == {
        "entropy",
        "least_confidence",
        "mutual_information",
        "variance",
    }
    assert set(document["risk"]["images"]["scores"]) == {
        "mean_entropy",
        "soft_dice",
        "sample_disagreement",
    }
    assert document["risk"]["flags"]["n"] == 4
    assert document["risk"]["flags"]["flagged"]["mean"] == pytest.approx(0.4)
    assert document["areas"]["object"]["mean_width"]["mean"] == pytest.approx(80, rel=1e-4)
    assert "background" not in document["areas"]
    assert document["readers"]["n_images"] == 10
    assert document["samples"]["passes"] == 3
    found = list(_intervals(document["risk"])) + list(_intervals(document["truth"]))
    assert len(found) > 15
    for value in found:
        assert value["low"] - 1e-12 <= value["mean"] <= value["high"] + 1e-12


def test_sections_are_left_out_where_they_do_not_apply():
    cases = _cases(passes=1, readers=False, calibrated=False)
    document = evaluate(cases, class_names=NAMES, resamples=20).to_json()
    assert not {"samples", "areas", "readers", "truth"} & set(document)
    assert set(document["risk"]) == {"pixels", "images"}
    assert set(document["risk"]["pixels"]) == {"entropy", "least_confidence"}
    one = evaluate(_cases(1, passes=1), class_names=NAMES, resamples=20).to_json()
    assert "images" not in one["risk"]
    assert "image_aurc" not in one["overall"]


def test_the_joint_nll_is_that_of_the_samples():
    cases = list(_cases())
    overall = evaluate(cases, class_names=NAMES, resamples=20).overall
    parts = [tally_joint(case.truth, case.prediction.samples) for case in cases]
    pixels = sum(float(part.n) for part in parts)
    for name, tempered in (("joint_nll", True), ("joint_nll_untempered", False)):
        total = sum(joint_nll(part, tempered=tempered)[0] * part.n for part in parts)
        assert overall[name]["mean"] == pytest.approx(total / pixels)


def test_one_pass_has_its_nll_and_passes_not_kept_have_none():
    single = evaluate(_cases(passes=1), class_names=NAMES, resamples=20)
    for name in ("joint_nll", "joint_nll_untempered"):
        assert single.overall[name] == pytest.approx(single.overall["nll"])
        for by_class in single.per_class.values():
            assert by_class[name]["mean"] == pytest.approx(by_class["nll"]["mean"])
    unkept = evaluate(_cases(keep=False), class_names=NAMES, resamples=20)
    assert math.isnan(unkept.overall["joint_nll"]["mean"])
    assert "samples" not in unkept.sections


def test_the_image_level_area_is_that_of_the_chosen_score():
    result = evaluate(_cases(), class_names=NAMES, resamples=20)
    assert result.image_score == "soft_dice"
    images = result.image_risks("soft_dice")
    assert images.risk == pytest.approx([1 - image.dice for image in result.images])
    expected = image_risks(images, np.ones((1, 5)))[0, 0]
    assert result.overall["image_aurc"]["mean"] == pytest.approx(expected)
    two = result.image_risks("soft_dice", groups=["g1", "g0"])
    assert len(two.risk) == 4
    assert sorted(set(two.group.tolist())) == [0, 1]


def test_rows_tell_scores_flags_and_intervals():
    cases = list(_cases(3))
    frame = evaluate(cases, class_names=NAMES, resamples=20).to_frame()
    objects = frame[frame["class"] == "object"]
    assert objects["score_sample_disagreement"].tolist() == [0, 1, 2]
    assert objects["flagged"].tolist() == [True, False, False]
    low, estimate, high = cases[1].prediction.area_intervals["object"]
    assert objects.iloc[1][["area_low", "area_estimate", "area_high"]].tolist() == [
        low,
        estimate,
        high,
    ]
    assert frame[frame["class"] == "background"]["area_low"].isna().all()
    assert "scores" not in frame
    assert (frame["joint_nll"] > 0).all()


def test_readers_of_another_size_are_a_finding():
    good, bad = _cases(2)
    bad = bad._replace(readers=bad.readers[:, :-1])
    result = evaluate([good, bad], class_names=NAMES, resamples=20)
    assert [finding.kind for finding in result.findings] == ["size-mismatch"]


def test_very_many_groups_take_bounded_memory(monkeypatch):
    """Resolution is halved as groups come; figures hardly move."""
    cases = list(_cases(24, groups=24))
    fine = evaluate(cases, class_names=NAMES, resamples=20)
    assert fine.sums.n_fine == FINE_BINS
    monkeypatch.setattr(evaluate_module, "_FINE_MEMORY", fine.sums.fine_bytes // 8)
    coarse = evaluate(cases, class_names=NAMES, resamples=20)
    assert coarse.sums.n_fine == FINE_BINS // 8
    assert coarse.sums.fine_bytes <= fine.sums.fine_bytes // 8
    for name in ("ace", "aurc", "ause"):
        assert coarse.overall[name]["mean"] == pytest.approx(fine.overall[name]["mean"], rel=0.02)
    assert coarse.overall["dice"] == fine.overall["dice"]


def test_sums_of_two_resolutions_merge_at_the_coarser():
    settings = ScoreSettings(NAMES, (1,), "one", 2.0, 15)
    one, other = (sums_of_image(score_image(case, settings=settings)) for case in _cases(2))
    both = merge(one, coarser(other, 256))
    again = coarser(merge(one, other), 256)
    assert both.n_fine == 256
    np.testing.assert_allclose(both.risk.scores, again.risk.scores)
    np.testing.assert_allclose(both.confidence.bins, again.confidence.bins)
