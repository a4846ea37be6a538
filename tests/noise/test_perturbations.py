import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.noise.grid import uniform_at
from penumbra.noise.masks import masksembles_masks
from penumbra.noise.perturbations import (
    DropBlock,
    Dropout,
    InjectedNoise,
    Masksembles,
    Multiplicative,
    make_perturbation,
)

DRAWN = [
    Dropout(0.3),
    Dropout(0.3, whole_maps=False),
    DropBlock(0.2, block=12.0),
    Multiplicative(0.5),
]
ALL = [*DRAWN, Masksembles(4, 2.0)]
KEYS = torch.tensor([11, 12, 13])


def call(perturbation, h, *, keys=KEYS, site="skip1", sample=0, stride=1.0, origins=None):
    return perturbation(h, site, keys=keys, sample=sample, stride=stride, origins=origins)


def ids(perturbation):
    return f"{perturbation.name}-{getattr(perturbation, 'whole_maps', '')}"


@pytest.mark.parametrize("perturbation", DRAWN, ids=ids)
def test_the_mean_stays(perturbation):
    keys = torch.arange(64)
    total = torch.zeros(6, 24, 24)
    for sample in range(24):
        total += call(perturbation, torch.ones(64, 6, 24, 24), keys=keys, sample=sample).mean(0)
    mean = total / 24
    assert abs(float(mean.mean()) - 1) < 0.02
    # Nor does any place, borders and corners included, get more or less than the others.
    assert float((mean - 1).abs().max()) < 0.15


def test_all_masks_together_are_the_undisturbed_features():
    h = torch.randn(3, 10, 4, 4)
    passes = [call(Masksembles(5, 2.5), h, sample=k) for k in range(5)]
    assert torch.allclose(torch.stack(passes).mean(0), h, atol=1e-6)
    assert torch.equal(passes[1], call(Masksembles(5, 2.5), h, sample=6))
    assert not torch.equal(passes[0], passes[1])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("whole_maps", [True, False])
def test_dropout_drops_at_its_rate(rate, whole_maps):
    h = torch.ones(50, 40, 6, 6)
    dropped = call(Dropout(rate, whole_maps=whole_maps), h, keys=torch.arange(50)) == 0
    n = 2000 * (1 if whole_maps else 36)
    assert abs(float(dropped.float().mean()) - rate) < 4 * (rate * (1 - rate) / n) ** 0.5 + 1e-9
    maps = dropped.flatten(2).float().mean(-1)
    assert bool(((maps == 0) | (maps == 1)).all()) is (whole_maps or rate == 0)


@pytest.mark.parametrize(("rate", "block", "stride"), [(0.1, 5, 1), (0.3, 16, 2), (0.2, 8, 16)])
def test_dropblock_drops_squares_at_its_rate(rate, block, stride):
    h = torch.ones(40, 8, 32, 32)
    dropped = (
        call(DropBlock(rate, block=block), h, keys=torch.arange(40), stride=float(stride)) == 0
    )
    assert abs(float(dropped.float().mean()) - rate) < 0.02
    # The border is dropped as often as the middle.
    assert abs(float(dropped[..., 0, :].float().mean()) - rate) < 0.04
    b = max(1, round(block / stride))
    if b > 1:
        # Opening by the square changes nothing: what is dropped is a union of whole squares.
        inner = dropped.float()
        eroded = -torch.nn.functional.max_pool2d(-inner, b, stride=1)
        padded = torch.nn.functional.pad(eroded, (b - 1,) * 4)
        opened = torch.nn.functional.max_pool2d(padded, b, stride=1)
        centre = (..., slice(b, -b), slice(b, -b))
        assert torch.equal(opened[centre], inner[centre])


def test_multiplicative_noise_is_uniform_in_its_range():
    ratio = call(Multiplicative(0.3), torch.full((3, 16, 64, 64), 2.0)) / 2 - 1
    assert float(ratio.abs().max()) <= 0.3
    assert abs(float(ratio.std()) - 0.3 / 3**0.5) < 0.002
    assert torch.equal(call(Multiplicative(0.3), torch.zeros(3, 2, 4, 4)), torch.zeros(3, 2, 4, 4))


@pytest.mark.parametrize("perturbation", ALL, ids=ids)
def test_an_image_is_disturbed_alike_alone_and_in_any_batch(perturbation):
    h = torch.randn(3, 5, 16, 16)
    together = call(perturbation, h, sample=2)
    for i in (2, 0, 1):
        assert torch.equal(call(perturbation, h[i : i + 1], keys=KEYS[i : i + 1], sample=2)[0],
                           together[i])  # fmt: skip
    turned = call(perturbation, h.flip(0), keys=KEYS.flip(0), sample=2)
    assert torch.equal(turned.flip(0), together)


