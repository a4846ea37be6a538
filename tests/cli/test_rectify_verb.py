"""`penumbra predict --rectify`, with a threshold in place of a network."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.imaging.write import read_unit_map
from penumbra.models.storage import save_model
from penumbra.models.wrap import Wrapped

QUAD = np.array([[60, 50], [250, 70], [240, 190], [50, 168]], np.float32)


def bright_card(quads, size=(240, 320)):
    """A bright card with fine grey print on black ground, so that a threshold finds it."""
    image = np.zeros((*size, 3), np.uint8)
    for quad in quads:
        card = np.full((270, 428, 3), 210, np.uint8)
        for x in range(30, 400, 14):
            cv2.line(card, (x, 30), (x + 9, 240), (170, 170, 170), 2)
        source = np.array([[0, 0], [428, 0], [428, 270], [0, 270]], np.float32) - 0.5
        matrix = cv2.getPerspectiveTransform(source, np.asarray(quad, np.float32) - 0.5)
        cv2.warpPerspective(card, matrix, size[::-1], dst=image, borderMode=cv2.BORDER_TRANSPARENT)
    return image


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(bright_card([QUAD])).save(folder / "card.png")
    two = [QUAD * 0.55, QUAD * 0.5 + [170, 120]]
    Image.fromarray(bright_card(two)).save(folder / "two.png")
    ground = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(ground).save(folder / "none.png")
    return folder


def predict(*arguments, code=0):
    words = ["predict", "classical:otsu,foreground=bright", *map(str, arguments), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_crop_its_uncertainty_corners_and_quality_are_written(photos, tmp_path):
    out = tmp_path / "out"
    predict(photos / "card.png", "--rectify", "--size", "428x270", "--out", out)
    (card,) = json.loads((out / "card.json").read_text())["cards"]
    assert not card["refused"]
    assert np.asarray(Image.open(out / card["files"]["card"])).shape == (270, 428, 3)
    doubt = read_unit_map(out / card["files"]["uncertainty"], scale=math.log(2))
    assert doubt.shape == (270, 428)
    np.testing.assert_allclose(list(card["corners"].values()), QUAD, atol=1.5)
    assert 0.5 <= card["quality"]["score"] <= 1
    assert card["rotation"] == {"known": False, "candidates": [0, 180]}


def test_a_refused_crop_is_a_finding_and_the_others_complete(photos, tmp_path):
    out = tmp_path / "out"
    document = predict(photos / "none.png", photos / "card.png", "--rectify", "--out", out, code=1)
    assert len(document["predictions"]) == 2
    (finding,) = document["findings"]
    assert finding["kind"] == "refused-crop"
    assert finding["image"].endswith("none.png")
    assert (out / "card_card.png").is_file()
    assert (out / "none_mask.png").is_file()
    assert not (out / "none_card.png").exists()
    assert json.loads((out / "none.json").read_text())["cards"][0]["reasons"]


def test_all_cards_get_files_of_their_own(photos, tmp_path):
    out = tmp_path / "out"
    predict(photos / "two.png", "--rectify", "--all-cards", "--out", out)
    assert (out / "two_card.png").is_file()
    assert (out / "two_card-2_uncertainty.png").is_file()
    # The crop of one card alone must leave no other's file behind, and says that there are more.
    words = ["predict", "classical:otsu,foreground=bright", str(photos / "two.png")]
    result = CliRunner().invoke(app, [*words, "--rectify", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 more" in result.output
    assert json.loads((out / "two.json").read_text())["cards"][0]["further_cards"] == 1
    assert not (out / "two_card-2.png").exists()


def test_a_limit_of_one_refuses_and_removes_an_earlier_crop(photos, tmp_path):
    out = tmp_path / "out"
    predict(photos / "card.png", "--rectify", "--out", out)
    image = cv2.GaussianBlur(bright_card([QUAD]), (0, 0), 2.5)
    Image.fromarray(image).save(photos / "card.png")
    predict(photos / "card.png", "--rectify", "--quality", "1", "--out", out, code=1)
    assert not (out / "card_card.png").exists()


@pytest.fixture
def upper_half(tmp_path):
    """A run whose network finds what is more red than blue."""
    keywords = {"in_channels": 3, "out_channels": 1, "kernel_size": 1}
    network = Wrapped(3, 1, target="torch.nn.Conv2d", keywords=keywords, multiple=1)
    with torch.no_grad():
        network.module.weight.copy_(torch.tensor([60.0, 0.0, -60.0]).view(1, 3, 1, 1))
        network.module.bias.zero_()
    preprocess = {"size": 64, "fit": "crop", "channels": 3}
    names = ["lower", "upper"]
    save_model(tmp_path / "upper", network,
               details={"preprocess": preprocess, "class_names": names})  # fmt: skip
    return tmp_path / "upper"


@pytest.mark.parametrize("turns", [0, 2])
def test_a_run_turns_crops_upright(photos, tmp_path, upper_half, turns):
    image = bright_card([QUAD]).astype(float)
    middle = np.linspace(QUAD[[0, 3], 1].mean(), QUAD[[1, 2], 1].mean(), 320)
    above = np.arange(240)[:, None] < middle
    # Red above, blue below, and as bright as before.
    image += np.where(above[..., None], (25, 0, -25), (-25, 0, 25)) * (image > 0)
    image = np.rot90(np.clip(image, 0, 255).astype(np.uint8), turns)
    Image.fromarray(np.ascontiguousarray(image)).save(photos / "card.png")
    out = tmp_path / "out"
    predict(photos / "card.png", "--rectify", "--size", "428x270", "--orient", upper_half,
            "--out", out)  # fmt: skip
    (card,) = json.loads((out / "card.json").read_text())["cards"]
    assert card["rotation"]["known"]
    assert card["rotation"]["turned_by"] == 90 * turns
    assert card["rotation"]["candidates"] == [0]
    crop = np.asarray(Image.open(out / card["files"]["card"])).astype(float)
    assert (crop[:110, :, 0] - crop[:110, :, 2]).mean() > 30
    assert (crop[160:, :, 2] - crop[160:, :, 0]).mean() > 30
    # The corners are those of the card as it reads.
    read = QUAD if turns == 0 else np.array([320, 240]) - QUAD
    np.testing.assert_allclose(list(card["corners"].values()), read, atol=2)


def test_a_run_that_cannot_tell_leaves_the_crop_and_says_so(photos, tmp_path, upper_half):
    out = tmp_path / "out"
    predict(photos / "card.png", "--rectify", "--orient", upper_half, "--out", out)
    (card,) = json.loads((out / "card.json").read_text())["cards"]
    assert card["rotation"]["known"] is False
    assert card["rotation"]["candidates"] == [0, 180]
    assert set(card["rotation"]["margins"]) == {"0", "180"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--orient", "runs/upper"], "--orient"),
        (["--rectify", "--orient", "runs/nowhere"], "nowhere"),
        (["--size", "856x540"], "--size"),
        (["--all-cards"], "--all-cards"),
        (["--rectify", "--size", "856"], "WIDTHxHEIGHT"),
        (["--rectify", "--size", "0x540"], "WIDTHxHEIGHT"),
        (["--rectify", "--quality", "2"], "--quality"),
    ],
)
def test_options_that_do_not_fit_are_refused(photos, tmp_path, options, said):
    document = predict(photos / "card.png", *options, "--out", tmp_path / "out", code=1)
    assert said in document["error"]["message"]


def test_an_image_named_as_anothers_crop_is_refused(photos, tmp_path):
    Image.fromarray(bright_card([QUAD])).save(photos / "two_card.png")
    document = predict(photos, "--rectify", "--out", tmp_path / "out", code=1)
    assert "no result lies over another" in document["error"]["message"]


def test_a_side_outside_is_told_with_the_option_that_crops_it_alone(photos, tmp_path):
    cut = np.array([[-60, 40], [250, 50], [245, 215], [-62, 210]], np.float32)
    Image.fromarray(bright_card([cut])).save(photos / "cut.png")
    name, out = photos / "cut.png", tmp_path / "out"
    (finding,) = predict(name, "--rectify", "--out", out, code=1)["findings"]
    assert "left side is outside the frame" in finding["message"]
    assert finding["message"].endswith("--assume-sides crops it, that side placed by the ratio.")
    predict(name, "--rectify", "--assume-sides", "--out", out)
    (finding,) = predict(name, "--rectify", "--quality", "1", "--out", out, code=1)["findings"]
    predict(name, "--rectify", "--quality", "1", "--assume-sides", "--out", out, code=1)
    assert "--assume-sides" not in finding["message"]


def test_the_last_line_counts_the_crops(photos, tmp_path):
    words = ["predict", "classical:otsu,foreground=bright", str(photos), "--rectify", "--all-cards"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1, result.output
    crops = len(list((tmp_path / "out").glob("*_card*.png"))) // 2
    assert crops == 3
    assert "3 images of 3 segmented" not in result.output
    assert "3 of 3 images segmented into" in result.output
    assert "3 crops of cards in 2 of them." in result.output
