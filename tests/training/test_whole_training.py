"""Training on whole frames: what the settings say of sizes is what the network sees."""

import re

import cv2
import numpy as np
import pytest
import torch

from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError
from penumbra.imaging.write import write_mask
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import to_working
from penumbra.training.batches import CropKey, CropSet, batched, usable
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.plan import make_plan
from penumbra.training.run import Run
from penumbra.training.validation import validate


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Twelve frames of the nerve challenge's shape at a fifth of its size, one narrower."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for number in range(12):
        width = 100 if number == 3 else 116
        image = rng.integers(0, 90, (84, width, 1), dtype=np.uint8)
        mask = np.zeros((84, width), np.uint8)
        mask[20:60, 30 + number : 70 + number] = 1
        image[mask == 1] += 100
        (folder / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "images" / f"{number:02}.png"), image)
        write_mask(folder / "masks" / f"{number:02}.png", mask, n_classes=2)
    return folder


def whole(frames, *more):
    document = {
        "source": f"folder:{frames}",
        "image": {"fit": "whole", "multiple": 16},
        "model": {"name": "vgg16-unet", "arguments": {"width": 2, "decoder_width": 2,
                                                      "batch_norm": True}},
        "training": {"epochs": 1, "samples_per_epoch": 8, "batch_size": 4, "threads": 1,
                     "deterministic": True},
    }  # fmt: skip
    return Experiment.parse(document).with_settings(more)


@pytest.mark.parametrize(
    ("edges", "size", "said"),
    [("pad", 128, "padded.*116×84 to 128×96"), ("crop", 112, "cropped.*116×84 to 112×80")],
)
def test_the_plan_says_what_becomes_of_sizes(frames, edges, size, said):
    plan = make_plan(whole(frames, f"image.edges={edges}"))
    assert plan.preprocess.size == plan.experiment.image.size == size
    assert (plan.preprocess.fit, plan.preprocess.edges) == ("whole", edges)
    assert any(re.search(said, sentence) for sentence in plan.decisions)


@pytest.mark.parametrize(("edges", "size"), [("pad", (96, 128)), ("crop", (80, 112))])
def test_training_sees_whole_oblong_frames(frames, edges, size):
    plan = make_plan(whole(frames, f"image.edges={edges}"))
    samples, _, findings = usable(plan.train, plan.preprocess)
    assert not findings
    crops = CropSet(samples, foreground_crops=0.5)
    shapes = set()
    for index in range(len(samples)):
        image, mask = crops[CropKey(index, 7)]
        shapes.add(tuple(mask.shape))
        assert image.shape[1:] == mask.shape
        valid = mask != IGNORE
        assert int((mask == 1).sum()) == 1600
        # Bright pixels are the mask's, so image and mask were moved alike.
        assert bool((image[0][valid & (mask == 1)] > 0.3).all())
        assert bool(valid.all()) == (edges == "crop")
    assert size in shapes


def test_training_sees_scaled_frames_oblong(frames):
    plan = make_plan(whole(frames, "image.fit=scale", "image.size=64"))
    assert (plan.preprocess.fit, plan.preprocess.size) == ("scale", 64)
    samples, _, _ = usable(plan.train, plan.preprocess)
    crops = CropSet(samples, foreground_crops=0.5)
    for index in range(len(samples)):
        inside = samples[index].mask
        image, mask = crops[CropKey(index, 7)]
        assert image.shape[1:] == mask.shape == tuple(16 * -(-side // 16) for side in inside.shape)
        assert max(inside.shape) == 64
        assert np.array_equal(mask[: inside.shape[0], : inside.shape[1]], inside)
        assert int((mask == IGNORE).sum()) == mask.numel() - inside.size


def test_a_batch_of_different_frames_is_padded_to_the_largest():
    pairs = [
        (torch.rand(1, 32, 48), torch.ones(32, 48, dtype=torch.uint8)),
        (torch.rand(1, 48, 32), torch.zeros(48, 32, dtype=torch.uint8)),
    ]
    images, masks = batched(pairs)
    assert images.shape == (2, 1, 48, 48)
    assert torch.equal(images[0, :, :32], pairs[0][0])
    assert bool((images[0, 0, 32:] == pairs[0][0][0, -1]).all())
    assert int((masks == IGNORE).sum()) == 2 * 16 * 48
    assert masks.dtype == torch.uint8


@pytest.mark.parametrize("edges", ["pad", "crop"])
def test_a_run_on_whole_frames_trains_predicts_and_resumes(frames, tmp_path, edges):
    experiment = whole(frames, f"image.edges={edges}", "training.schedule=constant")
    train(experiment, tmp_path / "run")
    assert Run(tmp_path / "run").experiment().image.edges == edges
    predictor = Predictor.load(tmp_path / "run")
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (84, 116, 1), dtype=np.uint8)
    assert predictor([image])[0].mask.shape == (84, 116)
    more = Experiment.parse({"training": {"epochs": 2}})
    assert train(more, tmp_path / "run", resume=True).epochs == 2


def test_unknown_edges_are_refused():
    with pytest.raises(SettingsError, match=r"image\.edges"):
        Experiment().with_settings(["image.edges=stretch"])


@pytest.mark.parametrize("filters", ["[]", "[{sobel: {mode: replace}}, clahe]"])
@pytest.mark.parametrize("edges", ["pad", "crop"])
def test_validation_prepares_what_is_prepared_no_second_time(
    frames, tmp_path, monkeypatch, edges, filters
):
    seen = []

    def watched(predictor, samples, **options):
        seen.append((predictor.preprocess, samples[0].image))
        return validate(predictor, samples, **options)

    monkeypatch.setattr("penumbra.training.loop.validate", watched)
    train(whole(frames, f"image.edges={edges}", f"image.filters={filters}"), tmp_path / "run")
    preprocess, image = seen[0]
    again = to_working(image.pixels, preprocess)
    assert np.array_equal(again.normalised(), image.normalised())
