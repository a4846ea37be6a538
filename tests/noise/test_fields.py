"""Fields: unit variance everywhere, functions of image coordinates, the shape they promise."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.noise.fields import add_field, cell_side, draw
from penumbra.noise.nodes import direction_at, normal_at
from penumbra.noise.patterns import Pattern
from penumbra.noise.separable import Axis
from penumbra.noise.spectrum import radial_spectrum, spectral_centroid

NAMES = ("gaussian", "lattice", "perlin", "simplex")
KEYS = torch.tensor([3, 1 << 40, -7])


def autocorrelation(field, shift_y, shift_x):
    height, width = field.shape[-2:]
    a = field[..., max(0, -shift_y) : height - max(0, shift_y), : width - shift_x]
    b = field[..., max(0, shift_y) : height - max(0, -shift_y), shift_x:]
    return (a * b).mean().item()


@pytest.mark.parametrize("octaves", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_unit_variance_at_every_pixel(name, octaves):
    pattern = Pattern(name=name, length=8, octaves=octaves)
    field = draw(pattern, torch.arange(6000), 1, (12, 12))
    mean, variance = field.mean(dim=(0, 1)), field.square().mean(dim=(0, 1))
    # the standard error of a variance from 6,000 draws is at most 2.2 %
    assert mean.abs().max() < 0.06
    assert (variance - 1).abs().max() < 0.09
    assert variance.mean().item() == pytest.approx(1, abs=0.015)


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(1, 40),
    stride=st.sampled_from([1.0, 2.0, 4.0]),
    cell=st.floats(2, 70),
    phase=st.floats(0, 0.999),
    origin=st.floats(0, 500),
)
def test_a_lattices_weights_have_unit_squares(size, stride, cell, phase, origin):
    axis = Axis.of(
        size=size,
        stride=stride,
        cell=max(cell, 2 * stride),
        origin=torch.tensor([origin], dtype=torch.float64),
        phase=torch.tensor([phase], dtype=torch.float64),
    )
    squares = axis.linear().square().sum(dim=-1)
    assert torch.allclose(squares, torch.ones_like(squares), atol=1e-12)
    total = axis.faded().sum(dim=-1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-12)


def test_numbers_at_nodes_have_exact_moments():
    nodes = torch.arange(256)[None]
    values = normal_at(torch.tensor([5]), 16, nodes, nodes).flatten()
    assert values.mean().item() == pytest.approx(0, abs=0.003)
    assert values.var().item() == pytest.approx(1, abs=0.005)
    assert values.double().pow(4).mean().item() == pytest.approx(3, abs=0.05)
    y, x = direction_at(torch.tensor([5]), 16, nodes, nodes)
    assert torch.allclose(y.square() + x.square(), torch.ones_like(y))
    assert (y * x).mean().item() == pytest.approx(0, abs=0.003)


def test_channels_and_keys_are_independent():
    for name in NAMES:
        field = draw(Pattern(name=name, length=2), torch.arange(40), 8, (32, 32))
        flat = field.transpose(0, 1).flatten(1)
        correlation = torch.corrcoef(flat) - torch.eye(8)
        assert correlation.abs().max() < 0.06
        by_key = torch.corrcoef(field.flatten(1)) - torch.eye(40)
        assert by_key.abs().max() < 0.15


@pytest.mark.parametrize("stride", [1.0, 4.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_window_sees_what_the_whole_image_has_there(name, stride):
    pattern = Pattern(name=name, length=12, octaves=2)
    whole = draw(pattern, KEYS, 5, (48, 40), stride=stride)
    corners = torch.tensor([[0, 8], [20, 3], [16, 16]])
    part = draw(pattern, KEYS, 5, (20, 22), stride=stride, origins=corners * stride)
    for image, (top, left) in enumerate(corners.tolist()):
        assert torch.allclose(whole[image, :, top : top + 20, left : left + 22], part[image],
                              atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_alone_in_a_batch_and_on_two_threads(name):
    pattern = Pattern(name=name, length=9, octaves=2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        batch = draw(pattern, KEYS, 40, (64, 48))
        alone = draw(pattern, KEYS[1:2], 40, (64, 48))
        torch.set_num_threads(2)
        assert torch.equal(batch, draw(pattern, KEYS, 40, (64, 48)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(batch[1:2], alone)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_adding_gives_what_drawing_gives(name, dtype, layout):
    pattern = Pattern(name=name, length=9, octaves=2)
    h = torch.randn(3, 5, 24, 20).to(dtype).contiguous(memory_format=layout)
    amplitude = torch.rand(5)
    added = add_field(h, pattern, KEYS, amplitude, stride=2.0, origins=torch.ones(3, 2))
    field = draw(pattern, KEYS, 5, (24, 20), stride=2.0, origins=torch.ones(3, 2))
    wanted = h.float() + amplitude.view(5, 1, 1) * field
    tolerance = 1e-5 if dtype == torch.float32 else 0.04
    assert added.dtype == dtype
    assert torch.allclose(added.float(), wanted, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["lattice", "perlin"])
def test_adding_gives_the_same_bits_alone_and_on_two_threads(name, dtype):
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(3, 32, 64, 64, generator=generator).to(dtype)
    h = h.contiguous(memory_format=torch.channels_last)
    pattern, amplitude, before = Pattern(name=name), torch.ones(32), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        batch = add_field(h, pattern, KEYS, amplitude)
        alone = add_field(h[1:2], pattern, KEYS[1:2], amplitude)
        torch.set_num_threads(2)
        assert torch.equal(batch, add_field(h, pattern, KEYS, amplitude))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(batch[1:2], alone)


def test_amplitudes_receive_gradients():
    h = torch.randn(2, 3, 8, 8)
    for name in NAMES:
        amplitude = torch.ones(3, requires_grad=True)
        pattern = Pattern(name=name, length=4)
        add_field(h, pattern, KEYS[:2], amplitude).square().sum().backward()
        field = draw(pattern, KEYS[:2], 3, (8, 8))
        wanted = (2 * (h + field) * field).sum(dim=(0, 2, 3))
        assert torch.allclose(amplitude.grad, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["lattice", "perlin", "simplex"])
def test_half_the_length_doubles_the_spectrums_centroid(name):
    keys = torch.arange(24)
    long, short = (
        spectral_centroid(*radial_spectrum(draw(Pattern(name=name, length=n), keys, 2, (192, 192))))
        for n in (16, 8)
    )
    assert short / long == pytest.approx(2, rel=0.08)


@pytest.mark.parametrize("name", ["lattice", "perlin", "simplex"])
def test_the_spectrum_is_the_same_at_every_level(name):
    keys, pattern = torch.arange(32), Pattern(name=name, length=16)
    frequency, fine = radial_spectrum(draw(pattern, keys, 3, (128, 128)))
    coarse_frequency, coarse = radial_spectrum(
        draw(pattern, keys + 99, 3, (64, 64), stride=2.0), stride=2.0
    )
    low = frequency < 0.1
    assert torch.equal(frequency[: len(coarse_frequency)], coarse_frequency)
    assert torch.allclose(fine[low], coarse[: int(low.sum())], rtol=0.25)
    assert fine[low].sum().item() == pytest.approx(coarse[: int(low.sum())].sum().item(), rel=0.05)


def test_density_of_white_noise_and_of_a_wave():
    field = draw(Pattern(name="gaussian"), torch.arange(20), 4, (64, 64), stride=2.0)
    frequency, density = radial_spectrum(field, stride=2.0)
    assert density.mean().item() == pytest.approx(4, rel=0.03)
    assert frequency[-1].item() == pytest.approx(0.25)
    phase = 2 * math.pi * torch.arange(64) / 16
    wave_frequency, wave = radial_spectrum(torch.sin(phase)[:, None].expand(64, 64))
    assert wave_frequency[wave.argmax()].item() == pytest.approx(1 / 16)
    with pytest.raises(SettingsError, match="larger window"):
        radial_spectrum(torch.zeros(4, 64))


@pytest.mark.parametrize("name", ["perlin", "simplex"])
def test_gradient_noise_is_nearly_isotropic(name):
    pattern = Pattern(name=name, length=16)
    field = draw(pattern, torch.arange(150), 2, (64, 64))
    along_y, along_x = (autocorrelation(field, *shift) for shift in ((7, 0), (0, 7)))
    rising, falling = (autocorrelation(field, *shift) for shift in ((5, 5), (-5, 5)))
    assert along_y == pytest.approx(along_x, abs=0.04)
    assert rising == pytest.approx(falling, abs=0.04)
    assert (along_y + along_x) / 2 == pytest.approx((rising + falling) / 2, abs=0.08)


def test_cells_are_at_least_two_features():
    assert cell_side(Pattern(length=32), 32) == 64
    assert cell_side(Pattern(length=32, octaves=3), 1, 2) == 8
    field = draw(Pattern(name="lattice", length=1), torch.arange(500), 1, (16, 16))
    assert 0.2 < autocorrelation(field, 0, 1) < 0.9
    assert field.square().mean().item() == pytest.approx(1, abs=0.02)


def test_octaves_add_high_frequencies():
    keys = torch.arange(10)
    plain, rough = (
        spectral_centroid(
            *radial_spectrum(draw(Pattern(length=32, octaves=n), keys, 2, (128, 128)))
        )
        for n in (1, 4)
    )
    assert rough > 1.2 * plain


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (33, 2)])
def test_any_size(size):
    for name in NAMES:
        assert draw(Pattern(name=name), KEYS, 3, size).shape == (3, 3, *size)


def test_what_does_not_fit_is_refused():
    with pytest.raises(SettingsError, match="stride"):
        draw(Pattern(), KEYS, 1, (4, 4), stride=0)
    with pytest.raises(SettingsError, match="origins"):
        draw(Pattern(), KEYS, 1, (4, 4), origins=torch.zeros(1, 2))
