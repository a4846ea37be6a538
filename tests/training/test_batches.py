"""Which crops a training sees: balanced, around foreground, padded by ignore, by key alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from penumbra.data.sample import IGNORE, Record
from penumbra.data.source import Source
from penumbra.inference.preprocess import Preprocess
from penumbra.training.batches import CropKey, CropSet, EpochSampler, WorkingSet
from penumbra.training.experiment import TrainingSettings
from penumbra.training.module import make_optimizer


def sampler(foreground, *, balanced=True, n_samples=120, batch_size=4, seed=0):
    return EpochSampler(
        foreground, seed=seed, n_samples=n_samples, batch_size=batch_size, balanced=balanced
    )


def drawn(chosen):
    return [key.index for batch in chosen for key in batch]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 60), st.integers(1, 9))
def test_batches_are_full_and_cover_the_samples_evenly(foreground, n_samples, batch_size):
    plain = sampler(foreground, balanced=False, n_samples=n_samples, batch_size=batch_size)
    batches = list(plain)
    assert len(batches) == len(plain) == -(-n_samples // batch_size)
    assert {len(batch) for batch in batches} == {batch_size}
    counts = np.bincount(drawn(batches), minlength=len(foreground))
    assert counts.max() - counts.min() <= 1


def test_balanced_draws_empty_and_filled_samples_equally_often():
    foreground = [True] * 3 + [False] * 27
    filled = sum(foreground[index] for index in drawn(sampler(foreground)))
    assert filled == 60
    filled = sum(foreground[index] for index in drawn(sampler(foreground, balanced=False)))
    assert filled == 12


def test_epochs_are_a_function_of_seed_and_number():
    one, two, other = (sampler([True] * 9, seed=seed) for seed in (1, 1, 2))
    first = list(one)
    assert list(two) == first
    assert list(other) != first
    one.set_epoch(1)
    assert list(one) != first
    one.set_epoch(0)
    assert list(one) == first


def make_crops(mask, *, size, foreground_crops, fit="crop"):
    image = np.arange(mask.size, dtype=np.uint16).reshape(*mask.shape, 1)
    source = Source(
        layout="folder",
        root=Path(),
        records=(Record("a", "a", Path("a.png"), (Path("m.png"),)),),
        class_names=("background", "thing"),
        read_image=lambda _path: image,
        read_mask=lambda _record, _size: mask,
    )
    samples = WorkingSet(source, Preprocess(size=size, fit=fit))
    return CropSet(samples, foreground_crops=foreground_crops)


def test_crops_are_centred_on_foreground_as_often_as_asked():
    mask = np.zeros((200, 200), np.uint8)
    mask[20:24, 170:174] = 1
    always, never = (make_crops(mask, size=32, foreground_crops=share) for share in (1.0, 0.0))
    hits = [
        sum(bool((c[CropKey(0, k)][1] == 1).any()) for k in range(100)) for c in (always, never)
    ]
    assert hits[0] == 100
    assert hits[1] < 20


def test_a_crop_is_a_window_of_image_and_mask_alike():
    mask = (np.random.default_rng(0).random((70, 90)) > 0.5).astype(np.uint8)
    crops = make_crops(mask, size=32, foreground_crops=0.5)
    working = crops.samples[0].image
    for draw in range(20):
        image, cut = crops[CropKey(0, draw)]
        assert image.shape == (1, 32, 32)
        # Every pixel's value is its place, so the window can be read off the crop.
        place = round(float(image[0, 0, 0]) * working.std + working.mean)
        top, left = divmod(place, 90)
        assert np.array_equal(cut.numpy(), mask[top : top + 32, left : left + 32])
        again = crops[CropKey(0, draw)]
        assert torch.equal(again[0], image)


@pytest.mark.parametrize(("fit", "inside"), [("crop", (20, 50)), ("resize", (26, 64))])
def test_what_lies_beyond_a_small_image_is_ignored(fit, inside):
    mask = np.ones((20, 50), np.uint8)
    image, cut = make_crops(mask, size=64, foreground_crops=0.0, fit=fit)[CropKey(0, 0)]
    assert image.shape == (1, 64, 64)
    height, width = inside
    assert (cut[:height, :width] == 1).all()
    assert int((cut == IGNORE).sum()) == 64 * 64 - height * width
    assert (image[0][cut == IGNORE] == 0).all()


@pytest.mark.parametrize(
    ("name", "cls"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimisers_by_name_decay_weights_but_not_norms_and_gates(name, cls):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    settings = TrainingSettings(optimizer=name, learning_rate=0.5, weight_decay=0.1)
    optimizer = make_optimizer(name, list(network.parameters()), settings)
    assert type(optimizer) is cls
    decayed, spared = optimizer.param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert all(p.ndim == 1 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}
