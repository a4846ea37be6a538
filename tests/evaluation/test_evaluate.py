"""Whole evaluations: means, pooling, policies, findings, and what comes out of them."""

import json
import math
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from penumbra.data.phantom import KINDS, phantom_sample
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, SourceError
from penumbra.evaluation.cases import Case, predicted_cases
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.scores import ScoreSettings, score_image, sums_of_image
from penumbra.evaluation.summary import METRICS, OVERALL_METRICS, statistic
from penumbra.evaluation.sums import merge, stack
from penumbra.inference.prediction import Prediction, entropy
from penumbra.storage import json_ready

NAMES = ("background", "lung", "opacity")


def predict(foreground):
    """A two-class prediction from a foreground probability (H, W)."""
    p = np.stack([1 - foreground, foreground]).astype(np.float32)
    return Prediction(p, p.argmax(axis=0).astype(np.uint8), {"entropy": entropy(p)})


def _certain(mask, n_classes=2):
    p = (np.arange(n_classes)[:, None, None] == mask).astype(np.float32)
    return Prediction(p, mask, {})


def _random_cases(n=12, *, n_classes=3, groups=4, spacing=None, seed=0, size=(20, 24)):
    rng = np.random.default_rng(seed)
    for i in range(n):
        truth = rng.integers(0, n_classes, size).astype(np.uint8)
        truth[rng.uniform(size=truth.shape) < 0.05] = 255
        p = rng.dirichlet(np.ones(n_classes), truth.shape).transpose(2, 0, 1).astype(np.float32)
        for index in range(n_classes):
            p[index] += truth == index
        p /= p.sum(axis=0)
        mask = p.argmax(axis=0).astype(np.uint8)
        yield Case(f"s{i}", f"g{i % groups}", truth, Prediction(p, mask, {}), spacing)


def _finite(interval):
    return all(math.isfinite(interval[key]) for key in ("mean", "low", "high"))


def test_every_metric_comes_overall_and_per_class():
    result = evaluate(_random_cases(spacing=(0.5, 0.5)), class_names=NAMES)
    assert set(result.overall) == {*METRICS, "image_aurc"}
    assert list(result.per_class) == list(NAMES)
    for metrics in (result.overall, *result.per_class.values()):
        assert {*metrics, *OVERALL_METRICS} - {"image_aurc"} == set(METRICS)
        for value in metrics.values():
            assert _finite(value)
            assert value["low"] <= value["mean"] <= value["high"]
    assert (result.n_images, result.n_groups, result.empty_policy) == (12, 4, "one")
    assert result.overall["hd95_mm"]["mean"] == pytest.approx(result.overall["hd95"]["mean"] / 2)


def test_means_are_over_images_of_the_mean_over_scored_classes():
    cases = list(_random_cases())
    result = evaluate(cases, class_names=NAMES)
    everything = evaluate(cases, class_names=NAMES, has_background=False)

    def dice(case, index):
        scored = case.truth != 255
        return f1_score(case.truth[scored] == index, case.prediction.mask[scored] == index)

    table = np.array([[dice(case, index) for index in range(3)] for case in cases])
    assert result.overall["dice"]["mean"] == pytest.approx(table[:, 1:].mean(axis=1).mean())
    assert everything.overall["dice"]["mean"] == pytest.approx(table.mean())
    for index, name in enumerate(NAMES):
        assert result.per_class[name]["dice"]["mean"] == pytest.approx(table[:, index].mean())


def test_pooled_metrics_count_all_pixels_together():
    cases = list(_random_cases())
    result = evaluate(cases, class_names=NAMES)
    scored = [case.truth != 255 for case in cases]
    truth = np.concatenate([c.truth[s] for c, s in zip(cases, scored, strict=True)])
    mask = np.concatenate([c.prediction.mask[s] for c, s in zip(cases, scored, strict=True)])
    p = np.concatenate(
        [c.prediction.probabilities[:, s] for c, s in zip(cases, scored, strict=True)], axis=1
    ).astype(float)
    per_class = f1_score(truth, mask, average=None)
    assert result.overall["dice_pooled"]["mean"] == pytest.approx(per_class[1:].mean())
    one_hot = np.arange(3)[:, None] == truth
    assert result.overall["brier"]["mean"] == pytest.approx(((p - one_hot) ** 2).mean())
    nll = -np.log(p[truth, np.arange(truth.size)]).mean()
    assert result.overall["nll"]["mean"] == pytest.approx(nll)
    whole = evaluate(
        [Case("a", "a", truth[None], Prediction(p[:, None], mask[None], {}))], class_names=NAMES
    )
    for name in ("dice_pooled", "iou_pooled", "brier", "nll", "ece"):
        assert result.overall[name]["mean"] == pytest.approx(whole.overall[name]["mean"])


