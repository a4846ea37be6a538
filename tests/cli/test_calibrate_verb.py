"""`penumbra calibrate` on a run of seconds."""

import json
import shutil

from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.inference.calibration import Calibration, Flag

QUICK = ["--pattern", "lattice", "--length", "16", "--gates", "scalar", "--logit-noise", "off",
         "--temperature", "global"]  # fmt: skip


def call(*arguments):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_it_says_what_was_kept_and_where_it_is(run, phantom, tmp_path):
    result = call(run, f"folder:{phantom}", "--out", tmp_path, "--split", "all", *QUICK)
    assert result.exit_code == 0, result.output
    assert "against one pass" in result.output
    assert "The default sampler is" in result.output
    assert "gate" not in result.output
    assert (tmp_path / "calibration.json").is_file()


def test_json_and_bad_options(run, phantom, tmp_path):
    result = call(run, f"folder:{phantom}", "--out", tmp_path, "--json", "--noise", "off", *QUICK)
    document = json.loads(result.stdout)
    assert document["sampler"] == "deterministic"
    assert document["mi_over_h"] is None
    for wrong in (["--length", "long"], ["--sites", "nowhere"]):
        result = call(run, f"folder:{phantom}", "--out", tmp_path, *wrong)
        assert result.exit_code == 1
        assert "Expected" in result.output


def test_predict_says_that_a_flag_is_withheld_under_another_sampler(run, phantom, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(run, own)
    flag = Flag(score="soft_dice", threshold=0.5)
    Calibration(sampler="dropout:2", flag=flag).write(own)
    image = min((phantom / "images").iterdir())

    def predict(*options):
        out = str(tmp_path / "out")
        result = CliRunner().invoke(
            app, ["predict", str(own), str(image), "--out", out, "--json", *options]
        )
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert predict()["withheld"] is None
    other = predict("--sampler", "deterministic")
    assert "dropout:2" in other["withheld"]
    assert other["predictions"][0]["flagged"] is None
