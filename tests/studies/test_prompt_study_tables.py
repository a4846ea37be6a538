"""Tables of the study of prompts against plain arithmetic, and the file that asks for it."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.evaluation.prompted_scores import PROMPTED_METRICS
from penumbra.studies.prompts.experiment import PromptStudyExperiment
from penumbra.studies.prompts.markdown import markdown, written
from penumbra.studies.prompts.report import page_table
from penumbra.studies.prompts.tables import RowScores, difference, intervals
from penumbra.studies.prompts.wording import Table, filters_that_help, sentence, tables_of


def row(by_seed, groups):
    """A row whose every metric of image i is `by_seed[seed][i]`."""
    names = [f"i{number}" for number in range(len(groups))]
    values = {
        seed: {
            n: dict.fromkeys(PROMPTED_METRICS, float(v)) for n, v in zip(names, found, strict=True)
        }
        for seed, found in by_seed.items()
    }
    return RowScores(tuple(by_seed), dict(zip(names, groups, strict=True)), values, (), 1.0)


def test_seeds_are_averaged_before_groups_are_drawn():
    found = intervals(row({0: [0.2, 0.4], 1: [0.6, 0.8]}, "ab"), resamples=200, seed=0)["dice"]
    assert found["mean"] == pytest.approx(0.5)
    assert found["by_seed"] == pytest.approx([0.3, 0.7])
    # Two groups with means 0.4 and 0.6: a resample lies between.
    assert found["low"] == pytest.approx(0.4)
    assert found["high"] == pytest.approx(0.6)


@given(st.floats(-0.3, 0.3), st.integers(0, 5))
def test_a_constant_difference_has_no_width(shift, seed):
    values = np.random.default_rng(seed).uniform(0.3, 0.6, size=6)
    one, other = row({0: values + shift}, "aabbcc"), row({0: values}, "aabbcc")
    found = difference(one, other, whole=False, resamples=50, seed=0)["dice"]
    assert found["mean"] == pytest.approx(shift, abs=1e-9)
    assert found["high"] - found["low"] == pytest.approx(0, abs=1e-9)


def test_differences_are_over_shared_seeds_and_images():
    one = row({0: [0.5, 0.5], 1: [0.9, 0.9]}, "ab")
    other = row({1: [0.4, 0.6, 0.1]}, "abc")
    found = difference(one, other, whole=False, resamples=50, seed=0)["dice"]
    assert found["mean"] == pytest.approx((0.9 - 0.4 + 0.9 - 0.6) / 2)
    # What is not tuned stands for every seed.
    assert difference(one, other, whole=True, resamples=50, seed=0)["dice"]["mean"] == (
        pytest.approx((0.7 - 0.4 + 0.7 - 0.6) / 2)
    )
    assert difference(one, row({2: [0.1, 0.1]}, "ab"), whole=False, resamples=9, seed=0) == {}


def test_one_group_has_no_interval():
    found = intervals(row({0: [0.2, 0.4]}, "aa"), resamples=20, seed=0)["dice"]
    assert found["mean"] == pytest.approx(0.3)
    assert math.isnan(found["low"])


def figure(mean, low, high):
    return {"dice": {"mean": mean, "low": low, "high": high}}


def results(gain, groups=5):
    rows = [
        {"method": "zero-shot", "filter": "none", "kind": "box", "seeds": [0],
         "metrics": figure(0.5, 0.4, 0.6), "against": {}},
        {"method": "lora", "filter": "none", "kind": "box", "seeds": [0],
         "metrics": figure(0.7, 0.6, 0.8), "against": {"tuning": figure(*gain)}},
        {"method": "zero-shot", "filter": "clahe", "kind": "box", "seeds": [0],
         "metrics": figure(0.45, 0.4, 0.5), "against": {"filter": figure(-0.05, -0.07, -0.01)}},
    ]  # fmt: skip
    return {
        "rows": rows, "kinds": ["box"], "filters": {"none": "none", "clahe": "clahe"},
        "base_filter": "none", "base_tuning": "zero-shot", "rules": {}, "cells": 3, "done": 3,
        "groups": groups, "images": 9, "resamples": 100,
        "tunings": {"zero-shot": "none", "lora": "lora"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "words"),
    [((0.2, 0.1, 0.3), "adds 0.200 (0.100 to 0.300)"),
     ((-0.2, -0.3, -0.1), "costs 0.200 (−0.300 to −0.100)"),
     ((0.01, -0.1, 0.1), "makes no difference that these groups could show"),
     ((0.2, math.nan, math.nan), "changes it by +0.200")],
)  # fmt: skip
def test_the_sentence_says_no_more_than_the_interval(gain, words):
    assert words in sentence(results(gain))
    assert "Dice of 0.500" in sentence(results(gain))


def test_filters_are_counted_by_their_intervals():
    assert "0 came out better, 1 worse" in filters_that_help(results((0.2, 0.1, 0.3)))


@pytest.mark.parametrize("gain", [(0.2, 0.1, 0.3), (-0.2, -0.3, -0.1)])
def test_few_groups_give_no_mark_and_no_verdict(gain):
    few, enough = results(gain, groups=4), results(gain)
    assert "over too few groups for a verdict" in sentence(few)
    assert filters_that_help(few) == ""
    assert "Intervals over 4 groups say little" in markdown(few)
    table = next(t for t in tables_of(few, "box") if t.title.startswith("What tuning buys"))
    assert "**" not in written(table)
    assert "•" not in str(page_table(table))
    again = next(t for t in tables_of(enough, "box") if t.title.startswith("What tuning buys"))
    assert "**" in written(again)
    assert "•" in str(page_table(again))
    assert "say little" not in markdown(enough)


def test_rules_stand_in_a_column_of_their_own():
    found = results((0.2, 0.1, 0.3)) | {"rules": {"rule-filled": "filled box"}}
    found["rows"] = [
        *found["rows"],
        {"method": "rule-filled", "filter": None, "kind": "box", "seeds": [0],
         "metrics": figure(0.3, 0.2, 0.4), "against": {}},
    ]  # fmt: skip
    table = tables_of(found, "box")[0]
    assert table.columns == ("filter", "zero-shot", "lora", "no network")
    cells = dict(table.rows)
    assert cells["*filled box*"] == (None, None, {"mean": 0.3, "low": 0.2, "high": 0.4})
    assert cells["none"][2] is None


def test_tables_leave_out_what_has_no_figure():
    titles = [table.title for table in tables_of(results((0.2, 0.1, 0.3)), "box")]
    assert [title.split(",")[0].split(":")[0] for title in titles] == [
        "Dice", "What a filter changes", "What tuning buys"
    ]  # fmt: skip
    assert tables_of(results((0.2, 0.1, 0.3)), "point3") == []


def test_differences_are_bold_where_zero_is_left_out():
    cells = ({"mean": 0.1, "low": 0.05, "high": 0.2}, {"mean": 0.1, "low": -0.05, "high": 0.2},
             {"mean": 0.1, "low": math.nan, "high": math.nan}, None)  # fmt: skip
    line = written(Table("", ("a", "b", "c", "d", "e"), (("x", cells),), differences=True))
    assert line.splitlines()[-1] == (
        "| x | **+0.100** (0.050 to 0.200) | +0.100 (−0.050 to 0.200) | +0.100 | – |"
    )


def test_defaults_ask_the_whole_question():
    study = PromptStudyExperiment.parse({"source": "folder:x"})
    modes = {choice.mode for choice in study.tunings.values()}
    assert modes == {"none", "decoder", "lora"}
    names = {name for chain in study.filters.values() for name in chain.names}
    assert names == {"window", "clahe", "unsharp", "sobel", "canny", "log"}
    used = {step.mode for chain in study.filters.values() for step in chain.steps}
    assert used == {"replace", "blend", "channels", "prompt"}
    assert len(study.seeds) >= 3


def test_tunings_differ_by_what_the_file_says():
    study = PromptStudyExperiment.parse({
        "source": "folder:x", "least_area": 40, "model": "sam:mine",
        "tuning": {"training": {"epochs": 3}},
        "tunings": {"a": {"mode": "lora", "set": ["tune.lora.rank=2", "training.epochs=5"]}},
    })  # fmt: skip
    found = study.experiment_of("a", "sobel-mask", 7)
    assert (found.tune.mode, found.tune.lora.rank, found.training.epochs) == ("lora", 2, 5)
    assert (found.tune.least_area, found.model.name, found.training.seed) == (40, "mine", 7)
    assert not found.image.filters
    assert study.experiment_of("a", "clahe", 7).image.filters.names == ("clahe",)
    assert study.base_tuning is None


def test_the_benchmark_asks_with_every_filter_and_three_seeds():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "study_prompts.yaml"
    study = PromptStudyExperiment.read(path)
    names = {name for chain in study.filters.values() for name in chain.names}
    assert names == {"window", "clahe", "unsharp", "sobel", "canny", "log"}
    assert not study.filters[study.base_filter]
    assert all(len(study.seeds_of(name)) >= 3 for name in ("decoder", "lora"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filter": {}}, "filters"),
        ({"kinds": ["circle"]}, "kind"),
        ({"kinds": []}, "kinds"),
        ({"filters": {"a/b": []}}, "letters"),
        ({"filters": {"a": ["sobbel"]}}, "sobel"),
        ({"tunings": {"x": {"mode": "decoder", "filters": ["nope"]}}}, "nope"),
        ({"tunings": {"x": {"mode": "decoder", "set": ["training.epoch=1"]}}}, "epochs"),
        ({"tuning": {"training": {"epochs": -1}}}, "epochs"),
        ({"groups": {"test": 0}}, "group"),
        ({"seeds": []}, "seeds"),
        ({"longest": 8}, "longest"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_do(change, words):
    with pytest.raises(SettingsError, match=rf"(?s)^Expected .*{words}.*\.$"):
        PromptStudyExperiment.parse({"source": "folder:x"} | change)
