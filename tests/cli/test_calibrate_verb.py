"""`penumbra calibrate` on a run of seconds."""

import json

from typer.testing import CliRunner

from penumbra.cli.main import app

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