@pytest.mark.parametrize("perturbation", DRAWN, ids=ids)
def test_images_passes_and_sites_draw_apart(perturbation):
    h = torch.ones(3, 16, 16, 16)
    first = call(perturbation, h)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, call(perturbation, h, sample=1))
    assert not torch.equal(first, call(perturbation, h, site="skip2"))


@pytest.mark.parametrize("perturbation", ALL, ids=ids)
@pytest.mark.parametrize("stride", [1.0, 4.0])
def test_overlapping_tiles_agree(perturbation, stride):
    whole = call(perturbation, torch.ones(1, 6, 24, 24), keys=KEYS[:1], stride=stride)
    origins = torch.tensor([[5 * stride, 8 * stride]])
    tile = call(perturbation, torch.ones(1, 6, 12, 12), keys=KEYS[:1], stride=stride,
                origins=origins)  # fmt: skip
    assert torch.equal(tile, whole[:, :, 5:17, 8:20])


@pytest.mark.parametrize("perturbation", ALL, ids=ids)
def test_type_layout_and_gradients_stay(perturbation):
    h = torch.randn(3, 4, 8, 8).to(torch.bfloat16, memory_format=torch.channels_last)
    h.requires_grad_()
    disturbed = call(perturbation, h)
    assert disturbed.dtype == torch.bfloat16
    assert disturbed.shape == h.shape
    assert disturbed.is_contiguous(memory_format=torch.channels_last)
    disturbed.float().sum().backward()
    assert torch.isfinite(h.grad).all()
    assert float(h.grad.abs().sum()) > 0


def test_threads_change_nothing():
    h, before = torch.ones(3, 8, 64, 64), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append([call(perturbation, h) for perturbation in ALL])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_numbers_on_the_grid_are_uniform_and_independent():
    u = uniform_at(torch.arange(4), (6, 96, 96))
    assert float(u.min()) > 0
    assert float(u.max()) < 1
    counts = torch.histc(u, bins=64, min=0, max=1)
    expected = u.numel() / 64
    # Chi-squared with 63 degrees of freedom: mean 63, standard deviation 11.
    assert float(((counts - expected) ** 2 / expected).sum()) < 63 + 5 * 11.3
    z = (u - 0.5) * 12**0.5
    shifts = [(0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)]
    for channel, row, column in shifts:
        product = z[:, channel:, row:, column:] * z[:, : 6 - channel, : 96 - row, : 96 - column]
        assert abs(float(product.mean())) < 5 / product.numel() ** 0.5
    between = z[0] * z[1]
    assert abs(float(between.mean())) < 5 / between.numel() ** 0.5


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 70),
    n_masks=st.integers(2, 9),
    scale=st.floats(1, 6),
    seed=st.integers(0, 99),
)
def test_every_mask_has_the_same_size_and_every_channel_a_mask(channels, n_masks, scale, seed):
    masks = masksembles_masks(channels, n_masks, scale, seed=(seed,))
    assert masks.shape == (n_masks, channels)
    assert len(set(masks.sum(axis=1))) == 1
    assert masks.any(axis=0).all()
    assert np.array_equal(masks, masksembles_masks(channels, n_masks, scale, seed=(seed,)))


def test_a_larger_scale_makes_masks_more_different():
    def overlap(scale):
        a, b = masksembles_masks(256, 4, scale, seed=(0,))[:2]
        return (a & b).sum() / (a | b).sum()

    assert overlap(1.0) == 1
    assert overlap(1.0) > overlap(1.5) > overlap(3.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Dropout(1.0),
        lambda: Dropout(-0.1),
        lambda: DropBlock(float("nan")),
        lambda: DropBlock(0.1, block=0),
        lambda: Multiplicative(-1),
        lambda: Masksembles(1),
        lambda: Masksembles(4, 0.5),
        lambda: make_perturbation("dropuot"),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        wrong()


@pytest.mark.parametrize("kind", ["dropout", "dropblock", "multiplicative", "masksembles"])
def test_every_kind_is_made_by_its_name(kind):
    assert make_perturbation(kind).name == kind
    strength = 3.0 if kind == "masksembles" else 0.37
    assert str(strength) in repr(make_perturbation(kind, strength))


def test_an_injector_is_given_pass_and_place():
    seen = {}

    class Recorder(torch.nn.Module):
        def forward(self, h, site, **rest):
            seen.update(rest, site=site)
            return h + 1

    h = torch.zeros(3, 2, 4, 4)
    origins = torch.zeros(3, 2)
    out = call(InjectedNoise(Recorder()), h, sample=3, stride=4.0, origins=origins)
    assert torch.equal(out, h + 1)
    assert (seen["site"], seen["mode"], seen["sample"], seen["stride"]) == (
        "skip1", "monte_carlo", 3, 4.0
    )  # fmt: skip
    assert seen["origins"] is origins
