"""Fit noise in logit space: where, and how far together, does the network err?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from penumbra.calibration.objective import N_EFF, TILE, log_likelihoods, tile_joint_nll
from penumbra.calibration.observed import (
    Observed,
    Standard,
    all_names,
    check,
    levels,
    linear_map,
    standards,
)
from penumbra.data.sample import IGNORE
from penumbra.inference.calibration import LogitNoise
from penumbra.inference.doubt import DOUBT_TAPS, Level
from penumbra.inference.linear_map import MapTensors
from penumbra.inference.logit_noise import draw_factors, marginal_probabilities
from penumbra.noise.draws import join_keys
from penumbra.progress import Progress, silent

LENGTHS = (0.0, 0.0, 32.0, 32.0, 16.0, 16.0, 8.0)
"""Two factors for the image as a whole and five fields, in image pixels."""

_SIDE = 64  # pixels of a crop
_KEY = 0x6C6F676974  # keeps the fit's draws apart from those of predictions


@dataclass(frozen=True, kw_only=True)
class LogitNoiseOptions:
    """How noise in logit space is fitted.

    Attributes:
        lengths: per factor; 0 = one number for the image.
        steps: of Adam, each on `batch` crops.
        batch: crops a step.
        passes: samples a crop, in antithetic pairs.
        n_eff: the dial of dispersion; see `penumbra.calibration.objective.tile_joint_nll`.
        share: of the tile likelihood in the objective; the rest is the pixels' marginal.
        ridge: on the decoder's features.
        seed: of the order of tiles, of the start and of the draws.
    """

    lengths: tuple[float, ...] = LENGTHS
    steps: int = 100
    batch: int = 8
    passes: int = 8
    n_eff: float = N_EFF
    share: float = 0.5
    ridge: float = 0.1
    seed: int = 0


DEFAULTS = LogitNoiseOptions()


@dataclass(frozen=True)
class _Weights:
    """What is learned: a row of weights per level, biases, and ln T."""

    rows: list[Tensor]
    bias: Tensor
    log_temperature: Tensor

    @classmethod
    def start(cls, widths: Sequence[int], factors: int, n_logits: int, seed: int) -> _Weights:
        """Begin with amplitudes of half a logit in all, and rows that differ a little."""
        generator = torch.Generator().manual_seed(seed)
        count = factors * n_logits
        rows = [
            torch.randn(count, width, generator=generator) * (0.03 / width**0.5) for width in widths
        ]
        # Classes share their factors: equal biases would only shift all logits together.
        signs = torch.where(torch.arange(count) % n_logits == 0, -1.0, 1.0)
        bias = signs * 0.5 / factors**0.5
        learned = _Weights(rows, bias, torch.zeros(()))
        for tensor in (*learned.rows, learned.bias, learned.log_temperature):
            tensor.requires_grad_()
        return learned

    def optimiser(self, n_cheap: int) -> torch.optim.Adam:
        """Give the hundreds of features of the decoder small steps, or they overshoot."""
        return torch.optim.Adam(
            [
                {"params": [*self.rows[:n_cheap], self.bias, self.log_temperature], "lr": 0.03},
                {"params": self.rows[n_cheap:], "lr": 0.003},
            ]
        )


def fit_logit_noise(
    data: Sequence[Observed],
    taps: Sequence[str] = (),
    *,
    options: LogitNoiseOptions = DEFAULTS,
    progress: Progress = silent,
) -> LogitNoise:
    """Fit η = μ/T + Σ_r P_r(x)·n_r by the likelihood of pixels and that of tiles.

    The objective is half the exact marginal NLL of pixels, which keeps single probabilities
    honest, and half the tempered joint NLL of tiles under a few samples, which pays for noise
    that is as coherent as the errors are. P is linear in what the logits say about their
    surroundings and, under a ridge, in the decoder's features.

    Args:
        data: what the network gave on images it was not trained on.
        taps: names of the items' features.
        options: see there.
        progress: wraps the steps.

    Returns:
        The fit; whether it beats a temperature is for groups left out to say.

    Raises:
        SourceError: there is nothing to fit on.
    """
    check(data, taps)
    kept = [item.on_cpu() for item in data if bool((item.truth != IGNORE).any())]
    names = all_names(taps)
    every = [levels(item, names, taps) for item in kept]
    scale = standards(every)
    learned = _Weights.start(
        [len(level.mean) for level in scale], len(options.lengths),
        kept[0].logits.shape[1], options.seed,
    )  # fmt: skip
    optimiser = learned.optimiser(len(DOUBT_TAPS))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    numbers = itertools.count()
    batches = _batches(kept, every, scale, options)
    for crops in progress(batches, total=options.steps, what="fitting noise in logit space"):
        optimiser.zero_grad()
        for alike in _alike(crops):
            drawn = list(itertools.islice(numbers, len(alike)))
            loss = _loss(alike, learned, options, drawn)
            (loss * len(alike) / len(crops)).backward()  # type: ignore[no-untyped-call]
        held = sum((rows.square().sum() for rows in learned.rows[len(DOUBT_TAPS) :]), start=0.0)
        if isinstance(held, Tensor):
            (options.ridge * held / len(learned.bias)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return LogitNoise(
        map=linear_map(names, scale, [r.detach() for r in learned.rows], learned.bias.detach()),
        log_scale=0.0,  # the map's own size says it all
        lengths=options.lengths,
        temperature=float(learned.log_temperature.detach().exp()),
    )


def _batches(
    kept: Sequence[Observed],
    every: Sequence[Sequence[Level]],
    scale: Sequence[Standard],
    options: LogitNoiseOptions,
) -> Iterator[list[_Crop]]:
    """Give the crops of each step; every tile is used once before any is used again."""
    rng = np.random.default_rng([options.seed, 5])
    waiting: list[int] = []
    for _ in range(options.steps):
        while len(waiting) < min(options.batch, len(kept)):
            waiting += [int(index) for index in rng.permutation(len(kept))]
        crops = (_crop(kept[index], every[index], rng) for index in waiting[: options.batch])
        yield [crop._replace(levels=_standardised(crop.levels, scale)) for crop in crops]
        waiting = waiting[options.batch :]


class _Crop(NamedTuple):
    """A part of a tile: enough for the tile likelihood, at a fraction of the work.

    Attributes:
        logits: (N, K, h, w).
        truth: (N, h, w).
        levels: features of the part and of a margin, so that enlarging them is the same.
        size: of the part with its margin.
        inner: rows and columns of the part in it.
    """

    logits: Tensor
    truth: Tensor
    levels: tuple[Level, ...]
    size: tuple[int, int]
    inner: tuple[slice, slice]


def _crop(item: Observed, own: Sequence[Level], rng: np.random.Generator) -> _Crop:
    grain = max(TILE, *(level.stride for level in own))
    side = max(_SIDE, 2 * grain)
    spans = [_span(length, side, grain, rng) for length in item.truth.shape[-2:]]
    (y, outer_y, inner_y), (x, outer_x, inner_x) = spans
    cut = tuple(
        Level(
            level.features[..., _coarse(outer_y, level.stride), _coarse(outer_x, level.stride)],
            level.stride,
        )
        for level in own
    )
    size = (outer_y.stop - outer_y.start, outer_x.stop - outer_x.start)
    logits, truth = item.logits[..., y, x].float(), item.truth[..., y, x]
    return _Crop(logits, truth, cut, size, (inner_y, inner_x))


def _span(
    length: int, side: int, grain: int, rng: np.random.Generator
) -> tuple[slice, slice, slice]:
    """Draw a part of an axis; give it, it with its margin, and the part within that."""
    start = grain * int(rng.integers(0, max(0, length - side) // grain + 1))
    stop = min(length, start + side)
    outer = slice(max(0, start - grain), min(length, stop + grain))
    return slice(start, stop), outer, slice(start - outer.start, stop - outer.start)


def _coarse(span: slice, stride: int) -> slice:
    return slice(span.start // stride, -(-span.stop // stride))


def _alike(crops: Sequence[_Crop]) -> list[list[_Crop]]:
    """Put crops of one shape together; those at borders of odd images are smaller."""
    by_shape: dict[tuple[int, ...], list[_Crop]] = {}
    for crop in crops:
        by_shape.setdefault(tuple(crop.truth.shape), []).append(crop)
    return list(by_shape.values())


def _loss(
    crops: Sequence[_Crop], learned: _Weights, options: LogitNoiseOptions, numbers: Sequence[int]
) -> Tensor:
    """Compute the objective of crops of one shape, each under draws of its own number."""
    logits, truth = (torch.cat([getattr(c, name) for c in crops]) for name in ("logits", "truth"))
    n, k, height, width = logits.shape
    linear = MapTensors(tuple(learned.rows), learned.bias)
    mapped = torch.cat([linear(c.levels, c.size)[..., c.inner[0], c.inner[1]] for c in crops])
    amplitudes = mapped.reshape(n, -1, k, height, width)
    mean = logits * torch.exp(-learned.log_temperature)
    keys = join_keys(torch.zeros(1, dtype=torch.int64), torch.tensor(numbers), options.seed, _KEY)
    pairs = range(max(1, options.passes // 2))
    fields = draw_factors(options.lengths, keys, pairs, (height, width))
    offsets = sum(
        (amplitudes[None, :, r] * field for r, field in enumerate(fields)),
        start=torch.zeros(()),
    )
    logs = log_likelihoods(torch.cat([mean + offsets, mean - offsets]), truth)
    tiles = tile_joint_nll(logs, truth, n_eff=options.n_eff)
    pixels = _marginal(mean, amplitudes, truth, numbers)
    return options.share * tiles + (1 - options.share) * pixels


def _marginal(mean: Tensor, amplitudes: Tensor, truth: Tensor, numbers: Sequence[int]) -> Tensor:
    """Compute the marginal NLL of every fourth pixel, another fourth for each number."""
    mean, amplitudes, some = (
        torch.stack([
            _fourth(one, number) for one, number in zip(each, numbers, strict=True)
        ]) for each in (mean, amplitudes, truth)
    )  # fmt: skip
    p = marginal_probabilities(mean, amplitudes)
    scored = some != IGNORE
    index = torch.where(scored, some, 0).unsqueeze(1)
    logs = torch.log(p.clamp(min=1e-7)).gather(1, index).squeeze(1)
    return -torch.where(scored, logs, 0.0).sum() / scored.sum().clamp(min=1)


def _fourth(x: Tensor, number: int) -> Tensor:
    """Pick every second row and column of (…, H, W), of four ways by the number."""
    height, width = (length // 2 * 2 for length in x.shape[-2:])
    return x[..., number % 2 : height : 2, number // 2 % 2 : width : 2]


def _standardised(own: Sequence[Level], scale: Sequence[Standard]) -> tuple[Level, ...]:
    return tuple(
        Level(
            (level.features.float() - standard.mean.float()[:, None, None])
            / standard.std.float()[:, None, None],
            level.stride,
        )
        for level, standard in zip(own, scale, strict=True)
    )