def test_the_order_of_the_images_changes_nothing():
    cases = list(_random_cases())
    first = evaluate(cases, class_names=NAMES)
    second = evaluate(reversed(cases), class_names=NAMES)
    for name in METRICS:
        assert first.overall[name] == pytest.approx(second.overall[name], nan_ok=True)


def test_images_of_one_group_do_not_narrow_the_interval():
    """Each image ten times in its group holds no more than each image once."""
    cases = list(_random_cases(8, groups=8))
    copies = [case._replace(id=f"{case.id}-{k}") for case in cases for k in range(10)]
    once, often = (evaluate(c, class_names=NAMES) for c in (cases, copies))
    assert often.n_images == 80
    for name in ("dice", "iou_pooled", "ece"):
        assert often.overall[name] == pytest.approx(once.overall[name])


def test_one_group_gives_null_ends():
    document = json_ready(evaluate(_random_cases(groups=1), class_names=NAMES))
    assert document["overall"]["dice"]["low"] is None
    assert document["overall"]["dice"]["mean"] > 0
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("empty", "dice", "hd95"), [("one", 0.75, 0.0), ("skip", 0.5, 0.0), ("nan", None, None)]
)
def test_empty_images_follow_the_policy(empty, dice, hd95):
    nothing, half, full = (np.zeros((4, 4), np.uint8) for _ in range(3))
    half[:, :1], full[:, :3] = 1, 1  # Dice of these two is 2·4 / (4 + 12) = 0.5
    found = _certain(nothing)
    cases = [Case("a", "a", nothing, found), Case("b", "b", half, _certain(full))]
    result = evaluate(cases, class_names=("back", "cell"), empty=empty)
    value = json_ready(result.overall["dice"]["mean"])
    assert value == dice if dice is None else value == pytest.approx(dice)
    first = result.images[0].hd95
    assert first == hd95 if empty == "one" else math.isnan(first)
    assert json_ready(result.overall["hd95"]["mean"]) is None if hd95 is None else True


def test_distances_in_millimetres_are_over_the_images_with_a_spacing():
    known, unknown = (list(_random_cases(3, seed=s)) for s in (0, 1))
    known = [case._replace(spacing=(2.0, 2.0)) for case in known]
    unknown = [case._replace(id=f"u{case.id}") for case in unknown]
    for empty in ("one", "nan", "skip"):
        both = evaluate([*known, *unknown], class_names=NAMES, empty=empty)
        alone = evaluate(known, class_names=NAMES, empty=empty)
        assert both.overall["hd95_mm"]["mean"] == pytest.approx(alone.overall["hd95_mm"]["mean"])
    assert math.isnan(evaluate(unknown, class_names=NAMES).overall["hd95_mm"]["mean"])


def test_rows_per_image_and_class():
    cases = list(_random_cases(5))
    result = evaluate(cases, class_names=NAMES)
    frame = result.to_frame()
    assert len(frame) == 15
    assert {"id", "group", "class", "dice", "hd95_mm", "area_truth", "mean_entropy"} <= set(frame)
    lung = frame[frame["class"] == "lung"]
    assert lung["dice"].mean() == pytest.approx(result.per_class["lung"]["dice"]["mean"])
    assert lung["area_truth"].tolist() == [int((c.truth == 1).sum()) for c in cases]
    doubt = entropy(cases[0].prediction.probabilities)[cases[0].truth != 255].mean()
    assert frame["mean_entropy"][0] == pytest.approx(float(doubt), rel=1e-4)


def test_images_sort_by_any_metric():
    result = evaluate(_random_cases(), class_names=NAMES)
    values = [image.dice for image in result.sorted_by("dice")]
    assert values == sorted(values)
    curve = result.to_json()["curves"]["dice_sorted"]
    assert [row["dice"] for row in curve] == values
    assert np.mean(values) == pytest.approx(result.overall["dice"]["mean"])


def test_reliability_counts_every_scored_pixel():
    cases = list(_random_cases())
    result = evaluate(cases, class_names=NAMES)
    pixels = sum(int((case.truth != 255).sum()) for case in cases)
    assert sum(row.count for row in result.reliability) == pixels
    assert sum(row.count for row in result.class_reliability["lung"]) == pixels


