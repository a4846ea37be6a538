"""The whole slice on the real sets, in seconds each: it runs; how good it gets is benchmarks'."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app

RUNNER = CliRunner()
SETS = [
    ("dsb2018", "dsb2018", None, ("background", "nucleus")),
    ("covid-cxr", "covid_cxr", "lungs", ("background", "lung")),
    ("covid-cxr", "covid_cxr", "infection", ("background", "infection")),
    ("isbi", "isbi_em", None, ("membrane", "cell")),
]


def call(*arguments):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("layout", "folder", "target", "classes"), SETS)
def test_from_a_real_folder_to_a_report(real_data, tmp_path, layout, folder, target, classes):
    run, out = tmp_path / "run", tmp_path / "test"
    wish = ["--target", target] if target else []
    small = ["--width", "4", "--max-minutes", "0.05", "--set", "image.size=128"]
    call("train", f"{layout}:{real_data / folder}", *wish, "--out", run, *small)
    call("evaluate", run, run / "manifest.csv", "--split", "test", "--out", out)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert tuple(metrics["class_names"]) == classes
    assert metrics["n_images"] >= 4
    assert metrics["n_groups"] <= metrics["n_images"]
    assert 0 <= metrics["overall"]["dice"]["low"] <= metrics["overall"]["dice"]["high"] <= 1
    assert (out / "report.html").stat().st_size > 100_000
    assert metrics["findings"] is not None


@pytest.mark.slow
@pytest.mark.real_data
def test_many_classes_end_to_end(real_data, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    small = ["--width", "4", "--max-minutes", "0.05", "--set", "image.size=128"]
    call("train", f"camvid:{real_data / 'camvid'}", "--out", run, *small)
    call("evaluate", run, run / "manifest.csv", "--split", "test", "--out", tmp_path / "test")
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["per_class"]) == 11
    image = min((real_data / "camvid" / "test").iterdir())
    call("predict", run, image, "--out", out)
    facts = json.loads((out / f"{image.stem}.json").read_text(encoding="utf-8"))
    assert len(facts["class_names"]) == 11
    planes = sorted(out.glob(f"{image.stem}_probability_*.png"))
    assert len(planes) == 11
    total = sum(np.array(Image.open(plane), dtype=np.float64) for plane in planes) / 65535
    np.testing.assert_allclose(total, 1, atol=1e-3)
    mask = np.array(Image.open(out / f"{image.stem}_mask.png"))
    assert mask.shape == total.shape
    assert mask.max() < 11
