"""Held-out tiles are those of the predictor, spread evenly over groups and images."""

import numpy as np
import pytest
import torch

from penumbra.calibration.frozen import Frozen
from penumbra.calibration.held_out import collect
from penumbra.errors import RunError, SettingsError, SourceError
from penumbra.inference.jobs import prepare
from penumbra.inference.preprocess import Preprocess
from penumbra.models.unet.unet import UNet
from penumbra.models.weights import check_weights

CROP = Preprocess(size=32, fit="crop", channels=1)


def test_a_tile_is_what_the_predictor_would_cut(blob, make_source):
    image, mask = blob(1, size=80)
    (tile, *_) = collect(make_source([(image, mask)], ["a"]), CROP, seed=4).tiles
    job = prepare(image, CROP, overlap=0.25, seed=4)
    top, left = (int(v) for v in tile.origin)
    assert torch.equal(
        tile.x[0], torch.from_numpy(job.pixels[:, top : top + 32, left : left + 32].copy())
    )
    assert np.array_equal(tile.truth[0], mask[top : top + 32, left : left + 32])
    assert tile.key == job.key


def test_padding_is_not_scored(blob, make_source):
    image, mask = blob(1, size=64)
    wide = make_source([(image[:32], mask[:32])], ["a"])
    (tile,) = collect(wide, Preprocess(size=32, fit="resize", channels=1)).tiles
    assert tile.x.shape == (1, 1, 32, 32)
    assert (tile.truth[0, 16:] == 255).all()
    assert tile.scored == 16 * 32


def test_tiles_are_spread_evenly_over_groups_and_images(blob, make_source):
    pairs = [blob(n, size=96) for n in range(12)]
    groups = ["big"] * 9 + ["one", "two", "two"]
    many = collect(make_source(pairs, groups), CROP, most_tiles=6)
    counts = {g: len(many.of_groups([g])) for g in many.groups}
    assert counts == {"big": 3, "one": 1, "two": 2}
    assert many.n_images == 6
    few = collect(make_source(pairs[:3], ["a", "b", "b"]), CROP, most_tiles=9)
    assert sorted(np.bincount([tile.image for tile in few.tiles])) == [3, 3, 3]


def test_the_seed_decides_the_tiles(blob, make_source):
    pairs = [blob(n, size=96) for n in range(3)]
    sets = [
        [tuple(t.origin.tolist()) for t in collect(make_source(pairs, "abc"), CROP, seed=s,
                                                   most_tiles=4).tiles]
        for s in (1, 1, 2)
    ]  # fmt: skip
    assert sets[0] == sets[1] != sets[2]


def test_what_nobody_labelled_is_left_out(blob, make_source):
    image, mask = blob(1)
    nothing = np.full_like(mask, 255)
    found = collect(make_source([(image, nothing), (image, mask)], ["a", "b"]), CROP)
    assert found.groups == ("b",)
    with pytest.raises(SourceError, match="images with masks"):
        collect(make_source([(image, nothing)], ["a"]), CROP)


def test_large_tiles_are_drawn_more_sparingly(make_source):
    pairs = [(np.zeros((512, 512, 1), np.uint8), np.zeros((512, 512), np.uint8))] * 40
    large = Preprocess(size=512, fit="crop", channels=1)
    assert len(collect(make_source(pairs, [str(n) for n in range(40)]), large).tiles) == 16


def test_weights_that_are_not_finite_are_named(network, source):
    broken = UNet(1, 1, width=4, depth=2)
    broken.load_state_dict(network.state_dict())
    with torch.no_grad():
        broken.up[0].up.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(RunError, match=r"up\.0\.up\.weight.*1 of"):
        check_weights(broken)
    with pytest.raises(RunError, match="finite"):
        Frozen(broken, collect(source, CROP))


@pytest.mark.parametrize("sites", ["skip9", "inc.nowhere", "skip1,,skip2", "skip1,skip1", ""])
def test_a_site_that_does_not_exist_is_an_error_with_a_remedy(frozen, sites):
    with pytest.raises(SettingsError, match="Try "):
        frozen.at(frozen.site_names(sites))


CLOSE = {"atol": 1e-4, "rtol": 1e-3}


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_deviations_are_measured_on_the_features_themselves(source, norm):
    torch.manual_seed(1)
    net = UNet(1, 1, width=4, depth=2, norm=norm).eval()
    own = Frozen(net, collect(source, CROP, most_tiles=8), device="cpu")
    reached = own.at(("skip1", "bottleneck"))
    # Where noisy passes run in bfloat16, each feature is rounded to 8 bits.
    near = {"atol": 5e-3, "rtol": 2e-2} if own.noisy.precision == "bf16" else CLOSE
    with torch.no_grad():
        features = [net.encode(tile.x) for tile in own.held_out.tiles]
    for name, level in (("skip1", 0), ("bottleneck", -1)):
        flat = torch.cat([f[level][0].flatten(1) for f in features], dim=1)
        found = reached.statistics[name]
        torch.testing.assert_close(found.mean, flat.mean(1), **near)
        std = flat.std(1, correction=0).clamp_min(1e-6)
        torch.testing.assert_close(found.std, std, **near)


def test_sites_of_the_encoder_reach_its_next_level(frozen):
    assert frozen.site_names("encoder") == ("inc", "down.0", "down.1")
    reached = frozen.at(("inc",))
    changed, _ = reached.run([0], lambda h, name, stride: h + 1)
    plain, _ = reached.run([0])
    near = 0.05 if frozen.noisy.precision == "bf16" else 1e-4
    torch.testing.assert_close(plain, frozen.plain[0].logits, atol=near, rtol=near)
    assert (changed - plain).abs().max() > 1e-3
