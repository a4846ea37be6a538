"""`evaluate` counts images by presence and draws; `calibrate --presence` chooses the rule."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.cli.session import note_threshold
from penumbra.data.layouts import open_source
from penumbra.errors import SettingsError
from penumbra.evaluation.contact_sheet import good_and_missed
from penumbra.evaluation.of_run import evaluate_run
from penumbra.imaging.contact_sheet import Frame, Section, contact_sheet
from penumbra.imaging.palette import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE
from penumbra.inference.predictor import Predictor
from penumbra.inference.presence import PRESENCE_FILE, PresenceRule


def penumbra(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def found(run, phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("presence") / "result"
    result = penumbra("evaluate", run, f"folder:{phantom}", "--out", out, "--split", "all",
                      "--contact-sheet", out / "sheet.png", "--overlays", out / "overlays",
                      "--threshold", 0.3)  # fmt: skip
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_table_counts_as_a_loop_does(found, run, phantom):
    out, said = found
    document = json.loads((out / "metrics.json").read_text())
    ((name, section),) = document["presence"].items()
    predictor, counts, dice = Predictor.load(run, threshold=0.3), np.zeros((2, 2), int), []
    for sample in open_source(f"folder:{phantom}"):
        mask = predictor([sample.image])[0].mask
        counts[int(sample.mask.any()), int(mask.any())] += 1
        both = mask.sum(dtype=int) + sample.mask.sum(dtype=int)
        dice.append(2 * (mask & sample.mask).sum() / both if both else 1.0)
    assert section["table"] == {
        "truth_present": {"predicted_present": counts[1, 1], "predicted_absent": counts[1, 0]},
        "truth_absent": {"predicted_present": counts[0, 1], "predicted_absent": counts[0, 0]},
    }
    assert counts[0].sum() > 0
    assert section["dice"]["mean"] == pytest.approx(np.mean(dice))
    assert f"without {name}" in said
    assert "Present or absent" in (out / "report.html").read_text()
    assert document["presence_rule"] is None


def test_sheet_and_overlays_are_drawn_in_the_same_colours(found, run, phantom):
    out, _ = found
    source, predictor = open_source(f"folder:{phantom}"), Predictor.load(run, threshold=0.3)
    assert len(list((out / "overlays").iterdir())) == len(source)
    for sample in list(source)[:5]:
        drawn = np.asarray(Image.open(out / "overlays" / f"{sample.id}_overlay.png"))
        mask = predictor([sample.image])[0].mask
        seen = {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}
        cells = {(1, 1): TRUE_POSITIVE, (0, 1): FALSE_NEGATIVE, (1, 0): FALSE_POSITIVE}
        for (said, there), colour in cells.items():
            region = (mask == said) & (sample.mask == there)
            assert (colour in seen) <= bool(region.any())
    sheet = np.asarray(Image.open(out / "sheet.png"))
    assert sheet.shape[1] == 4 * (260 + 12) + 12
    colours = {tuple(pixel) for pixel in sheet.reshape(-1, 3).tolist()}
    assert {TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE} <= colours


def test_good_and_missed_share_no_frame_and_groups_take_turns(run, phantom, tmp_path):
    scored = evaluate_run(run, f"folder:{phantom}", tmp_path, split="all", threshold=0.3)
    good, missed = good_and_missed(scored.evaluation, most=6)
    assert not {image.id for image in good} & {image.id for image in missed}
    assert [image.dice for image in missed] == sorted(image.dice for image in missed)
    filled = {row.id for row in scored.evaluation.per_image if row.scored and row.area_truth}
    assert {image.id for image in good} <= filled
    groups = {image.group for image in scored.evaluation.images}
    assert len({image.group for image in good}) == min(len(good), len(groups)) or len(good) < 6


def test_a_rule_is_chosen_for_a_run_without_a_head(run, phantom, tmp_path):
    result = penumbra("calibrate", run, f"folder:{phantom}", "--split", "all", "--presence",
                      "--temperature", "global", "--noise", "off", "--logit-noise", "off",
                      "--out", tmp_path, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    rule = PresenceRule.read(tmp_path)
    assert (tmp_path / PRESENCE_FILE).is_file()
    assert not (run / PRESENCE_FILE).exists()
    assert document["presence"]["threshold"] == rule.threshold
    assert rule.score == "area"
    assert rule.record["dice_after"] >= rule.record["dice_before"]
    assert rule.weights


@pytest.fixture(scope="module")
def ruled(run, tmp_path_factory):
    """A run with a presence rule that takes small parts off."""
    folder = tmp_path_factory.mktemp("ruled") / "run"
    shutil.copytree(run, folder)
    PresenceRule(smallest=0.01).write(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--threshold", 0.3], 1), ([], 0), (["--threshold", 0.3, "--uncalibrated"], 0)],
)
@pytest.mark.parametrize("verb", ["predict", "submit", "evaluate"])
def test_a_rule_under_another_threshold_is_said_once(ruled, phantom, tmp_path, verb, options, said):
    images = [path for path in sorted((phantom / "images").iterdir()) if path.suffix == ".png"][:2]
    folder = tmp_path / "two"
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder)
    given = f"folder:{phantom}" if verb == "evaluate" else folder
    out = tmp_path / ("s.csv" if verb == "submit" else "out")
    result = penumbra(verb, ruled, given, "--out", out, *options, "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    assert result.stderr.count("chosen for masks at threshold 0.5, and is applied at 0.3") == said


def test_a_rule_that_does_nothing_or_needs_no_threshold_is_not_spoken_of(ruled, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(ruled, folder)
    note_threshold(folder, 0.3, uncalibrated=False)
    assert "applied at 0.3" in capsys.readouterr().err
    PresenceRule().write(folder)
    note_threshold(folder, 0.3, uncalibrated=False)
    PresenceRule(smallest=0.01).write(folder)
    model = json.loads((folder / "model.json").read_text())
    # Three classes: the likeliest one is shown, whatever the threshold.
    (folder / "model.json").write_text(json.dumps(model | {"class_names": ["a", "b", "c"]}))
    note_threshold(folder, 0.3, uncalibrated=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bad", [{"columns": 0}, {"width": 5}, {"columns": 21}])
def test_a_sheet_has_limits(bad):
    frame = Frame(np.zeros((4, 4, 3), np.uint8), "x")
    with pytest.raises(SettingsError, match="to be"):
        contact_sheet([Section("Good", (frame,))], **bad)
    with pytest.raises(SettingsError, match="pictures"):
        contact_sheet([Section("Good", ())])


def test_pictures_of_any_shape_are_fitted_and_not_distorted():
    tall, flat = np.full((400, 10, 3), 200, np.uint8), np.full((10, 400, 3), 90, np.uint8)
    sheet = contact_sheet([Section("a", (Frame(tall, "t" * 99), Frame(flat, "")))],
                          columns=2, width=100)  # fmt: skip
    assert ((sheet == 200).all(axis=2)).sum() == 200 * 5
    assert (np.abs(sheet[..., 0].astype(int) - 90) < 2).sum() >= 100 * 2
