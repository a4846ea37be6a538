"""Training from nothing: scenes, the bounded loop, and how a killed run goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.errors import RunError, SettingsError
from penumbra.promptable.from_scratch import HISTORY_FILE, MODEL_FOLDER, train_from_scratch
from penumbra.promptable.prompt_sampling import keyed_generator
from penumbra.promptable.scenes import PromptSet, draw_scene, objects_in, whole_scene
from penumbra.promptable.scratch_settings import ScratchSettings, learning_rate_at

pytest.importorskip("transformers")

TINY = {"widths": (8, 8, 16), "deepest": 16, "layers": 1, "heads": 2,
        "decoder_width": 16, "decoder_mlp": 32}  # fmt: skip
SETTINGS = ScratchSettings(
    minutes=1e6, clock="wall", steps=4, threads=1, architecture=TINY, validation_images=2, warm_up=0
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    make_phantom(folder, count=4, size=64, seed=0, kinds=("ultrasound",))
    source = open_source(f"folder:{folder}")
    return [PromptSet.of(source, name="phantoms", prompts=3, symmetry="dihedral")]


def _weights(folder):
    return load_file(folder / MODEL_FOLDER / "model.safetensors")


def test_objects_are_connected_areas_of_one_class():
    mask = np.array([[1, 1, 0, 2], [0, 0, 1, 2], [255, 0, 0, 0]], np.uint8)
    labels = objects_in(mask)
    assert labels.max() == 2
    assert (labels == 1).sum() == 3
    assert labels[2, 0] == -1
    assert objects_in(np.array([[0, 1]], np.uint8), first=0).tolist() == [[1, 2]]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_scenes_show_whole_objects_where_the_image_is(sets, seed):
    scene = draw_scene(sets[0], keyed_generator(seed), side=128)
    assert scene.pixels.shape == (3, 128, 128)
    assert 1 <= len(scene.masks) <= 3
    assert scene.masks.any((1, 2)).all()
    assert not (scene.masks & ~scene.valid).any()
    # One side is filled; what the image does not reach is zero.
    filled = np.abs(scene.pixels).sum(0) > 0
    assert filled[:, 0].sum() > 120 or filled[0].sum() > 120
    assert not filled[~scene.valid].any()
    again = draw_scene(sets[0], keyed_generator(seed), side=128)
    np.testing.assert_array_equal(scene.pixels, again.pixels)
    np.testing.assert_array_equal(scene.masks, again.masks)


def test_images_whose_objects_vanish_when_scaled_are_passed_over():
    image, large = np.zeros((600, 600, 3), np.uint8), np.zeros((600, 600), np.int16)
    dot = large.copy()
    dot[301, 301], large[100:400, 100:400] = 1, 1
    mixed = PromptSet("mixed", (image, image), (dot, large), "dihedral", 4)
    alone = PromptSet("alone", (image,), (dot,), "dihedral", 4)
    counts = []
    for seed in range(40):
        scene = draw_scene(mixed, keyed_generator(seed), side=64)
        assert scene.masks.any((1, 2)).all()
        counts.append(len(scene.masks))
        scene = draw_scene(alone, keyed_generator(seed), side=64)
        assert scene.masks.shape == (len(scene.masks), 64, 64)
        assert scene.masks.any((1, 2)).all()
    assert np.mean(np.array(counts) > 0) > 0.9


def test_image_and_mask_move_together():
    """An image that is its own mask stays so under every turn, crop and stretch."""
    mask = np.zeros((90, 120), np.uint8)
    mask[20:60, 30:50], mask[50:60, 30:100] = 1, 1
    image = np.repeat(mask[..., None] * 255, 3, 2)
    own = PromptSet("own", (image,), (objects_in(mask),), "dihedral", 1)
    for seed in range(20):
        scene = draw_scene(own, keyed_generator(seed), side=256)
        shown, mine = scene.pixels[0], scene.masks[0]
        # The image may be inverted; what counts is that object and ground are told apart.
        apart = np.median(shown[mine]) - np.median(shown[scene.valid & ~mine])
        edge = (shown > np.median(shown[mine]) - apart / 2) == mine
        if apart < 0:
            edge = (shown < np.median(shown[mine]) - apart / 2) == mine
        assert edge[scene.valid].mean() > 0.97


def test_a_whole_scene_is_scaled_as_the_model_scales(sets):
    from penumbra.promptable.pixels import Scaling

    wide = np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8)
    own = PromptSet("own", (wide,), (np.ones((40, 64), np.int16),), "none", 1)
    scene = whole_scene(own, 0, keyed_generator(0), side=256)
    pixels, (height, width) = Scaling(256).pixels(wide)
    assert scene.valid.sum() == height * width == 160 * 256
    assert np.abs(scene.pixels - pixels[0].numpy()).mean() < 0.05


def test_a_killed_run_goes_on_to_the_same_weights(sets, tmp_path):
    whole = train_from_scratch(sets, sets, tmp_path / "whole", SETTINGS, max_steps=4)
    train_from_scratch(sets, sets, tmp_path / "torn", SETTINGS, max_steps=2)
    torn = train_from_scratch(sets, sets, tmp_path / "torn", SETTINGS, max_steps=2)
    assert whole.steps == torn.steps == 4
    mine, other = _weights(tmp_path / "whole"), _weights(tmp_path / "torn")
    for name, value in mine.items():
        assert torch.equal(value, other[name]), name
    rows = [json.loads(x) for x in (tmp_path / "torn" / HISTORY_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[1]["wall_minutes"] > rows[0]["wall_minutes"] > 0
    assert set(rows[1]["validation"]["phantoms"]) == {"box", "point1"}


def test_threads_change_no_draw(sets, tmp_path):
    for threads in (1, 2):
        train_from_scratch(sets, sets, tmp_path / str(threads),
                           replace(SETTINGS, threads=threads), max_steps=2)  # fmt: skip
    mine, other = _weights(tmp_path / "1"), _weights(tmp_path / "2")
    for name, value in mine.items():
        assert torch.equal(value, other[name]), name


def test_the_budget_ends_the_run_and_threads_are_given_back(sets, tmp_path):
    before = torch.get_num_threads()
    done = train_from_scratch(sets, sets, tmp_path, replace(SETTINGS, minutes=0.02, steps=None))
    assert done.steps >= 1
    assert done.minutes >= 0.02
    assert torch.get_num_threads() == before
    again = train_from_scratch(sets, sets, tmp_path, replace(SETTINGS, minutes=0.02, steps=None))
    assert again.steps == done.steps


def test_the_loss_falls(sets, tmp_path):
    fast = replace(SETTINGS, steps=30, learning_rate=3e-3)
    for more in (2, 26, 2):
        train_from_scratch(sets, sets, tmp_path, fast, max_steps=more)
    first, _, last = (
        json.loads(line)["loss"] for line in (tmp_path / HISTORY_FILE).read_text().splitlines()
    )
    assert last < 0.9 * first


def test_other_settings_do_not_go_on_with_a_run(sets, tmp_path):
    train_from_scratch(sets, sets, tmp_path, SETTINGS, max_steps=1)
    with pytest.raises(RunError, match="learning_rate"):
        train_from_scratch(sets, sets, tmp_path, replace(SETTINGS, learning_rate=1.0))
    with pytest.raises(SettingsError, match="minutes"):
        replace(SETTINGS, minutes=0)


def test_the_learning_rate_never_leaves_its_bounds():
    rates = [learning_rate_at(share, ScratchSettings()) for share in np.linspace(0, 1.2, 50)]
    assert max(rates) <= 1e-3
    assert min(rates) >= 0
    assert rates[-1] == 0
