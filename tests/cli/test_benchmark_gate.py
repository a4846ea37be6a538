"""`penumbra benchmark --threshold` as a nightly job asks it: does the average reach it?"""

import json

import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app


def benchmark(run, *options):
    words = ["benchmark", str(run / "manifest.csv"), "--run", str(run), *map(str, options)]
    result = CliRunner().invoke(app, [*words, "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture(scope="module")
def average(run):
    return benchmark(run)[1]["runs"][0]["average_iou"]


def test_an_average_that_falls_short_fails(run, average, tmp_path):
    code, document = benchmark(run, "--threshold", min(average + 0.01, 1), "--out", tmp_path)
    assert code == 1
    assert document["average_falls_short"] == ["run"]
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert written["runs"][0]["under_threshold"]
    assert written["average_falls_short"] == ["run"]


def test_an_average_that_reaches_it_passes(run, average):
    code, document = benchmark(run, "--threshold", max(average - 0.01, 0))
    assert code == 0
    assert document["average_falls_short"] == []


def test_without_a_threshold_images_are_listed_and_nothing_fails(run):
    code, document = benchmark(run)
    assert code == 0
    assert document["threshold"] == 0.9
    assert document["average_falls_short"] == []


def test_a_run_alone_is_compared_with_nothing(run):
    words = ["benchmark", str(run / "manifest.csv"), "--run", str(run)]
    alone = CliRunner().invoke(app, words)
    assert alone.exit_code == 0, alone.output
    assert "average IoU" in alone.stdout
    assert "−" not in alone.stdout
    two = CliRunner().invoke(app, [*words, "--run", "classical:otsu"])
    assert two.exit_code == 0, two.output
    assert "Dice − run" in two.stdout