def test_samples_that_cannot_be_scored_become_findings():
    good = list(_random_cases(3))
    truth, prediction = good[0].truth, good[0].prediction
    broken = prediction.probabilities.copy()
    broken[0, 0, 0] = np.nan
    bad = [
        Case("size", "x", truth[:-1], prediction),
        Case("class", "x", np.full_like(truth, 7), prediction),
        Case("found", "x", truth, Prediction(prediction.probabilities, np.full_like(truth, 3), {})),
        Case("ignored", "x", np.full_like(truth, 255), prediction),
        Case("nan", "x", truth, Prediction(broken, prediction.mask, {})),
    ]
    unread = Finding("unreadable", "error", ("file",), "It is no image.")
    result = evaluate([bad[0], unread, *good, *bad[1:]], class_names=NAMES)
    assert [f.kind for f in result.findings] == [
        "size-mismatch",
        "unreadable",
        "unknown-class",
        "unknown-class",
        "nothing-to-score",
        "not-finite",
    ]
    assert result.n_images == 3
    alone = evaluate(good, class_names=NAMES)
    assert json_ready(result.overall) == json_ready(alone.overall)


def test_nothing_to_score_is_an_error_that_says_why():
    finding = Finding("unreadable", "error", ("a",), "a.png is truncated.")
    with pytest.raises(SourceError, match=r"1 findings, the first: a\.png is truncated"):
        evaluate([finding], class_names=NAMES)


def test_a_run_for_other_classes_is_refused():
    with pytest.raises(SettingsError, match="2 classes"):
        evaluate(_random_cases(1), class_names=("back", "cell"))


@pytest.mark.parametrize(
    "wrong", [{"empty": "zero"}, {"tolerance": -1.0}, {"n_bins": 0}, {"resamples": 0}]
)
def test_options_outside_their_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=r"^Expected .* but got .* Try .*\.$"):
        evaluate(_random_cases(1), class_names=NAMES, **wrong)


def _phantom_source():
    def read_image(path):
        if path.stem == "broken":
            raise ImageFileError("Expected broken.png to be an image, but got text. Try another.")
        kind, index = path.stem.split("_")
        return phantom_sample(kind, size=32, index=int(index)).image

    def read_mask(record, size):
        if record.id == "unlabelled":
            return None
        return phantom_sample(record.id.split("_")[0], size=32, index=0).mask

    records = tuple(
        Record(id=name, group=name, image=Path(f"{stem}.png"))
        for name, stem in (
            *((f"{kind}_0", f"{kind}_0") for kind in KINDS),
            ("broken", "broken"),
            ("unlabelled", "card_0"),
        )
    )
    return Source("test", Path(), records, ("background", "object"), read_image, read_mask)


def test_a_source_is_predicted_one_image_at_a_time():
    seen = []

    def predictor(images):
        seen.append(len(images))
        return [predict(np.full(image.shape[:2], 0.25)) for image in images]

    source = _phantom_source()
    result = evaluate(predicted_cases(source, predictor), class_names=source.class_names)
    assert result.n_images == 3
    assert seen == [1, 1, 1]
    assert [(f.kind, f.samples) for f in result.findings] == [
        ("unreadable", ("broken",)),
        ("missing-mask", ("unlabelled",)),
    ]


def test_the_true_probability_is_calibrated_and_a_bolder_one_is_not():
    """On phantoms the truth is known: whoever predicts it must come out calibrated."""
    samples = [
        (kind, i, phantom_sample(kind, size=64, index=i, n_readers=0))
        for kind in KINDS
        for i in range(40)
    ]

    def result(sharpen):
        def bolder(p):
            odds = (p / np.maximum(1 - p, 1e-9)) ** sharpen
            return odds / (1 + odds)

        return evaluate(
            (Case(f"{k}{i}", s.group, s.mask, predict(bolder(s.truth))) for k, i, s in samples),
            class_names=("background", "object"),
            resamples=200,
        )

    honest, bold = result(1.0), result(4.0)
    assert honest.overall["ece"]["mean"] < 0.006
    assert bold.overall["ece"]["mean"] > 2 * honest.overall["ece"]["mean"]
    assert bold.overall["nll"]["mean"] > honest.overall["nll"]["mean"]
    assert bold.overall["dice"]["mean"] == pytest.approx(honest.overall["dice"]["mean"], abs=0.01)


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_sums_of_parts_are_the_sums_of_the_whole(seed, cut):
    settings = ScoreSettings(("a", "b", "c"), (1, 2), "skip", 2.0, 15)
    images = [
        sums_of_image(score_image(case, settings=settings))
        for case in _random_cases(6, seed=seed, size=(7, 8))
    ]
    whole = reduce(merge, images)
    parts = merge(reduce(merge, images[cut:]), reduce(merge, images[:cut]))
    once = np.ones((1, 1))
    np.testing.assert_allclose(
        statistic(stack([parts]), once, settings), statistic(stack([whole]), once, settings)
    )
