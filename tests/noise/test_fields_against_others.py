"""Perlin and simplex noise beside brute-force loops and beside independent packages.

The packages' gradients are read off their own output: at a node the noise is zero and its slope
is the node's gradient, since every other weight and its slope vanish there.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from penumbra.noise.fields import draw
from penumbra.noise.patterns import Pattern
from penumbra.noise.separable import Axis, lattice_from, perlin_deviation, perlin_from
from penumbra.noise.simplex import DEVIATION, SKEW, UNSKEW, simplex_from, span

GUSTAVSONS_FACTOR = 70.0


def axis(*, size, stride, origin=0.0):
    values = (torch.tensor([v], dtype=torch.float64) for v in (origin, 0.0))
    return Axis.of(size=size, stride=stride, cell=1.0, origin=next(values), phase=next(values))


def perlin_field(gradients, size, stride):
    """Evaluate our Perlin noise of gradients (Y, X, 2) at (i + ½) · stride cells."""
    y, x = axis(size=size[0], stride=stride), axis(size=size[1], stride=stride)
    rows, columns = y.nodes.shape[1], x.nodes.shape[1]
    given = torch.as_tensor(gradients, dtype=torch.float32)[None, :rows, :columns, :, None]
    field = perlin_from(given[..., 0, :], given[..., 1, :], y, x)
    return (field.left[:, None] @ field.middle.permute(0, 3, 1, 2))[0, 0].double().numpy()


def simplex_field(gradients, y, x):
    """Evaluate our simplex noise of gradients[(row, column)] at all of y × x."""
    y, x = torch.as_tensor(y)[None], torch.as_tensor(x)[None]
    first, (rows, columns) = span(y, x)
    top, left = first[0].tolist()
    given = torch.zeros(2, 1, rows, columns, 1)
    for row, column in itertools.product(range(rows), range(columns)):
        given[:, 0, row, column, 0] = torch.tensor(gradients(top + row, left + column))
    return simplex_from(given[0], given[1], y, x, first)[0, ..., 0].double().numpy()


def fade(t):
    return 6 * t**5 - 15 * t**4 + 10 * t**3


def looped_perlin(gradients, y, x):
    top, left = math.floor(y), math.floor(x)
    ty, tx = y - top, x - left

    def dot(down, right):
        gy, gx = gradients[top + down, left + right]
        return gy * (ty - down) + gx * (tx - right)

    def mix(a, b, t):
        return a + fade(t) * (b - a)

    return mix(mix(dot(0, 0), dot(0, 1), tx), mix(dot(1, 0), dot(1, 1), tx), ty)


def looped_simplex(gradients, y, x):
    """Sum over all nodes near by, not only over the three corners."""
    total = 0.0
    row, column = (math.floor(v + (y + x) * SKEW) for v in (y, x))
    for i, j in itertools.product(range(row - 3, row + 5), range(column - 3, column + 5)):
        dy, dx = (v - (k - (i + j) * UNSKEW) for v, k in ((y, i), (x, j)))
        fall = max(0.0, 0.5 - dy * dy - dx * dx) ** 4
        gy, gx = gradients(i, j)
        total += fall * (gy * dy + gx * dx)
    return total


def angle_at(i, j):
    angle = 12.9898 * i + 78.233 * j + 0.1 * i * j
    return math.sin(angle), math.cos(angle)


def test_perlin_is_the_classic_one():
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(9, 9, 2))
    ours = perlin_field(gradients, (22, 19), 0.3)
    looped = [
        [looped_perlin(gradients, (i + 0.5) * 0.3, (j + 0.5) * 0.3) for j in range(19)]
        for i in range(22)
    ]
    assert np.allclose(ours, looped, atol=1e-5)


def test_lattice_is_bilinear_over_its_deviation():
    values = torch.randn(1, 9, 9, 1, generator=torch.Generator().manual_seed(1))
    y, x = axis(size=14, stride=0.4), axis(size=14, stride=0.4)
    field = lattice_from(values[:, : y.nodes.shape[1], : x.nodes.shape[1]], y, x)
    ours = (field.left @ field.middle[..., 0])[0]
    for i, j in itertools.product(range(14), range(14)):
        (top, ty), (left, tx) = (divmod((k + 0.5) * 0.4, 1) for k in (i, j))
        weights = torch.tensor([1 - ty, ty])[:, None] * torch.tensor([1 - tx, tx])
        corners = values[0, int(top) : int(top) + 2, int(left) : int(left) + 2, 0]
        wanted = (weights * corners).sum() / weights.square().sum().sqrt()
        assert ours[i, j].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_simplex_is_the_sum_over_all_nodes():
    y, x = np.arange(18) * 0.21 + 0.05, np.arange(15) * 0.19 - 1.3
    ours = simplex_field(angle_at, y, x)
    looped = [[looped_simplex(angle_at, a, b) for b in x] for a in y]
    assert np.allclose(ours, looped, atol=1e-6)


def test_deviations_agree_with_sums_over_a_cell():
    t = (np.arange(400) + 0.5) / 400
    near, far = fade(1 - t), fade(t)
    weights = near**2 + far**2
    distances = near**2 * t**2 + far**2 * (1 - t) ** 2
    # ½ (w_y² d_y² w_x² + w_y² w_x² d_x²) for unit gradients at even angles, over the cell
    variance = 0.5 * np.mean(distances[:, None] * weights + weights[:, None] * distances)
    assert perlin_deviation() == pytest.approx(math.sqrt(variance), rel=1e-4)
    r = (np.arange(20000) + 0.5) / 20000 * math.sqrt(0.5)
    ring = 2 * math.pi * r * math.sqrt(0.5) / 20000
    integral = np.sum((0.5 - r * r) ** 8 * r * r * ring)
    assert pytest.approx(math.sqrt(math.sqrt(3) * 0.5 * integral), rel=1e-4) == DEVIATION


def slopes(of, nodes, step):
    """Read gradients off a noise function of (x, y) at its nodes (column x, row y)."""
    return {
        (i, j): (of(x, y + step) / step, of(x + step, y) / step) for (i, j), (x, y) in nodes.items()
    }


def square_nodes(count):
    return {(i, j): (float(j), float(i)) for i in range(count) for j in range(count)}


def table(found, count):
    return np.array([[found[i, j] for j in range(count)] for i in range(count)])


def test_perlin_values_of_the_package_noise():
    package = pytest.importorskip("noise")
    found = slopes(package.pnoise2, square_nodes(9), 2.0**-7)
    gradients = np.rint(table(found, 9))
    assert np.abs(gradients).max() == 1
    ours = perlin_field(gradients, (20, 20), 0.35)
    theirs = [
        [package.pnoise2((j + 0.5) * 0.35, (i + 0.5) * 0.35) for j in range(20)] for i in range(20)
    ]
    assert np.allclose(ours, theirs, atol=1e-5)


def test_perlin_values_of_the_package_perlin_noise():
    package = pytest.importorskip("perlin_noise")
    made = package.PerlinNoise(octaves=1, seed=7)
    gradients = table(slopes(lambda x, y: made([y, x]), square_nodes(7), 1e-4), 7)
    ours = perlin_field(gradients, (15, 15), 0.35)
    theirs = [[made([(i + 0.5) * 0.35, (j + 0.5) * 0.35]) for j in range(15)] for i in range(15)]
    assert np.allclose(ours, theirs, atol=1e-5)


def test_simplex_values_of_the_package_noise():
    package = pytest.importorskip("noise")
    step = 2.0**-6
    # their first coordinate is x; nodes stand at (k − (i + j)·G)
    nodes = {
        (i, j): (j - (i + j) * UNSKEW, i - (i + j) * UNSKEW)
        for i, j in itertools.product(range(-1, 12), range(-1, 12))
    }
    slope = GUSTAVSONS_FACTOR * (0.5 - step**2) ** 4
    found = {
        node: tuple(np.rint(np.array(pair) / slope))
        for node, pair in slopes(package.snoise2, nodes, step).items()
    }
    y = x = (np.arange(20) + 0.5) * 0.2
    ours = GUSTAVSONS_FACTOR * simplex_field(lambda i, j: found.get((i, j), (0.0, 0.0)), y, x)
    theirs = [[package.snoise2(b, a) for b in x] for a in y]
    assert np.allclose(ours, theirs, atol=2e-4)


def statistics(fields, cell):
    """Range, largest step between neighbours a sixteenth of a cell apart, and isotropy."""
    fields = fields / fields.std()
    step = np.abs(np.diff(fields, axis=-1)).max()
    shift = cell // 2
    along_y = (fields[:, shift:] * fields[:, :-shift]).mean()
    along_x = (fields[:, :, shift:] * fields[:, :, :-shift]).mean()
    return np.abs(fields).max(), step, along_y, along_x


def theirs_of(function, cell, size, count):
    at = (np.arange(size) + 0.5) / cell
    return np.array([[[function(x + 100.0 * k, y) for x in at] for y in at] for k in range(count)])


@pytest.mark.parametrize(
    ("pattern", "package", "call"),
    [
        ("perlin", "noise", "pnoise2"),
        ("perlin", "perlin_noise", None),
        ("simplex", "noise", "snoise2"),
        ("simplex", "opensimplex", "noise2"),
    ],
)
def test_range_continuity_and_isotropy_are_those_of_the_packages(pattern, package, call):
    module = pytest.importorskip(package)
    if call is None:
        made, count = module.PerlinNoise(octaves=1, seed=3), 1

        def function(x, y):
            return made([x, y])
    else:
        function, count = getattr(module, call), 4
    cell, size = 16, 64 if count == 1 else 128
    # a simplex package's unit is the definition's, in which a triangle's side is √⅔
    length = cell * (math.sqrt(2 / 3) if pattern == "simplex" else 1)
    ours = draw(Pattern(name=pattern, length=length), torch.arange(24), 1, (size, size))
    high, step, along_y, along_x = statistics(ours[:, 0].double().numpy(), cell)
    their_high, their_step, *their_along = statistics(theirs_of(function, cell, size, count), cell)
    assert high < 4
    assert their_high < 4.5
    # OpenSimplex has a wider kernel than simplex noise, so only the order is compared there
    assert 0.4 < step / their_step < 2.5
    finer = draw(Pattern(name=pattern, length=2 * length), torch.arange(24), 1, (size, size))
    assert statistics(finer[:, 0].double().numpy(), cell)[1] == pytest.approx(step / 2, rel=0.25)
    assert along_y == pytest.approx(along_x, abs=0.1)
    assert their_along[0] == pytest.approx(their_along[1], abs=0.35)
    if package != "opensimplex":
        assert (along_y + along_x) / 2 == pytest.approx(np.mean(their_along), abs=0.25)
