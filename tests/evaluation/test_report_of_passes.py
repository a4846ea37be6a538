"""What a report shows of several passes, of intervals and of a calibration."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.evaluation.report import (
    ErrorsByDoubt,
    ReportData,
    ReportPicture,
    areas,
    charts,
    flags,
    pictures,
    risk,
    tables,
    write_report,
)
from penumbra.evaluation.report.calibrated import calibrated, effect
from penumbra.evaluation.report.data import AreaRow
from penumbra.evaluation.report.outlines import MOST, draw_outlines, sample_masks
from penumbra.evaluation.report.scores import ImageScore, scored_rows
from penumbra.imaging.palette import TEAL
from penumbra.inference.calibration import (
    AreaInterval,
    Calibration,
    FeatureNoise,
    Flag,
    LinearMap,
    LogitNoise,
    NoiseSite,
    Temperature,
)
from penumbra.inference.prediction import Prediction, Samples, entropy
from penumbra.noise.patterns import Pattern

BARE = ReportData(
    title="t", run_name="r", source_name="s", split="test", n_images=0, n_groups=0, overall={}
)


def several(truth, *, passes=8, n_classes=2, spread=1.0, samples=True, flagged=None):
    """A prediction of several passes around the truth."""
    rng = np.random.default_rng(7)
    lean = np.eye(n_classes)[truth].transpose(2, 0, 1) * 3
    logits = lean + rng.normal(0, spread, (passes, *lean.shape))
    shares = np.exp(logits)
    planes = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    mean = planes.mean(axis=0)
    within = np.mean([entropy(plane) for plane in planes], axis=0)
    maps = {"entropy": entropy(mean)}
    if passes > 1:
        maps["expected_entropy"] = within.astype(np.float32)
        maps["mutual_information"] = np.maximum(maps["entropy"] - within, 0).astype(np.float32)
    mask = mean.argmax(axis=0).astype(np.uint8)
    kept = Samples(planes, truth.shape) if samples else None
    return Prediction(mean, mask, maps, passes=passes, samples=kept, flagged=flagged)


def square(n_classes=2):
    truth = np.zeros((24, 24), np.uint8)
    truth[6:18, 6:18] = 1
    if n_classes > 2:
        truth[12:18, 6:18] = 2
    return truth


def picture(role="worst", name="a", **how):
    truth = square(how.get("n_classes", 2))
    image = np.random.default_rng(0).integers(0, 255, (24, 24, 3)).astype(np.uint8)
    return ReportPicture(name, role, {"dice": 0.5}, image, truth, several(truth, **how))


def kinds(**how):
    return [panel.kind for panel in pictures.draw(picture(**how), side=48, maps=True).panels]


def test_probability_doubt_and_disagreement_stand_side_by_side():
    assert kinds() == ["image", "truth", "samples", "probability", "doubt", "disagreement"]


def test_one_pass_shows_no_disagreement_and_no_samples():
    assert kinds(passes=1) == ["image", "truth", "probability", "doubt"]


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("passes", [1, 4])
@pytest.mark.parametrize("samples", [True, False])
def test_rows_of_panels_are_always_full(n_classes, passes, samples):
    found = kinds(n_classes=n_classes, passes=passes, samples=samples)
    assert len(found) in {4, 6, 8}
    assert len(set(found)) == len(found)


def test_outlines_of_samples_that_agree_are_firm_and_single_ones_faint():
    edges = np.zeros((7, 2, 20, 20), np.float32)
    edges[:, 1, :, :8] = 1.0
    edges[0, 1, :, 8:14] = 1.0
    edges[:, 0] = 1 - edges[:, 1]
    drawn = draw_outlines(np.zeros((20, 20, 3), np.uint8), Samples(edges, (20, 20)))
    firm, faint = drawn[10, 6:10].max(axis=0), drawn[10, 12:16].max(axis=0)
    np.testing.assert_allclose(firm, np.array(TEAL) * (1 - 0.5**5), atol=2)
    np.testing.assert_allclose(faint, np.array(TEAL) * 0.5, atol=2)
    assert not drawn[10, 17:].any(), "the frame of the picture is no outline"
    assert len(list(sample_masks(Samples(edges, (20, 20)), (20, 20)))) == MOST


def test_scales_of_doubt_end_where_nearly_all_shown_pixels_do():
    sure = picture(spread=0.2)
    drawn = pictures.gallery([sure])
    values = sure.prediction.uncertainty["entropy"]
    assert drawn.ends.doubt == pytest.approx(float(np.percentile(values, 99.9)))
    assert drawn.ends.most == pytest.approx(math.log(2))
    ticks = drawn.large[0].panel("doubt").scale.ticks
    assert ticks[-1] == f"{drawn.ends.doubt:.3f} nats"


def test_passes_that_all_say_the_same_do_not_glow():
    truth = square()
    same = replace(several(truth, passes=2), uncertainty={
        "entropy": np.full(truth.shape, 1e-6, np.float32),
        "mutual_information": np.full(truth.shape, 1e-6, np.float32),
    })  # fmt: skip
    ends = pictures.Ends.of([same])
    assert ends.disagreement == pytest.approx(0.01 * math.log(2))
    assert ends.doubt == pytest.approx(0.05 * math.log(2))


def test_flags_are_shown_on_the_pictures_and_counted_among_the_worst(tmp_path):
    shown = (
        picture("worst", "a", flagged=True),
        picture("worst", "b", flagged=False),
        picture("worst", "c"),
    )
    rows = [{"id": name, "dice": k / 5} for k, name in enumerate("abcde")]
    data = replace(
        BARE, pictures=shown, per_image=rows, flags={name: name == "a" for name in "abcde"}
    )
    page = write_report(tmp_path / "report.html", data).read_text(encoding="utf-8")
    badges = re.findall(r'class="badge[^"]*">([^<]+)<', page)
    assert badges == ["flagged", "flagged", "not flagged"]
    assert "Of the image with the lowest Dice (a fifth), 1 was flagged." in page
    assert "The worst 3" in page


def test_flags_by_chance_are_a_share_of_the_worst():
    scores = [ImageScore(str(k), "g", k / 20) for k in range(20)]
    says = flags.sentence(scores, {str(k): k < 10 for k in range(20)}, "Dice")
    assert "Of the 4 images with the lowest Dice (a fifth), 4 were flagged." in says
    assert "10 were (50" in says
    assert says.endswith("find 2.0.")
    assert flags.sentence(scores, {}, "Dice") == ""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_no_order_of_images_beats_the_oracle(values):
    scores = [ImageScore(str(k), "g", dice, doubt) for k, (dice, doubt) in enumerate(values)]
    best = dict(risk.image_oracle(scores))
    for coverage, found in risk.risk_by_coverage(scores):
        assert best[coverage] <= found + 1e-12


def test_the_pixel_oracle_equals_a_loop_that_puts_errors_last():
    wrong = np.array([0] * 70 + [1] * 30)
    for coverage, found in risk.pixel_oracle(0.3, [k / 100 for k in range(1, 101)]):
        kept = wrong[: round(100 * coverage)]
        assert found == pytest.approx(kept.mean(), abs=1e-9)


def test_pixel_risk_equals_a_loop_over_sorted_pixels():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.0, 0.5, (50, 40)).astype(np.float32)
    truth = (rng.uniform(size=p.shape) < p).astype(np.uint8)
    prediction = Prediction(np.stack([1 - p, p]), np.zeros(p.shape, np.uint8), {})
    rows = ErrorsByDoubt().update(prediction, truth).risk_rows()
    order = np.argsort(entropy(prediction.probabilities).ravel(), kind="stable")
    errors = truth.ravel()[order].cumsum()
    for row in rows:
        kept = round(row["coverage"] * p.size)
        assert row["risk"] == pytest.approx(errors[kept - 1] / kept, abs=0.003)
    assert rows[-1]["risk"] == pytest.approx(truth.mean())
    assert ErrorsByDoubt().risk_rows() == []


def test_the_area_under_a_curve_is_said_as_measured_or_as_drawn():
    rows = [{"coverage": 0.5, "risk": 0.1}, {"coverage": 1.0, "risk": 0.2}]
    assert risk.pixels(rows).says.endswith("(AURC) is 0.125.")
    measured = {"mean": 0.002, "low": 0.001, "high": 0.012}
    says = risk.pixels(rows, measured).says
    assert says.endswith("2.000 (95\u202f% interval 1.000–12.000), in thousandths.")


def test_reliability_before_calibration_is_drawn_beside_and_said():
    row = {"low": 0.8, "high": 1.0, "confidence": 0.9, "accuracy": 0.88, "count": 10}
    before = {**row, "confidence": 0.98}
    chart = charts.reliability([row], [before])
    assert "differ by 0.020" in chart.says
    assert "Before calibration they differed by 0.100." in chart.says
    assert ("key-third", "before calibration") in chart.legend
    assert "Before" not in charts.reliability([row]).says


def area(name, low, estimate, high, truth, class_name="cell"):
    return AreaRow(name, class_name, low, estimate, high, truth)


def test_areas_say_how_many_intervals_hold_the_truth_and_draw_those_that_do_not():
    rows = [
        area("a", 8, 10, 12, 10), area("b", 80, 100, 120, 121), area("c", 1, 2, 3, 3),
        area("d", 0, 0, 4, None),
    ]  # fmt: skip
    (chart,) = areas.charts(rows, 0.9)
    assert "holds the true area in 2 of 3 images (67\u202f%), where it aims at 90" in chart.says
    drawing = str(chart.drawing)
    assert drawing.count('class="truth-in"') == 2
    assert drawing.count('class="truth-out"') == 1
    assert drawing.count('class="interval"') == 4
    assert re.findall(r"<title>(\w):", drawing) == ["d", "c", "a", "b"]


def test_many_areas_are_thinned_and_that_is_said():
    rows = [area(f"{k}", k, k + 1, k + 2, k + 1) for k in range(500)]
    (chart,) = areas.charts(rows, None)
    assert "500 of 500 images" in chart.says
    assert "Drawn are 120 of the 500 images" in chart.says
    assert str(chart.drawing).count('class="interval"') == areas.MOST_BARS


def test_no_areas_and_areas_without_any_truth():
    assert areas.charts([], 0.9) == []
    (chart,) = areas.charts([area("a", 0, 0, 0, None)], 0.9)
    assert chart.says == "The true areas are not known."


def make_calibration(**record):
    level = LinearMap(
        taps=("up.0",), mean=((0.0,),), std=((1.0,),), weight=(((1.0,),),), bias=(0.0,)
    )
    rows = level.model_copy(update={"weight": (((1.0,),) * 4,), "bias": (0.0,) * 4})
    site = NoiseSite(gate=0.4242, std=(1.0,))
    return Calibration(
        temperature=Temperature(kind="local", values=(1.25,), map=level),
        noise_temperature=Temperature(values=(1.1,)),
        noise=FeatureNoise(sites={
            "skip1": site,
            "bottleneck": site.model_copy(update={"pattern": Pattern(name="perlin", length=8)}),
        }),
        logit_noise=LogitNoise(map=rows, log_scale=0.0, lengths=(0.0, 0.0, 32.0, 8.0)),
        sampler="noise:8",
        area=AreaInterval(
            level=0.9, class_names=("b", "c"), quantile=(None, 1.0),
            group_quantile=(None, None), n_groups=7,
        ),
        flag=Flag(score="soft_dice", threshold=0.25),
        record=record,
    )  # fmt: skip


COMPARISONS = [
    {"what": "local temperature", "against": "global", "gain": 0.01, "low": 0.004, "high": 0.02,
     "kept": True, "unit": "nats"},
    {"what": "logit noise", "against": "feature noise", "gain": -1.5, "low": None, "high": None,
     "kept": False, "unit": "%"},
    {"what": "nothing known", "against": "something", "gain": None, "kept": False},
]  # fmt: skip


def test_calibration_says_what_was_fitted_and_what_was_kept_over_what(tmp_path):
    found = calibrated(make_calibration(comparisons=COMPARISONS, mi_over_h=0.05))
    words = dict(found.fitted)
    assert words["Temperature"].startswith("1.25, changed from place to place")
    assert words["Noise in features"] == (
        "lattice of 32 px and perlin of 8 px at skip1, bottleneck, in antithetic pairs"
    )
    assert words["Noise in logit space"] == ("2 factors for the whole image and fields of 32, 8 px")
    assert words["Area intervals"] == "90\u202f%, resting on 7 validation groups"
    assert words["Sampler"] == "noise:8"
    assert [row.kept for row in found.comparisons] == [True, False, False]
    assert found.comparisons[0].gain == "+0.0100\u202fnats"
    assert found.comparisons[0].spread == "0.0040 to 0.0200"
    assert found.comparisons[1].gain == "−1.50\u202f%"
    assert found.comparisons[2].gain == "–"
    data = replace(BARE, calibration=make_calibration(comparisons=COMPARISONS))
    page = write_report(tmp_path / "report.html", data).read_text(encoding="utf-8")
    assert "local temperature" in page
    assert "<b>kept</b>" in page


def test_calibration_says_what_was_measured_on_the_held_out_data():
    after = {"stated": [None, 0.9], "found": [None, 0.88], "share": [0.0, 1.0], "ece": 0.02}
    record = {
        "n_images": 12, "n_groups": 5, "nll_before": 0.31, "nll_after": 0.28, "joint_before": None,
        "logit_mi_over_h": 0.07, "mi_over_h": 0.001,
        "reliability_before": {**after, "stated": [None, 0.98]}, "reliability_after": after,
    }  # fmt: skip
    found = calibrated(Calibration(record=record))
    words = dict(found.fitted)
    assert words["Held-out data"] == "12 images of 5 groups"
    assert words["NLL there"] == "0.3100 before, 0.2800 after"
    assert "Joint tile NLL there" not in words
    assert [says.split(":")[0][:40] for says in found.effects] == [
        "The noise has no effect", "The samples of the noise in logit space ",
    ]  # fmt: skip
    assert "Before calibration they differed by 0.100." in found.chart.says
    damaged = Calibration(record={"reliability_before": {"stated": 3}, "reliability_after": []})
    assert calibrated(damaged).chart is None


def test_gate_values_are_never_shown(tmp_path):
    data = replace(BARE, calibration=make_calibration(comparisons=COMPARISONS))
    page = write_report(tmp_path / "report.html", data).read_text(encoding="utf-8")
    assert "0.42" not in page
    assert "gate" not in page.lower().replace("propagate", "").replace("aggregate", "")


def test_noise_without_effect_is_said_plainly():
    assert effect(0.0049).startswith("The noise has no effect: its samples disagree about 0.49")
    assert effect(0.006).startswith("The samples of the noise disagree about 0.6")
    assert effect(None) == effect(math.nan) == ""
    assert calibrated(None) is None
    bare = calibrated(Calibration(record={"comparisons": "damaged"}))
    assert bare.comparisons == ()
    assert bare.effects == ()


def test_the_sampler_and_its_cost_are_said_at_the_top(tmp_path):
    data = replace(BARE, sampler="8 passes, 1 run of the encoder & 9 of the decoder")
    page = write_report(tmp_path / "report.html", data).read_text(encoding="utf-8")
    top = page[: page.index("</section>")]
    assert "8 passes, 1 run of the encoder &amp; 9 of the decoder" in top


def test_scores_have_metrics_as_rows_unless_there_are_more_classes():
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    found = {"dice": interval, "iou": interval, "ece": interval}
    few = tables.per_class(replace(BARE, overall=found, per_class={"cell": found}))
    assert [column.name for column in few.columns] == ["Metric", "cell", "overall"]
    assert [row[0].text for row in few.rows] == ["Dice ↑", "IoU ↑", "ECE ↓"]
    many = {f"class {k}": found for k in range(4)}
    turned = tables.per_class(replace(BARE, overall=found, per_class=many))
    assert [column.name for column in turned.columns] == ["Class", "Dice ↑", "IoU ↑", "ECE ↓"]
    assert len(turned.rows) == 4
    assert turned.foot[0][0].text == "overall"


def test_measured_coverage_is_said_with_its_interval():
    rows = [area("a", 8, 10, 12, 10)]
    coverage = {"cell": {"mean": 1.0, "low": 0.8, "high": 1.0}}
    (chart,) = areas.charts(rows, 0.9, coverage)
    assert "in 1 of 1 images (100\u202f%, 95\u202f% interval 80–100\u202f%)" in chart.says


def test_the_table_of_images_shows_the_chosen_doubt_and_leaves_out_what_is_too_much():
    rows = scored_rows([
        {"id": name, "dice": 0.5, "ece": 0.1, "score_soft_dice": 0.2, "mean_entropy": 0.3,
         "flagged": name == "a"}
        for name in "ab"
    ])  # fmt: skip
    table = tables.per_image(rows, {"a": 0.25, "b": 0.75})
    assert [column.name for column in table.columns] == ["Id", "Flagged", "Dice ↑", "Doubt"]
    assert [cell.text for cell in table.rows[0]] == ["a", "yes", "0.500", "0.250"]
