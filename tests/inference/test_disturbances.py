"""Dropout and its like in networks of any make, trained dropouts among tokens included."""

import numpy as np
import pytest
import torch
from torch import nn

from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess

NAMES = ("background", "thing")
KINDS = ["dropout:3", "dropblock:3", "multiplicative:3", "masksembles:3"]


def chain():
    """A network that knows nothing of this library."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 1, 1),
    )


class Tokens(nn.Module):
    """Dropouts among tokens (N, L, C), among vectors (N, C) and in windows (2N, L, C)."""

    def __init__(self, where):
        super().__init__()
        self.embed = nn.Conv2d(1, 6, 4, stride=4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Conv2d(6, 1, 1)
        self.where = where

    def forward(self, x):
        h = self.embed(x)
        n, c, height, width = h.shape
        tokens = h.flatten(2).transpose(1, 2)
        if self.where == "tokens":
            tokens = self.drop(tokens)
        elif self.where == "windows":
            tokens = self.drop(tokens.reshape(2 * n, -1, c)).reshape(n, -1, c)
        else:
            tokens = tokens * self.drop(torch.ones(n, c))[:, None]
        h = tokens.transpose(1, 2).reshape(n, c, height, width)
        return nn.functional.interpolate(self.last(h), scale_factor=4)


def predicted(network, sampler, images, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.5)
    predictor = Predictor(
        network.eval(),
        preprocess=Preprocess(size=32, fit="crop", channels=1),
        class_names=NAMES,
        sampler=sampler,
        precision="fp32",
        device="cpu",
        **options,
    )
    return predictor(images, keep_samples=3)


def pictures(*sides):
    rng = np.random.default_rng(0)
    return [(rng.random((side, side, 1)) * 255).astype(np.uint8) for side in sides]


@pytest.mark.parametrize("sampler", KINDS)
def test_any_network_can_be_disturbed(sampler):
    images = pictures(32, 40)
    found = predicted(chain(), sampler, images)
    assert all(one.uncertainty["variance"].max() > 0 for one in found)
    alone = predicted(chain(), sampler, images[1:])
    assert np.array_equal(alone[0].probabilities, found[1].probabilities)


@pytest.mark.parametrize("where", ["tokens", "vectors", "windows"])
def test_trained_dropouts_among_tokens_are_kept_on(where):
    network = Tokens(where)
    (one,) = predicted(network, "dropout:3", pictures(32))
    planes = [np.asarray(one.samples[k]) for k in range(3)]
    assert not np.array_equal(planes[0], planes[1])
    assert not np.array_equal(planes[1], planes[2])
    if where == "windows":
        # The two windows of one image have draws of their own.
        flat, _ = (predicted(network, s, [np.full((32, 32, 1), 99, np.uint8)])[0] for s in
                   ("dropout:3", "deterministic"))  # fmt: skip
        halves = flat.samples[0][1, :16], flat.samples[0][1, 16:]
        assert not np.array_equal(*halves)


def test_dropout_among_tokens_keeps_the_mean():
    images = pictures(32)
    (off,) = predicted(Tokens("tokens"), "deterministic", images)
    (on,) = predicted(Tokens("tokens"), "dropout:256", images)
    logit = np.log(off.probabilities[1] / off.probabilities[0])
    inside = np.abs(logit) < 0.5
    assert inside.any()
    difference = np.abs(on.probabilities[1] - off.probabilities[1])[inside]
    assert difference.mean() < 0.05
