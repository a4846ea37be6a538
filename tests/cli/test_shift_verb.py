"""`penumbra evaluate --shift`: a report per cell and one table of all."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.layouts import open_source
from penumbra.evaluation.readers import readers_of, true_probability_of
from penumbra.evaluation.shift import Shift, ShiftedSource


def test_evaluate_under_shift(run, phantom, tmp_path):
    out = tmp_path / "result"
    command = ["evaluate", str(run), f"folder:{phantom}", "--out", str(out), "--split", "test",
               "--shift", "contrast:1,rotation:5"]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "rotation-5" in result.output
    cells = json.loads((out / "shift.json").read_text())["cells"]
    assert [cell["cell"] for cell in cells] == ["clean", "contrast-1", "rotation-5"]
    clean = json.loads((out / "metrics.json").read_text())
    assert cells[0]["dice"] == clean["overall"]["dice"]
    for cell in cells[1:]:
        folder = out / "shift" / cell["cell"]
        document = json.loads((folder / "metrics.json").read_text())
        assert document["shift"]["kind"] == cell["kind"]
        assert cell["nll"] == document["overall"]["nll"]
        assert document["n_images"] == clean["n_images"]
        assert (folder / "report.html").is_file()
    assert cells[2]["nll"]["mean"] != cells[0]["nll"]["mean"]
    table = pd.read_csv(out / "shift.csv")
    assert table["cell"].tolist() == ["clean", "contrast-1", "rotation-5"]
    assert table["nll"][2] == pytest.approx(cells[2]["nll"]["mean"], rel=1e-4)


def test_what_lies_beside_images_is_left_aside_where_they_are_turned(phantom):
    source = ShiftedSource.of(open_source(f"folder:{phantom}"), Shift("rotation", 1))
    record = source.records[0]
    assert readers_of(source)(record) is None
    assert true_probability_of(source)(record) is None


def test_a_bad_shift_is_one_sentence(run, phantom, tmp_path):
    out = tmp_path / "result"
    command = ["evaluate", str(run), f"folder:{phantom}", "--out", str(out), "--shift", "fog:3"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "Expected a shift to be all or one of blur" in result.output
    assert not out.exists()
